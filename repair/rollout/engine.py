"""The inference engine: samplers, tokenizer, environments, and how many at once."""

import concurrent.futures
import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from repair.env import Environment
from repair.errors import MOST, UserError, expect, expect_between
from repair.model.api import Model
from repair.model.sharding import places
from repair.rollout.sampler import Sampler, SamplerShapes, spread
from repair.rollout.sampling import Sampling
from repair.text.tokenizer import Tokenizer

_MOST_ROWS = 10**6


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Rollouts of the policy, in training and evaluation.

    A place is a device, or a few that share a model's heads.

    Attributes:
      slots: Episodes at once on each place.
      cohorts: Parts of the slots that take turns there, so that the device has work
        while the sandbox runs the commands of the others; 1 for no overlap.
      places: Most places of a process that collect rollouts, each with programs that
        are compiled for it alone; 0 for all.
      prefill: Prompts processed at once.
      stragglers: Share of a cohort that may be left in the midst of a command, rather
        than that all wait for the longest; below 1.
      block: Known tokens that the model processes at once, of several episodes: more
        on an accelerator.
      lengths: Allowed lengths of the cache; max_length is always one of them.
      cache_dtype: Type of the cache's keys and values; "" for the activations'.
      top_k: In evaluation only: draw from the k likeliest tokens; 0 for all. RLVR
        samples from the full distribution.
      top_p: In evaluation only: draw from the likeliest tokens that together reach this
        probability; 1 for all.
      warm_up: True to compile for all lengths before the first step of RLVR; False to
        compile when a length is first met.
    """

    slots: int = 64
    cohorts: int = 2
    places: int = 0
    prefill: int = 8
    stragglers: float = 0.0
    block: int = 128
    lengths: tuple[int, ...] = (256, 512, 1024)
    cache_dtype: str = ""
    top_k: int = 0
    top_p: float = 1.0
    warm_up: bool = False

    def __post_init__(self):
        expect_between(self, 1, _MOST_ROWS, "slots", "cohorts", "prefill", "block")
        expect_between(self, 0, _MOST_ROWS, "places")
        expect_between(self, 0, 1, "stragglers", below=True)
        lengths, dtype = self.lengths, self.cache_dtype
        positive = all(1 <= length <= MOST for length in lengths)
        expect(positive, "lengths", lengths, "lengths of 1 or more")
        expect(
            dtype in ("", "float32", "bfloat16", "float16"),
            *("cache_dtype", dtype, "nothing or one of float32, bfloat16, float16"),
        )
        self.sampling(1.0)

    def sampling(self, temperature: float) -> Sampling:
        """Return the distribution to draw from at a temperature."""
        return Sampling(temperature, self.top_k, self.top_p)

    def shapes(self, max_command: int, max_length: int) -> SamplerShapes:
        """Return the shapes of a sampler for commands and contexts of these sizes."""
        cohort = -(-self.slots // self.cohorts)
        return SamplerShapes(
            max_new=max_command,
            max_length=max_length,
            block=self.block,
            # A cohort, one of which few are left, some prompts.
            row_buckets=(cohort, -(-cohort // 4), self.prefill),
            length_buckets=self.lengths,
            cache_dtype=self.cache_dtype or None,
        )


@dataclasses.dataclass(frozen=True)
class RolloutEngine:
    """Collects rollouts with any parameters of one model; see `collect_rollouts`.

    Attributes:
      samplers: One for each place that cohorts run on; all of one model.
      tokenizer: The tokenizer and prompt.
      make_environment: Makes a fresh environment; all share one verifier.
      config: Settings of the samplers, and how many episodes at once.
    """

    samplers: tuple[Sampler, ...]
    tokenizer: Tokenizer
    make_environment: Callable[[], Environment]
    config: SamplerConfig

    def cohort_sizes(self, episodes: int) -> tuple[int, int]:
        """Return the number of cohorts, and the slots of each, for so many episodes."""
        places = len(self.samplers)
        count = max(min(self.config.cohorts * places, episodes), 1)
        return count, -(-min(self.config.slots * places, episodes) // count)

    def warm_up(self, params, sampling: Sampling) -> None:
        """Compile all programs that episodes of any lengths can ask for."""
        _, size = self.cohort_sizes(self.config.slots * len(self.samplers))
        params = spread(params)

        def one(sampler: Sampler) -> None:
            sources = self.config.prefill
            _compile(sampler, sampler.place(params), size, sources, sampling)

        if len(self.samplers) == 1:  # a thread would not see jax's settings here
            one(self.samplers[0])
            return
        # XLA compiles without the interpreter's lock, so places compile in parallel.
        with concurrent.futures.ThreadPoolExecutor(len(self.samplers)) as pool:
            list(pool.map(one, self.samplers))


def make_engine(
    model: Model,
    tokenizer: Tokenizer,
    make_environment: Callable[[], Environment],
    config: SamplerConfig,
    *,
    max_command: int,
    max_length: int,
) -> RolloutEngine:
    """Build the engine with a sampler on each place.

    The model's mesh decides the places. `max_command` and `max_length` are the most
    tokens of a command and of an episode.

    Raises:
      UserError: The tokenizer has ids that the model has no embedding for.
    """
    room = model.config.vocab_size
    if tokenizer.vocab_size > room:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} ids but the model embeds {room};"
            " use the model's own tokenizer or set model.vocab_size"
        )
    if model.mesh is None:
        where = [[device] for device in jax.local_devices()]
    else:
        where = places(model.mesh)
    shapes, stop_V = config.shapes(max_command, max_length), tokenizer.stops(room)
    samplers = tuple(
        Sampler(model, stop_V, shapes, devices)
        for devices in where[: config.places or None]
    )
    return RolloutEngine(samplers, tokenizer, make_environment, config)


def _compile(
    sampler: Sampler, params, rows: int, sources: int, sampling: Sampling
) -> None:
    """Run each program of a sampler once for each shape that it can meet.

    A cohort has `rows` slots; the states that `Sampler.insert` copies from have
    `sources` rows.
    """
    run = sampler.programs
    sizes = [size for size in sampler.row_buckets if size <= sampler.bucket(rows)]
    full = [[0] * (S - sampler.max_new) for S in sampler.length_buckets]
    filled = [sampler.extend(params, sampler.start(sources), [ids]) for ids in full]
    for size in sizes:
        keys = jax.random.split(jax.random.key(0), size)
        none = np.zeros(size, np.int32)
        for ids in full:
            state = sampler.extend(params, sampler.start(size), [ids])
            done = np.ones(size, bool)
            state = sampler.decode(params, state, keys, sampling, done=done)
            for S in sampler.length_buckets:
                if S != state.slots:
                    run.resize(state.cache, S)
            for few in (few for few in sizes if few < size):
                arrays = state.logits_BV, state.sampled
                run.select(state.cache, arrays, np.zeros(few, np.int32))
            arrays = state.cache, state.logits_BV
            for source in filled:
                if source.slots <= state.slots:
                    other = source.cache, source.logits_BV
                    arrays = run.insert(arrays, other, none, none, np.int32(0))

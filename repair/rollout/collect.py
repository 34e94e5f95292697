"""Collection of rollouts: samplers on one side, environments on the other.

A fixed number of slots in a few cohorts. While the sandbox runs the commands of one
cohort, the device decodes the others. An episode that ends gives its slot to the next
one in line. docs/rollouts.md has a picture of a turn.

The key of a command is made of (seed, step, bug, sample, turn), so no episode depends
on its slot, its cohort or the episodes around it.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from repair.env import Environment, StepResult, reset_all, step_all
from repair.model import multihost
from repair.rollout.clock import Clock
from repair.rollout.decode import Sampled
from repair.rollout.engine import RolloutEngine
from repair.rollout.rollout import Rollout
from repair.rollout.sampler import Sampler, spread
from repair.rollout.sampler_state import SamplerState
from repair.rollout.sampling import Sampling
from repair.sandbox import SandboxError
from repair.tasks import Bug
from repair.text.episodes import PROMPT, Episode


class RolloutSeed(NamedTuple):
    """The origin of the random numbers of a call of `collect_rollouts`.

    Attributes:
      seed: Seed of the run.
      step: Step of the run.
    """

    seed: int
    step: int = 0


class Observer(NamedTuple):
    """Callbacks of a call of `collect_rollouts`.

    Attributes:
      clock: Gets the seconds and tokens spent.
      progress: Called with (episodes ended, episodes in all).
      watch: Called with an unfinished or finished rollout after each of its commands.
        Once it returns True, unfinished episodes are given up and left out.
    """

    clock: Clock | None = None
    progress: Callable[[int, int], None] | None = None
    watch: Callable[[Rollout], bool] | None = None


def collect_rollouts(
    engine: RolloutEngine,
    params,
    bugs: Sequence[Bug],
    samples: int,
    sampling: Sampling,
    seed: RolloutSeed,
    observer: Observer | None = None,
) -> list[Rollout]:
    """Run `samples` episodes of every bug to their end.

    Each process takes its share of the bugs; all get all rollouts.

    Args:
      engine: The inference engine.
      params: The policy's parameters.
      bugs: The bugs to repair.
      samples: Episodes of each bug.
      sampling: The distribution that tokens are drawn from.
      seed: Origin of the random numbers.
      observer: Callbacks.

    Returns:
      Rollouts, all samples of the first bug first. An episode whose first state
      leaves no room for a command has no steps and status "truncated". One that
      broke has status "fault": not the policy's failure, so leave it out.

    Raises:
      SandboxError: Half of the episodes asked for broke.
    """
    mine = {n: bugs[n] for n in multihost.share(range(len(bugs)))}
    collection = _Collection(
        engine, params, mine, samples, sampling, seed, observer or Observer()
    )
    with collection.clock:
        collection.run()
    shares = multihost.gather_values(collection.ended)
    ended = collections.ChainMap(*shares)  # by number of the bug, and sample
    return [ended[key] for key in sorted(ended)]


@functools.partial(jax.jit, static_argnums=0)
def _row_keys(seed: int, step, bug_B, sample_B, turn_B):
    """Return a key per row, made of the row's identity and not of its place."""
    key = jax.random.fold_in(jax.random.key(seed), step)

    def row(bug, sample, turn):
        bug_key = jax.random.fold_in(key, bug)
        return jax.random.fold_in(jax.random.fold_in(bug_key, sample), turn)

    return jax.vmap(row)(bug_B, sample_B, turn_B)


@dataclasses.dataclass
class _Row:
    """An episode under way.

    Attributes:
      number: Number of its bug.
      rollout: The episode so far.
      environment: Its environment.
      processed: Tokens that the model has read, or will have after the call under way.
    """

    number: int
    rollout: Rollout
    environment: Environment
    processed: int = 0

    def turn(self) -> tuple[int, int, int]:
        """Return (bug, sample, turn) of the next command."""
        return self.number, self.rollout.sample, len(self.rollout.commands)

    def unread(self) -> list[int]:
        """Return the tokens that the model has not read, which it now will."""
        ids = self.rollout.episode.ids
        start, self.processed = self.processed, len(ids)
        return ids[start:]


@dataclasses.dataclass
class _Cohort:
    """Slots that go through one device together; an empty one holds None."""

    rows: list[_Row | None]
    state: SamplerState
    place: int
    sampler: Sampler
    params: Any

    def live(self) -> list[int]:
        """Return the slots in use."""
        return [slot for slot, row in enumerate(self.rows) if row is not None]


class _Collection:
    """The episodes of one call: those in line, under way, and ended."""

    def __init__(self, engine, params, bugs, samples, sampling, seed, observer):
        self.engine, self.bugs, self.samples = engine, bugs, samples
        self.sampling, self.seed = sampling, seed
        self.clock = observer.clock or Clock()
        self.progress, self.watch = observer.progress, observer.watch
        self.sampler = engine.samplers[0]  # for the sizes, which all share
        whole = spread(params)
        self.params = [sampler.place(whole) for sampler in engine.samplers]
        self.total = len(bugs) * samples
        self.to_begin = collections.deque(bugs)
        # Episodes that wait for a slot, with the row of `prefilled` they start from.
        self.waiting: collections.deque[tuple[_Row, int]] = collections.deque()
        self.prefilled: dict[int, SamplerState] = {}  # by place
        self.ended: dict[tuple[int, int], Rollout] = {}
        self.faults = 0
        self.stopped = False

    def run(self) -> None:
        """Collect, execute, refill and launch cohorts in turn, until none is left."""
        count, size = self.engine.cohort_sizes(self.total)
        cohorts = collections.deque(self._cohort(i, size) for i in range(count))
        while cohorts:
            cohort = cohorts.popleft()
            if cohort.live():
                with self.clock.waiting("sampling"):
                    cohort.state, sampled = cohort.sampler.collect(cohort.state)
                self._execute(cohort, sampled)
            if self.stopped:
                break
            self._refill(cohort, size)
            if cohort.live():
                self._launch(cohort)
                cohorts.append(cohort)

    def _cohort(self, index: int, size: int) -> _Cohort:
        place = index % len(self.engine.samplers)
        sampler = self.engine.samplers[place]
        state = sampler.start(size)
        return _Cohort([None] * state.rows, state, place, sampler, self.params[place])

    def _refill(self, cohort: _Cohort, size: int) -> None:
        """Give empty slots to waiting episodes, or give the empty slots up."""
        sampler = cohort.sampler
        empty = [slot for slot, row in enumerate(cohort.rows) if row is None]
        cohort.state = sampler.clear(cohort.state, empty)
        # A row bucket may hold more rows than there are slots.
        free = [slot for slot in empty if slot < size]
        while free and self._has_waiting(cohort):
            pairs = []
            while free and self.waiting:
                row, source = self.waiting.popleft()
                cohort.rows[free[0]] = row
                pairs.append((source, free.pop(0)))
            if cohort.place not in self.prefilled:
                other = next(iter(self.prefilled.values()))
                self.prefilled[cohort.place] = sampler.adopt(other)
            cohort.state = sampler.insert(
                cohort.state, self.prefilled[cohort.place], pairs
            )
        live = cohort.live()
        if live and free and sampler.bucket(len(live)) < cohort.state.rows:
            cohort.state = sampler.select(cohort.state, live)
            rows = [cohort.rows[slot] for slot in live]
            cohort.rows = rows + [None] * (cohort.state.rows - len(rows))

    def _has_waiting(self, cohort: _Cohort) -> bool:
        """Return True if an episode waits; if none does, begin those of more bugs."""
        while not self.waiting and self.to_begin:
            count = min(self.engine.config.prefill, len(self.to_begin))
            self._begin([self.to_begin.popleft() for _ in range(count)], cohort)
        return bool(self.waiting)

    def _begin(self, numbers: list[int], cohort: _Cohort) -> None:
        """Reset all samples of some bugs; process each prompt once, on one place."""
        pairs = [(number, s) for number in numbers for s in range(self.samples)]
        environments = [self.engine.make_environment() for _ in pairs]
        with self.clock.waiting("sandbox"):
            bugs = [self.bugs[number] for number, _ in pairs]
            results = reset_all(environments, bugs, strict=False)
        tokenizer = self.engine.tokenizer
        prompts = {n: tokenizer.prompt_ids(self.bugs[n].task) for n in numbers}
        contexts: list[list[int]] = [[] for _ in numbers]
        for (number, sample), bug, environment, result in zip(
            pairs, bugs, environments, results, strict=True
        ):
            rollout = Rollout(bug, sample, Episode(), result, [], [], bug.faulty_code)
            rollout.episode.append(prompts[number], PROMPT)
            row = _Row(number, rollout, environment)
            if self._goes_on(row, result):
                source = numbers.index(number)
                contexts[source] = row.unread()
                self.waiting.append((row, source))
        self.clock.processed(sum(map(len, contexts)))
        if self.waiting:
            self.clock.launching()
            state = cohort.sampler.start(self.engine.config.prefill)
            state = cohort.sampler.extend(cohort.params, state, contexts)
            self.prefilled = {cohort.place: state}

    def _launch(self, cohort: _Cohort) -> None:
        """Send new tokens to the device and start the next commands there."""
        self.clock.launching()
        new = [row.unread() if row else [] for row in cohort.rows]
        self.clock.processed(sum(map(len, new)))
        state = cohort.sampler.extend(cohort.params, cohort.state, new)
        turns = [row.turn() if row else (0, 0, 0) for row in cohort.rows]
        keys_B = _row_keys(*self.seed, *np.array(turns, np.int32).T)
        cohort.state = cohort.sampler.decode(
            cohort.params,
            state,
            keys_B,
            self.sampling,
            done=[row is None for row in cohort.rows],
            leave=int(self.engine.config.stragglers * len(cohort.live())),
        )
        self.clock.launched(cohort.state.sampled.counts)

    def _execute(self, cohort: _Cohort, sampled: Sampled) -> None:
        """Execute the commands that have ended; free the slots of ended episodes."""
        slots = [slot for slot in cohort.live() if sampled.ended[slot]]
        rows = [cohort.rows[slot] for slot in slots]
        for slot, row in zip(slots, rows, strict=True):
            self._record(row, sampled, slot)
        with self.clock.waiting("sandbox"):
            results = step_all(
                [row.environment for row in rows],
                [row.rollout.commands[-1] for row in rows],
                strict=False,
            )
        for slot, row, result in zip(slots, rows, results, strict=True):
            row.rollout.steps.append(result)
            if not self._goes_on(row, result):
                cohort.rows[slot] = None
            if self.watch and self.watch(row.rollout):
                self.stopped = True

    def _record(self, row: _Row, sampled: Sampled, slot: int) -> None:
        """Append the sampled tokens as sampled, and the command as text."""
        rollout, tokenizer = row.rollout, self.engine.tokenizer
        count = int(sampled.counts[slot])
        ids = sampled.tokens[slot, :count].tolist()
        log_probs = sampled.log_probs[slot, :count].tolist()
        rollout.episode.append(ids, len(rollout.commands), log_probs)
        # The sampler reads all sampled tokens but the last.
        row.processed += count - 1
        self.clock.processed(count - 1, sampled=count)
        full = len(rollout.episode) + len(tokenizer.end_ids) > self.sampler.max_length
        if not tokenizer.ends(ids[-1]) and not full:
            # The command was cut at max_new, so the host ends it.
            rollout.episode.append(tokenizer.end_ids)
        rollout.commands.append(tokenizer.command_text(ids))

    def _goes_on(self, row: _Row, result: StepResult) -> bool:
        """Append the new state for the next command, or end the episode."""
        if not result.done:
            first = not row.rollout.commands
            state_ids = self.engine.tokenizer.state_ids(result.state_text, first)
            # The state and the longest command must fit the context.
            need = len(row.rollout.episode) + len(state_ids) + self.sampler.max_new
            if need <= self.sampler.max_length:
                row.rollout.episode.append(state_ids)
                return True
            result = row.environment.truncate()
        self._end(row, result)
        return False

    def _end(self, row: _Row, result: StepResult) -> None:
        """Set the final result, with any penalty for the end, and the program."""
        rollout = row.rollout
        if rollout.steps:
            rollout.steps[-1] = result
        else:
            rollout.initial = result
        self.ended[row.number, rollout.sample] = rollout
        if not result.fault:
            rollout.code = row.environment.code
        else:
            self.faults += 1
            # Of those asked for: the first bugs in line may be the only broken ones.
            if 2 * self.faults >= self.total:
                raise SandboxError(
                    f"{self.faults} of {self.total} episodes broke; the last one:"
                    f" {result.fault}"
                )
        if self.progress:
            self.progress(len(self.ended), self.total)

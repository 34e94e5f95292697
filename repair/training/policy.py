"""A policy with all that it needs to play episodes, and how it is measured."""

import dataclasses
import pathlib
import time
from collections.abc import Callable

import jax

from repair.env.environment import Environment
from repair.env.verifier import Verifier
from repair.errors import UserError
from repair.model import multihost
from repair.model.api import Model
from repair.model.hf.folder import load_hf, local_folder
from repair.model.llama import LlamaConfig
from repair.model.sharding import make_mesh, places
from repair.rollout.collect import play
from repair.rollout.player import Player
from repair.rollout.rollouts import Rollout
from repair.rollout.sampler import Sampler
from repair.tasks import Bug
from repair.text.tokenizer import Tokenizer, load_tokenizer
from repair.training.checkpoint import load_params
from repair.training.config import Config
from repair.training.evaluation import EvalConfig, evaluate
from repair.training.fields import from_dict
from repair.training.metrics import progress
from repair.training.task_set import RepairTaskSet, TaskSet, open_task_set
from repair.training.trajectories import describe_evaluation, write_records


@dataclasses.dataclass(frozen=True)
class Policy:
    """What it takes to play episodes with given parameters."""

    task_set: TaskSet
    model: Model
    tokenizer: Tokenizer
    sandbox: Verifier
    player: Player

    @property
    def config(self) -> Config:
        """The run's."""
        return self.task_set.config

    def play(
        self,
        params,
        bugs,
        samples: int,
        temperature: float,
        step: int = 0,
        first: int = 0,
        **kwargs,
    ) -> list[Rollout]:
        """Episodes under the config's rules; see `repair.rollout.collect.play`.

        Each process plays its share of the bugs, whose numbers begin at `first`; all
        get all rollouts.
        """
        numbers = multihost.share(range(len(bugs)))
        mine = play(
            self.player,
            params,
            [bugs[number] for number in numbers],
            samples,
            seed=self.config.seed,
            step=step,
            sampling=self.config.sampler.sampling(temperature),
            numbers=[first + number for number in numbers],
            **kwargs,
        )
        groups = [mine[i : i + samples] for i in range(0, len(mine), samples)]
        together = multihost.put_together(multihost.gather(groups))
        return [rollout for group in together for rollout in group]


def make_policy(
    task_set: TaskSet, tokenizer: Tokenizer, model: Model, sandbox: Verifier
) -> Policy:
    """Puts task_set, tokenizer, model and verifier together.

    Raises:
      UserError: The tokenizer has ids that the model has no embedding for.
    """
    config, room = task_set.config, model.config.vocab_size
    if tokenizer.vocab_size > room:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} ids but the model embeds {room};"
            " use the model's own tokenizer or set model.vocab_size"
        )
    if model.mesh is None:
        where = [[device] for device in jax.local_devices()]
    else:
        where = places(model.mesh)
    samplers = tuple(
        Sampler(
            model,
            tokenizer.stops(room),
            max_new=config.text.max_command,
            max_length=config.text.max_length,
            row_buckets=config.sampler.rows,
            block=config.sampler.block,
            length_buckets=config.sampler.lengths,
            cache_dtype=config.sampler.cache_dtype or None,
            devices=devices,
        )
        for devices in where[: config.sampler.places or None]
    )
    player = Player(
        samplers,
        tokenizer,
        lambda: Environment(
            sandbox,
            config.rewards,
            config.text.max_turns if config.mode == "coe" else 1,
            task_set.make_tool,
        ),
        slots=config.sampler.slots,
        cohorts=config.sampler.cohorts,
        prefill=config.sampler.prefill,
        stragglers=config.sampler.stragglers,
    )
    return Policy(task_set, model, tokenizer, sandbox, player)


def measure(
    policy: Policy,
    params,
    bugs: list[Bug],
    config: EvalConfig,
    description: str,
    path,
) -> dict:
    """Evaluates and writes every trajectory to a JSONL file; returns the results."""
    total = len(multihost.share(bugs)) * (1 + config.samples)
    started, done = time.perf_counter(), 0
    with progress(total, description) as bar:

        def play_all(samples, temperature):
            nonlocal done
            before = done

            def shown(ended, of):
                nonlocal done
                done = before + ended
                bar.update(done)

            return policy.play(params, bugs, samples, temperature, progress=shown)

        results, judged = evaluate(play_all, policy.sandbox, config)
    if multihost.first():
        write_records(path, describe_evaluation(judged, policy.tokenizer))
    return results | {"seconds": round(time.perf_counter() - started, 1)}


def load_policy(
    checkpoint,
    task_set: Callable[[Config], TaskSet] = RepairTaskSet,
    verifier: Verifier | None = None,
    **sampler,
) -> tuple[Policy, dict]:
    """The policy that a run has saved, and its parameters.

    Unless it is given one, the policy brings a sandbox of its own, with the run's
    limits: use it in `with policy.sandbox:`.

    Args:
      checkpoint: WORKDIR/checkpoints/STAGE, or one step below it.
      task_set: What the run was about, from its config.
      verifier: What judges its states, in the place of one of its own.
      **sampler: Fields of `SamplerConfig` to use instead of the run's.

    Raises:
      UserError: The checkpoint is missing, torn, not below a workdir or of another
        task_set, or a field is out of range.
    """
    opened, model, params, tokenizer = _load_run(checkpoint, task_set, **sampler)
    return make_policy(
        opened, tokenizer, model, verifier or opened.open_verifier()
    ), params


def load_model(source) -> tuple[Model, dict, Tokenizer]:
    """A model with its parameters and its tokenizer.

    Args:
      source: A checkpoint of a run, as for `load_policy`; or a folder in Hugging Face's
        format, or a name on its Hub.

    Raises:
      UserError: It is none of them, or incomplete.
    """
    if "checkpoints" in pathlib.Path(source).absolute().parts:
        return _load_run(source, RepairTaskSet)[1:]
    mesh = make_mesh(devices=jax.local_devices()[:1])
    shape, params = load_hf(source, mesh)
    return Model(shape), params, load_tokenizer(local_folder(source), "full")


def _load_run(
    checkpoint, make: Callable[[Config], TaskSet], **sampler
) -> tuple[TaskSet, Model, dict, Tokenizer]:
    """Task set, model, parameters and tokenizer of a checkpoint."""
    params, extra = load_params(checkpoint)
    config = from_dict(extra["config"], Config)
    try:
        settings = dataclasses.replace(config.sampler, **sampler)
    except ValueError as error:
        raise UserError(f"sampler {error}") from error
    task_set = open_task_set(dataclasses.replace(config, sampler=settings), make)
    tokenizer = load_tokenizer(
        workdir_of(checkpoint) / "tokenizer", task_set.prompt, config.mode
    )
    return task_set, Model(from_dict(extra["model"], LlamaConfig)), params, tokenizer


def workdir_of(checkpoint) -> pathlib.Path:
    """The workdir that a checkpoint lies in.

    Raises:
      UserError: It lies in none.
    """
    for folder in pathlib.Path(checkpoint).absolute().parents:
        if folder.name == "checkpoints":
            return folder.parent
    raise UserError(
        f"{checkpoint} is not below a run's checkpoints folder, beside which its"
        " tokenizer is kept; give WORKDIR/checkpoints/STAGE"
    )

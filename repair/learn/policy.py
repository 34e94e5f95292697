"""A policy with all that it needs to play episodes, and how it is measured."""

import dataclasses
import pathlib
import time

import jax

from repair.env.answers import tool_of
from repair.env.bugs import make_bugs
from repair.env.environment import Environment
from repair.env.sandbox import Sandbox
from repair.env.sandbox.values import evaluate as evaluate_references
from repair.errors import UserError
from repair.learn import processes
from repair.learn.checkpoint import load_params
from repair.learn.config import Config, from_dict
from repair.learn.evaluation import EvalConfig, evaluate
from repair.learn.metrics import progress
from repair.learn.player import Player
from repair.learn.records import describe_evaluation, write_records
from repair.learn.rollout import play
from repair.learn.trajectory import Rollout
from repair.model.api import Model
from repair.model.hf import load_hf, local_folder
from repair.model.llama import LlamaConfig
from repair.model.sampler import Sampler
from repair.model.sharding import make_mesh, places
from repair.tasks import Bug, Task, load_pair
from repair.text.grammar import Grammar
from repair.text.tokens import Codec, load_codec


@dataclasses.dataclass(frozen=True)
class Policy:
    """What it takes to play episodes with given parameters."""

    config: Config
    model: Model
    codec: Codec
    sandbox: Sandbox
    player: Player

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
        """Episodes under the config's rules; see `repair.learn.rollout.play`.

        Each process plays its share of the bugs, whose numbers begin at `first`; all
        get all rollouts.
        """
        numbers = processes.share(range(len(bugs)))
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
        together = processes.put_together(processes.gather(groups))
        return [rollout for group in together for rollout in group]


def make_policy(config: Config, codec: Codec, model: Model, sandbox: Sandbox) -> Policy:
    """Puts model, tokenizer and sandbox together.

    Raises:
      UserError: The tokenizer has ids that the model has no embedding for.
    """
    room = model.config.vocab_size
    if codec.vocab_size > room:
        raise UserError(
            f"the tokenizer has {codec.vocab_size} ids but the model embeds {room};"
            " use the model's own tokenizer or set model.vocab_size"
        )
    if model.mesh is None:
        where = [[device] for device in jax.local_devices()]
    else:
        where = places(model.mesh)
    samplers = tuple(
        Sampler(
            model,
            codec.stops(room),
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
        codec,
        lambda: Environment(
            sandbox,
            config.rewards,
            config.text.max_turns if config.mode == "coe" else 1,
            tool_of(config.mode),
        ),
        slots=config.sampler.slots,
        cohorts=config.sampler.cohorts,
        prefill=config.sampler.prefill,
        stragglers=config.sampler.stragglers,
        grammar=(
            Grammar(codec, room, config.text.max_command)
            if config.sampler.grammar
            else None
        ),
    )
    return Policy(config, model, codec, sandbox, player)


def load_run_tasks(config: Config) -> tuple[list[Task], list[Task]]:
    """The tasks that a run trains on, and those that it holds out."""
    c = config.tasks
    return load_pair(
        c.train,
        c.eval,
        path=c.path,
        held_path=c.eval_path,
        train_count=c.train_count or None,
        held_count=c.eval_count or None,
        evaluate=evaluate_references,
    )


def eval_bugs(config: Config, tasks: list[Task], sandbox: Sandbox) -> list[Bug]:
    """One faulty program of every evaluation task."""
    return make_bugs(
        tasks,
        sandbox,
        per_task=1,
        corruptions=(config.demos.min_corruptions, config.demos.max_corruptions),
        kinds=config.demos.kinds,
        seed=config.seed,
    )


def measure(
    policy: Policy,
    params,
    bugs: list[Bug],
    config: EvalConfig,
    description: str,
    path,
) -> dict:
    """Evaluates and writes every trajectory to a JSONL file; returns the results."""
    total = len(processes.share(bugs)) * (1 + config.samples)
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
    if processes.first():
        write_records(path, describe_evaluation(judged, policy.codec))
    return results | {"seconds": round(time.perf_counter() - started, 1)}


def load_policy(
    checkpoint, sandbox: Sandbox | None = None, **sampler
) -> tuple[Policy, dict]:
    """The policy that a run has saved, and its parameters.

    Unless it is given one, the policy brings a sandbox of its own, with the run's
    limits: use it in `with policy.sandbox:`.

    Args:
      checkpoint: WORKDIR/checkpoints/STAGE, or one step below it.
      sandbox: What programs run in.
      **sampler: Fields of `SamplerConfig` to use instead of the run's.

    Raises:
      UserError: The checkpoint is missing, torn or not below a workdir, or a field
        is out of range.
    """
    config, model, params, codec = _load_run(checkpoint)
    try:
        settings = dataclasses.replace(config.sampler, **sampler)
    except ValueError as error:
        raise UserError(f"sampler {error}") from error
    config = dataclasses.replace(config, sampler=settings)
    sandbox = sandbox or Sandbox(limits=config.sandbox)
    return make_policy(config, codec, model, sandbox), params


def load_model(source) -> tuple[Model, dict, Codec]:
    """A model with its parameters and its tokenizer.

    Args:
      source: A checkpoint of a run, as for `load_policy`; or a folder in Hugging Face's
        format, or a name on its Hub.

    Raises:
      UserError: It is none of them, or incomplete.
    """
    if "checkpoints" in pathlib.Path(source).absolute().parts:
        return _load_run(source)[1:]
    mesh = make_mesh(devices=jax.local_devices()[:1])
    shape, params = load_hf(source, mesh)
    return Model(shape), params, load_codec(local_folder(source), "full")


def _load_run(checkpoint) -> tuple[Config, Model, dict, Codec]:
    """What a checkpoint and its workdir hold: config, model, parameters, tokenizer."""
    params, extra = load_params(checkpoint)
    config = from_dict(extra["config"])
    folder = workdir_of(checkpoint) / "tokenizer"
    codec = load_codec(folder, config.text.prompt, config.mode)
    return config, Model(from_dict(extra["model"], LlamaConfig)), params, codec


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

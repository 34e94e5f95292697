"""Loading of trained policies, and of models in other formats."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable

import jax

from repair.env import Environment, Verifier
from repair.errors import FieldError, UserError
from repair.model.api import Model
from repair.model.hf.folder import load_hf, settings_folder
from repair.model.hf.peft import is_peft
from repair.model.llama import LlamaConfig
from repair.model.sharding import make_mesh
from repair.rollout.engine import RolloutEngine, make_engine
from repair.text.tokenizer import Tokenizer, load_tokenizer
from repair.training.checkpoint import is_checkpoint
from repair.training.config import Config
from repair.training.fields import from_dict
from repair.training.initial_weights import (
    load_adapted,
    load_checkpoint,
    workdir_of,
)
from repair.training.machine import usable_precision
from repair.training.task_set import (
    RepairTaskSet,
    TaskSet,
    open_task_set,
    open_tokenizer,
)
from repair.training.workdir import path_digest


@dataclasses.dataclass(frozen=True)
class Policy:
    """A policy, ready to collect rollouts and to be measured.

    Attributes:
      config: The run's, but for its stages.
      task_set: The run's tasks, bugs and tool.
      model: The decoder.
      engine: Its inference engine.
      verifier: Runs the tests; to be used in a `with`.
      params: The parameters.
    """

    config: Config
    task_set: TaskSet
    model: Model
    engine: RolloutEngine
    verifier: Verifier
    params: dict


def make_policy(
    task_set: TaskSet, model: Model, tokenizer: Tokenizer, verifier: Verifier, params
) -> Policy:
    """Build the engine of a config, and the policy around it.

    Raises:
      UserError: The tokenizer has ids that the model has no embedding for.
    """
    config = task_set.config

    def make_environment() -> Environment:
        rewards, turns = config.rewards, config.text.max_turns
        if config.mode != "coe":  # an answer that passes is the last one
            rewards = dataclasses.replace(rewards, end_on_solve=True)
            turns = config.text.max_answers
        return Environment(verifier, rewards, turns, task_set.make_tool)

    engine = make_engine(
        model,
        tokenizer,
        make_environment,
        config.sampler,
        max_command=config.text.max_command,
        max_length=config.text.max_length,
    )
    return Policy(config, task_set, model, engine, verifier, params)


def load_policy(
    checkpoint,
    task_set: Callable[[Config], TaskSet] = RepairTaskSet,
    verifier: Verifier | None = None,
    base: str = "",
    report: Callable[[str], None] = print,
    max_turns: int = 0,
    **sampler,
) -> Policy:
    """Load a policy from a checkpoint of its run, or from a run's exported adapters.

    Args:
      checkpoint: WORKDIR/checkpoints/STAGE, a step below it, or `best` there; or a
        folder that `repair.export --adapter` wrote.
      task_set: From the run's config to its task set.
      verifier: Runs the tests; by default one of its own, with the run's limits.
      base: Source of the base model of adapters, if it is not the one of the training.
      report: Gets a line about a damaged step, or about other weights of the base.
      max_turns: Longest episode in commands; 0 for the run's.
      **sampler: Fields of `SamplerConfig` to use in place of the run's.

    Raises:
      UserError: The checkpoint is missing, torn, not below a workdir or of another
        task set, or a field is out of range.
    """
    opened, model, params, tokenizer = _load_run(
        checkpoint, task_set, base, report, max_turns, **sampler
    )
    verifier = verifier or opened.open_verifier()
    return make_policy(opened, model, tokenizer, verifier, params)


def load_model(source) -> tuple[Model, dict, Tokenizer]:
    """Load a model, its parameters and its tokenizer.

    Args:
      source: A checkpoint of a run, as for `load_policy`; or a folder in Hugging Face's
        format, a name on its Hub, or a GGUF file.

    Raises:
      UserError: It is none of them, or incomplete.
    """
    if is_checkpoint(source):
        return _load_run(source, RepairTaskSet)[1:]
    mesh = make_mesh(devices=jax.local_devices()[:1])
    shape, params = load_hf(source, mesh)
    with settings_folder(source) as folder:
        return _model(shape), params, load_tokenizer(folder, "full")


def _load_run(
    checkpoint,
    make: Callable[[Config], TaskSet],
    base: str = "",
    report: Callable[[str], None] = print,
    max_turns: int = 0,
    **sampler,
) -> tuple[TaskSet, Model, dict, Tokenizer]:
    """Load task set, model, parameters and tokenizer of a checkpoint."""
    if is_peft(checkpoint):
        shape, params, extra = load_adapted(checkpoint, base, report)
        words = settings_folder(extra["base"]["source"])
    else:
        shape, params, extra = load_checkpoint(checkpoint, base=base, report=report)
        folder = workdir_of(checkpoint) / "tokenizer"
        check_same_tokenizer(folder, extra)
        words = contextlib.nullcontext(folder)
    config = from_dict(extra["config"], Config)
    try:
        settings = dataclasses.replace(config.sampler, **sampler)
    except FieldError as error:
        raise UserError(f"sampler.{error}") from error
    text = dataclasses.replace(
        config.text, max_turns=max_turns or config.text.max_turns
    )
    # No longer in training, so rules of the training stages do not hold.
    config = dataclasses.replace(config, sampler=settings, text=text, stages=("eval",))
    task_set = open_task_set(config, make)
    with words as folder:
        tokenizer = open_tokenizer(folder, task_set)
    return task_set, _model(shape, report), params, tokenizer


def _model(shape: LlamaConfig, report: Callable[[str], None] = print) -> Model:
    return Model(usable_precision(shape, jax.local_devices()[:1], report))


def check_same_tokenizer(folder: pathlib.Path, extra: dict) -> None:
    """Refuse a tokenizer that is not the one a checkpoint was trained with.

    Args:
      folder: The tokenizer's.
      extra: The JSON of the checkpoint.

    Raises:
      UserError: It has changed since.
    """
    if path_digest(folder) != extra["digests"]["tokenizer"]:
        raise UserError(
            f"{folder} is not the tokenizer that the checkpoint was trained with; put"
            " the run's own there again"
        )

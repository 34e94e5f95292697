"""One stage of training: from its latest checkpoint, step by step, to its end."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable

from repair.errors import UserError
from repair.model.api import Model
from repair.model.lora import join, split
from repair.model.sharding import build
from repair.training.checkpoint import Checkpointer
from repair.training.config import Config
from repair.training.metrics import progress
from repair.training.optimizer import TrainState, init_state, make_optimizer

# Metrics that no run has use for once they are none.
_FINITE = ("loss", "policy_loss", "gradient_norm", "entropy")


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Where a stage works.

    Attributes:
      config: The run's.
      model: The decoder, on its mesh.
      folder: Of the stage's checkpoints.
      metrics: The run's `repair.training.loggers.Loggers`, or what takes their place.
      report: Gets a line of text at each milestone.
    """

    config: Config
    model: Model
    folder: pathlib.Path
    metrics: object
    report: Callable[[str], None]


def run_stage(
    where: Workshop,
    stage: str,
    params,
    settings,
    one_step: Callable,
    *,
    updates: int = 1,
    over: Callable[[int], bool] | None = None,
) -> tuple[dict, int]:
    """Trains to the end of a stage: (parameters, steps made here).

    Args:
      where: Config, model and places to write to.
      stage: Its name.
      params: What it starts from, if it has no checkpoint.
      settings: The stage's section of the config.
      one_step: (step, state, frozen, optimizer) to (state, metrics).
      updates: Of the optimizer in a step.
      over: Whether so many steps end it; None to go by `settings.steps`.

    Raises:
      UserError: The run has diverged. Checkpoints are of the steps before.
    """
    checkpointer, optimizer, state, frozen = _open(
        where, stage, params, settings, updates
    )
    over = over or (lambda steps: steps >= settings.steps)
    first = step = int(state.step)
    with progress(settings.steps, stage, initial=first) as bar:
        while not over(step):
            started = time.perf_counter()
            state, values = one_step(step, state, frozen, optimizer)
            step += 1
            values = {name: float(value) for name, value in values.items()}
            values["seconds_step"] = time.perf_counter() - started
            where.metrics.write(stage, step, **values)
            _check_finite(stage, step, values, settings)
            bar.update(step, **_headline(values))
            if over(step) or step % where.config.checkpoint_every == 0:
                _save(where, checkpointer, step, state, frozen)
    checkpointer.close()
    return join(state.trainable, frozen), step - first


def _open(where: Workshop, stage: str, params, settings, updates: int):
    """(checkpointer, optimizer, state, frozen) at the stage's latest step."""
    mode = where.config.train
    trainable, frozen = split(params, mode)
    optimizer = make_optimizer(settings.optimizer, settings.steps * updates)
    # A copy: updates donate their state, and what they start from may be the
    # reference.
    state = build(where.model.mesh, lambda t: init_state(t, optimizer), trainable)
    checkpointer = Checkpointer(where.folder)
    latest = checkpointer.latest_step()
    if latest is not None:
        saved, extra = checkpointer.restore(_to_save(state, frozen))
        trainable, frozen = split(saved["params"], mode)
        state = TrainState(saved["step"], trainable, saved["optimizer"])
        where.report(f"{stage}: resumed at step {latest} of {settings.steps}")
        now = dict(where.model.mesh.shape)
        if (then := extra.get("mesh", now)) != now:
            where.report(
                f"{stage}: the checkpoint is of a mesh {then}, this is {now}; the run"
                " goes on, though not to the same bits"
            )
    where.metrics.truncate_after(stage, latest or 0)
    return checkpointer, optimizer, state, frozen


def _save(where: Workshop, checkpointer, step: int, state, frozen) -> None:
    extra = {
        "config": dataclasses.asdict(where.config),
        "model": dataclasses.asdict(where.model.config),
        "mesh": dict(where.model.mesh.shape),
    }
    checkpointer.save(step, _to_save(state, frozen), extra)


def _check_finite(stage: str, step: int, values: dict, settings) -> None:
    """Ends a run that has diverged, before a checkpoint of it drives out a good one."""
    broken = [n for n in _FINITE if not math.isfinite(values.get(n, 0.0))]
    if broken:
        raise UserError(
            f"{stage}, step {step}: {' and '.join(broken)} not finite, the run has"
            f" diverged; in a new --workdir try a {stage}.optimizer.learning_rate below"
            f" {settings.optimizer.learning_rate:g}"
        )


def _to_save(state: TrainState, frozen) -> dict:
    return {
        "params": join(state.trainable, frozen),
        "optimizer": state.optimizer,
        "step": state.step,
    }


def _headline(values: dict) -> dict:
    names = ("command_loss", "command_accuracy", "reward", "solved", "malformed", "kl")
    return {name: values[name] for name in names if name in values}

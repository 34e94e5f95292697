"""The frame of a training stage: from its latest checkpoint, step by step, to its end.

    loop = Loop(run, "sft", params, settings)
    for step in loop:
        loop.state, metrics = update(loop.state, ...)
        loop.log(metrics)
    params = loop.params

The body makes the step; the loop restores, times, logs, checks, saves and ends.
"""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator

from repair.errors import UserError
from repair.model import multihost
from repair.model.api import Model
from repair.model.lora import join, split
from repair.model.sharding import build
from repair.training.checkpoint import Checkpointer
from repair.training.metrics import progress, read_metrics
from repair.training.optimizer import TrainState, init_state, make_optimizer

# A stage ends as soon as one of these is not finite.
_FINITE = ("loss", "policy_loss", "gradient_norm", "entropy")
# Shown next to the progress bar.
_HEADLINE = ("command_loss", "command_accuracy", "reward", "solved", "malformed", "kl")


@dataclasses.dataclass(frozen=True)
class StageContext:
    """Settings and places that all stages of a run share.

    Attributes:
      model: The decoder, on its mesh.
      workdir: Folder of the run.
      metrics: A `repair.training.loggers.Loggers`.
      report: Gets a line of text at each milestone.
      seed: Seed of the run.
      train: "full" or "lora".
      checkpoint_every: Steps between checkpoints.
      loss_chunk: Tokens of each row whose logits exist at once; 0 for all.
      config: The run's config as JSON, kept in each checkpoint.
    """

    model: Model
    workdir: pathlib.Path
    metrics: object
    report: Callable[[str], None]
    seed: int = 0
    train: str = "full"
    checkpoint_every: int = 100
    loss_chunk: int = 0
    config: dict = dataclasses.field(default_factory=dict)


class Loop:
    """The steps of one stage, to iterate over; see the module.

    Attributes:
      context: Model, places and common settings.
      settings: The stage's section of the config.
      initial: Parameters that the stage began with, before any run.
      optimizer: The stage's optimizer.
      state: The `TrainState`, which the body replaces at each step.
      frozen: Parameters that the stage does not train.
      step: Steps made so far.
      history: The metrics of each of them.
      extra: JSON that the body keeps in the checkpoints; {} at the start.
    """

    def __init__(
        self,
        context: StageContext,
        stage: str,
        params,
        settings,
        *,
        updates: int = 1,
        budget: int = 0,
    ):
        """Open the stage at its latest checkpoint.

        Args:
          context: Model, places and common settings.
          stage: Name of the stage.
          params: Parameters to start from where there is no checkpoint.
          settings: The stage's section of the config.
          updates: Updates of the optimizer in a step.
          budget: The stage ends after the step in which the sum of the metric
            "sampled_tokens" reaches it; 0 for no budget.
        """
        self.context, self.settings, self.initial = context, settings, params
        self._stage, self._budget = stage, budget
        self.optimizer = make_optimizer(settings.optimizer, settings.steps * updates)
        trainable, self.frozen = split(params, context.train)
        # A copy: updates donate their state, and `params` may be the reference.
        mesh = context.model.mesh
        self.state = build(mesh, lambda t: init_state(t, self.optimizer), trainable)
        self.extra: dict = {}
        folder = context.workdir / "checkpoints" / stage
        self._checkpointer = Checkpointer(folder)
        if self._checkpointer.latest_step() is not None:
            self._restore()
        self.step = int(self.state.step)
        context.metrics.truncate_after(stage, self.step)
        self.history = multihost.once(self._read_history)

    @property
    def params(self) -> dict:
        """All parameters as they are now."""
        return join(self.state.trainable, self.frozen)

    @property
    def over(self) -> bool:
        """True once the steps or the budget are used up."""
        spent = sum(row["sampled_tokens"] for row in self.history if self._budget)
        return self.step >= self.settings.steps or 0 < self._budget <= spent

    def __iter__(self) -> Iterator[int]:
        """Yield the number of each step, from 0, and finish it after the body.

        Raises:
          UserError: The run has diverged. Checkpoints are of the steps before.
        """
        c, stage = self.context, self._stage
        with progress(self.settings.steps, stage, initial=self.step) as bar:
            while not self.over:
                started = time.perf_counter()
                yield self.step
                values = self.history[-1]
                values["seconds_step"] = time.perf_counter() - started
                c.metrics.write(stage, self.step, **values)
                self._check_finite(values)
                shown = {name: values[name] for name in _HEADLINE if name in values}
                bar.update(self.step, **shown)
                if self.over or self.step % c.checkpoint_every == 0:
                    self._save()
        self._checkpointer.close()

    def log(self, metrics: dict) -> None:
        """Count the step, with its metrics: numbers, also of the device."""
        self.history.append({name: float(value) for name, value in metrics.items()})
        self.step += 1

    def _read_history(self) -> list[dict]:
        rows = read_metrics(self.context.workdir / "metrics.jsonl")
        rows = [r for r in rows if r["stage"] == self._stage]
        return [{n: row[n] for n in row if n not in ("stage", "step")} for row in rows]

    def _restore(self) -> None:
        c = self.context
        saved, extra = self._checkpointer.restore(self._to_save())
        trainable, self.frozen = split(saved["params"], c.train)
        self.state = TrainState(saved["step"], trainable, saved["optimizer"])
        self.extra = extra.get("stage", {})
        steps = f"{int(self.state.step)} of {self.settings.steps}"
        c.report(f"{self._stage}: resumed at step {steps}")
        now = dict(c.model.mesh.shape)
        if (then := extra.get("mesh", now)) != now:
            c.report(
                f"{self._stage}: the checkpoint is of a mesh {then}, this is {now}; the"
                " run goes on, though not to the same bits"
            )

    def _save(self) -> None:
        model = self.context.model
        extra = {
            "config": self.context.config,
            "model": dataclasses.asdict(model.config),
            "mesh": dict(model.mesh.shape),
            "stage": self.extra,
        }
        self._checkpointer.save(self.step, self._to_save(), extra)

    def _to_save(self) -> dict:
        state = self.state
        return {
            "params": self.params,
            "optimizer": state.optimizer,
            "step": state.step,
        }

    def _check_finite(self, values: dict) -> None:
        """End a run that has diverged, before its checkpoint drives out a good one."""
        broken = [n for n in _FINITE if not math.isfinite(values.get(n, 0.0))]
        if broken:
            stage, rate = self._stage, self.settings.optimizer.learning_rate
            raise UserError(
                f"{stage}, step {self.step}: {' and '.join(broken)} not finite, the run"
                f" has diverged; in a new --workdir try a"
                f" {stage}.optimizer.learning_rate below {rate:g}"
            )

"""The frame of a training stage: from its latest checkpoint, step by step, to its end.

    loop = Loop(run, "sft", params, settings)
    for step in loop:
        loop.state, metrics = update(loop.state, ..., loop.learning_rate_scale)
        loop.log(metrics)
        if loop.evaluation_due:
            loop.log_evaluation(evaluator.figures(loop.params))
    params = loop.params

The body makes the step; the loop restores, times, logs, checks, saves and ends.
"""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator

import numpy as np

from repair.errors import Interrupted, UserError
from repair.model import multihost
from repair.model.api import Model
from repair.model.lora import join, split
from repair.model.sharding import build, place_params
from repair.training.checkpoint import BEST, Checkpointer, load_params
from repair.training.interrupts import Interrupts
from repair.training.metrics import chain_digest, progress, read_metrics
from repair.training.optimizer import (
    TrainState,
    init_state,
    learning_rate_scale,
    make_optimizer,
)

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
      config: The run's `Config`.
      base: Model below the adapters, which checkpoints leave out; None to save all
        parameters. See `repair.training.initial_weights`.
      digests: Digests of what the run has made, kept in each checkpoint.
      interrupts: Requests to end.
    """

    model: Model
    workdir: pathlib.Path
    metrics: object
    report: Callable[[str], None]
    config: object
    base: dict | None = None
    digests: dict = dataclasses.field(default_factory=dict)
    interrupts: Interrupts = dataclasses.field(default_factory=Interrupts)


@dataclasses.dataclass
class StageProgress:
    """Facts that a resumed stage goes by; JSON, kept in each checkpoint.

    Attributes:
      spent: Sampled tokens so far.
      seconds: Seconds of the steps so far, over all sessions.
      best: {"step", "value"} of the best evaluation so far, or None.
      stale: Evaluations since then.
      metrics: Digest of the metrics of all steps so far, but for times.
      memory: Whatever else the stage must remember, such as its curriculum.
    """

    spent: int = 0
    seconds: float = 0.0
    best: dict | None = None
    stale: int = 0
    metrics: str = ""
    memory: dict = dataclasses.field(default_factory=dict)


class Loop:
    """The steps of one stage, to iterate over; see the module.

    Attributes:
      context: Model, places and common settings.
      stage: Name of the stage.
      settings: The stage's section of the config.
      initial: Parameters that the stage began with, before any run.
      optimizer: The stage's optimizer.
      state: The `TrainState`, which the body replaces at each step.
      frozen: Parameters that the stage does not train.
      step: Steps made so far.
      progress: What a resumed run goes by.
      history: The metrics of each step, as far as metrics.jsonl has them.
    """

    def __init__(
        self, context: StageContext, stage: str, params, settings, *, budget: int = 0
    ):
        """Open the stage at its latest whole checkpoint.

        Args:
          context: Model, places and common settings.
          stage: Name of the stage.
          params: Parameters to start from where there is no checkpoint.
          settings: The stage's section of the config.
          budget: The stage ends after the step in which the sum of the metric
            "sampled_tokens" reaches it; 0 for no budget.
        """
        self.context, self.settings, self.initial = context, settings, params
        self.stage, self._budget = stage, budget
        self.optimizer = make_optimizer(settings.optimizer)
        trainable, self.frozen = split(params, context.config.train)
        # A copy: updates donate their state, and `params` may be the reference.
        mesh = context.model.mesh
        self.state = build(mesh, lambda t: init_state(t, self.optimizer), trainable)
        self.progress = StageProgress()
        self._folder = context.workdir / "checkpoints" / stage
        self._checkpointer = Checkpointer(
            self._folder, context.config.keep, context.report
        )
        self._saved_at = time.monotonic()
        self._evaluation: dict | None = None
        if self._checkpointer.latest_step() is not None:
            self._restore()
        self.step = int(self.state.step)
        for rows in (stage, f"{stage}_eval"):
            context.metrics.truncate_after(rows, self.step)
        self.history = multihost.once(self._read_history)

    @property
    def params(self) -> dict:
        """All parameters as they are now."""
        return join(self.state.trainable, self.frozen)

    def best_params(self) -> dict:
        """Load the parameters of the best evaluation."""
        saved, _ = load_params(self._folder / BEST)
        return join(place_params(self.context.model.mesh, saved), self.frozen)

    @property
    def over(self) -> bool:
        """True once the steps or the budget are used up, or no evaluation improves."""
        spent = 0 < self._budget <= self.progress.spent
        patience = self.settings.patience
        stale = 0 < patience <= self.progress.stale
        return self.step >= self.settings.steps or spent or stale

    @property
    def learning_rate_scale(self) -> np.float32:
        """The learning rate of this step, as a share of its peak."""
        c, spent = self.settings, None
        if self._budget:
            spent = self.progress.spent / self._budget
        return np.float32(learning_rate_scale(c.optimizer, self.step, c.steps, spent))

    @property
    def evaluation_due(self) -> bool:
        """True if the parameters are to be evaluated after this step."""
        every = self.settings.eval_every
        return bool(every) and (self.step % every == 0 or self.over)

    def __iter__(self) -> Iterator[int]:
        """Yield the number of each step, from 0, and finish it after the body.

        Raises:
          UserError: The run has diverged. Checkpoints are of the steps before.
          Interrupted: A signal asked for the end; the last step is saved.
        """
        total, interrupts = self._budget or self.settings.steps, self.context.interrupts
        label = f"{self.stage} (sampled tokens)" if self._budget else self.stage
        try:
            interrupts.waits = True
            first = "compiling with the first step ..."
            with progress(total, label, initial=self._position(), first=first) as bar:
                while not self.over:
                    started = time.perf_counter()
                    yield self.step
                    values = self.history[-1]
                    values["seconds_step"] = time.perf_counter() - started
                    self._finish_step(values)
                    shown = {n: values[n] for n in _HEADLINE if n in values}
                    bar.update(min(self._position(), total), **shown)
                    if number := interrupts.agreed():
                        self._save_now()
                        raise Interrupted(number, f" after {self.stage} {self.step}")
            self.context.report(f"{self.stage} ends at {self.step}: {self._ending()}")
        finally:
            interrupts.waits = False
            self._checkpointer.close()

    def log(self, metrics: dict) -> None:
        """Count the step, with its metrics: numbers, also of the device."""
        scale = float(self.learning_rate_scale)
        metrics |= {"learning_rate": self.settings.optimizer.learning_rate * scale}
        values = {name: _number(value) for name, value in metrics.items()}
        self.history.append(values)
        self.step += 1
        self.progress.spent += int(values.get("sampled_tokens", 0))
        self.progress.metrics = chain_digest(self.progress.metrics, values)

    def log_evaluation(self, figures: dict) -> None:
        """Note the figures of an evaluation of this step's parameters."""
        value = figures[self.context.config.best_of]
        best = self.progress.best
        if better := best is None or value > best["value"]:
            self.progress.best = {"step": self.step, "value": value}
            self.progress.stale = 0
        else:
            self.progress.stale += 1
        self._evaluation = {name: _number(x) for name, x in figures.items()}
        told = " ".join(f"{n} {x:.3g}" for n, x in self._evaluation.items())
        mark = " (best so far)" if better else f" (best: step {best['step']})"
        self.context.report(f"{self.stage}, step {self.step}: {told}{mark}")

    def _ending(self) -> str:
        """Return the reason of the stage's end, with its field."""
        if 0 < self._budget <= self.progress.spent:
            return f"{self.progress.spent:,} tokens sampled (rlvr.sampled_tokens)"
        if self.step >= self.settings.steps:
            return f"all its steps are done ({self.stage}.steps)"
        best = self.progress.best["step"]
        return f"no evaluation since step {best} was better ({self.stage}.patience)"

    def _position(self) -> int:
        return self.progress.spent if self._budget else self.step

    def _finish_step(self, values: dict) -> None:
        """Write the step's lines, check them, and save if it is time."""
        c, stage, step = self.context.config, self.stage, self.step
        self.context.metrics.write(stage, step, **values)
        self._check_finite(values)
        self.progress.seconds += values["seconds_step"]
        best = False
        if self._evaluation is not None:
            self.context.metrics.write(f"{stage}_eval", step, **self._evaluation)
            best = self.progress.best["step"] == step
            self._evaluation = None
        late = time.monotonic() - self._saved_at >= 60 * c.checkpoint_minutes > 0
        due = self.over or best or step % c.checkpoint_every == 0
        if due or multihost.once(lambda: late):
            self._save_now()
        if best:
            self._checkpointer.promote(step)

    def _read_history(self) -> list[dict]:
        rows = read_metrics(self.context.workdir / "metrics.jsonl")
        rows = [r for r in rows if r["stage"] == self.stage]
        rows = [{n: row[n] for n in row if n not in ("stage", "step")} for row in rows]
        digest = ""
        for row in rows:
            digest = chain_digest(digest, row)
        if digest != self.progress.metrics:
            self.context.report(
                f"{self.stage}: metrics.jsonl does not have the lines of the"
                f" checkpoint's {self.step} steps; training goes on from the checkpoint"
                " alone, but curves and alarms lack those steps"
            )
        return rows

    def _restore(self) -> None:
        c = self.context
        saved, extra = self._checkpointer.restore(self._to_save())
        if self.context.base is None:
            trainable, self.frozen = split(saved["params"], c.config.train)
        else:  # the frozen base is in memory already
            trainable = saved["params"]
        self.state = TrainState(saved["step"], trainable, saved["optimizer"])
        self.progress = StageProgress(**extra["progress"])
        step = int(self.state.step)
        c.report(f"{self.stage}: resumed at step {step} of {self.settings.steps}")
        if (best := self.progress.best) and best["step"] == step:
            self._checkpointer.promote(step)  # a kill may have come before
        then = extra["config"][self.stage]["steps"]
        moves = self.settings.optimizer.decay != "constant" and not self._budget
        if then != self.settings.steps and moves and step < self.settings.steps:
            c.report(
                f"{self.stage}: the learning rate, which fell over {then} steps, now"
                f" falls over {self.settings.steps}; the run differs from one that had"
                " as many from the start"
            )
        now = dict(c.model.mesh.shape)
        if (then := extra["mesh"]) != now:
            c.report(
                f"{self.stage}: the checkpoint is of a mesh {then}, this is {now}; the"
                " run goes on, though not to the same bits"
            )
        for name, digest in c.digests.items():
            if extra["digests"].get(name, digest) != digest:
                named = name in ("init_from", "adapter")
                where = getattr(c.config, name) if named else c.workdir / name
                raise UserError(
                    f"{where} is not what the checkpoint was trained with; put the"
                    " run's own there again, or choose another --workdir"
                )

    def _save_now(self) -> None:
        if self._checkpointer.latest_step() == self.step:
            return
        c = self.context
        extra = {
            "config": dataclasses.asdict(c.config),
            "model": dataclasses.asdict(c.model.config),
            "mesh": dict(c.model.mesh.shape),
            "base": c.base,
            "digests": c.digests,
            "progress": dataclasses.asdict(self.progress),
        }
        self._checkpointer.save(self.step, self._to_save(), extra)
        self._saved_at = time.monotonic()

    def _to_save(self) -> dict:
        state = self.state
        return {
            "params": state.trainable if self.context.base else self.params,
            "optimizer": state.optimizer,
            "step": state.step,
        }

    def _check_finite(self, values: dict) -> None:
        """End a run that has diverged, before its checkpoint drives out a good one."""
        broken = [n for n in _FINITE if not math.isfinite(values.get(n, 0.0))]
        if broken:
            stage, rate = self.stage, self.settings.optimizer.learning_rate
            raise UserError(
                f"{stage}, step {self.step}: {' and '.join(broken)} not finite, the run"
                f" has diverged; in a new --workdir try a"
                f" {stage}.optimizer.learning_rate below {rate:g}"
            )


def _number(value):
    """Return a metric as a plain number; text and containers stay."""
    return float(value) if hasattr(value, "item") or type(value) is int else value

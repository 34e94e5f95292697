"""Loggers of a run's metrics: metrics.jsonl always, TensorBoard and W&B on request.

All of them are written by one call. A run that was killed goes on from a checkpoint and
writes the steps since then again; each logger sees to it that no step shows twice.
"""

import dataclasses
import importlib.util
import json
import pathlib
import sys
import time
import uuid

from repair.errors import UserError
from repair.model import multihost
from repair.training.config import STAGES, Config, LogConfig
from repair.training.fields import flatten
from repair.training.metrics import MetricsWriter, read_metrics
from repair.training.workdir import write_whole


def check_packages(log: LogConfig) -> None:
    """Refuse loggers whose package is not installed, before anything starts.

    Raises:
      UserError: With the line that installs it.
    """
    for name in ("tensorboard", "wandb"):
        if getattr(log, name) and importlib.util.find_spec(name) is None:
            raise UserError(
                f"config: log.{name} is on, but the package {name} is not installed;"
                f" run pip install -e '.[{name}]', or leave log.{name} off"
            )


class Loggers:
    """All loggers of a run as one: what `MetricsWriter` does, they do.

    In other processes than the first there are none.
    """

    def __init__(self, workdir, config: Config):
        """Open the loggers that the config asks for, in an existing folder.

        Raises:
          UserError: One of them cannot be opened.
        """
        self._all: list = []
        if not multihost.first():
            return
        try:
            self._all.append(MetricsWriter(workdir))
            if config.log.tensorboard:
                self._all.append(TensorBoard(workdir))
            if config.log.wandb:
                self._all.append(WandB(workdir, config))
        except BaseException:
            self.close()
            raise

    def write(self, stage: str, step: int, **values) -> None:
        """Write one step's metrics to all."""
        for logger in self._all:
            logger.write(stage, step, **values)

    def write_evaluation(self, step: int, figures: dict, path, **values) -> None:
        """Write the evaluation after a stage: rates and statuses, its episodes to W&B.

        Args:
          step: Number of the evaluation in its run, from 1.
          figures: As from `repair.training.evaluation.measure`.
          path: Its file of trajectories.
          **values: More values of its line.
        """
        values |= evaluation_values(figures)
        for logger in self._all:
            table = logger.table(path) if isinstance(logger, WandB) else {}
            logger.write("eval", step, **values, **table)

    def truncate_after(self, stage: str, step: int) -> None:
        """Tell all that a stage goes on after a step."""
        for logger in self._all:
            logger.truncate_after(stage, step)

    def close(self) -> None:
        """Close all."""
        for logger in self._all:
            logger.close()


def evaluation_values(figures: dict) -> dict:
    """Return the rates of an evaluation, and the shares of its statuses.

    `mean`, `low` and `high` are those of pass@1; pass@k has the mean alone.
    """
    rates = {k: v["mean"] for k, v in figures.items() if "pass@" in k}
    shares = {"status": figures["by_status"]}
    if sampled := figures.get("sampled"):
        shares["sampled_status"] = sampled["by_status"]
    for name, counts in shares.items():
        total = sum(counts.values())
        shares[name] = {status: counts[status] / total for status in sorted(counts)}
    return figures["pass@1"] | rates | shares


class TensorBoard:
    """Event files in WORKDIR/tensorboard, one folder for each stage.

    Stages count their steps from 1 each, so each is a run of its own there. Numbers
    are written, and flushed at once; words are left out. Where a stage goes on after a
    step, the file says that a session starts at the next one, whereupon TensorBoard
    forgets the older files' events of that step and later.
    """

    def __init__(self, workdir):
        self._folder = pathlib.Path(workdir) / "tensorboard"
        self._files: dict = {}

    def write(self, stage: str, step: int, **values) -> None:
        """Append one event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        numbers = {k: v for k, v in _plain(values).items() if not isinstance(v, str)}
        points = [Summary.Value(tag=k, simple_value=v) for k, v in numbers.items()]
        self._add(stage, int(step), summary=Summary(value=points))

    def truncate_after(self, stage: str, step: int) -> None:
        """Start a session after a step."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        start = SessionLog(status=SessionLog.START)
        self._add(stage, int(step) + 1, session_log=start)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _add(self, stage, step, **what):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if stage not in self._files:
            self._files[stage] = EventFileWriter(str(self._folder / stage))
        self._files[stage].add_event(Event(wall_time=time.time(), step=step, **what))
        self._files[stage].flush()


class WandB:
    """One run on Weights & Biases, with metrics STAGE/NAME over STAGE/step.

    W&B's own environment variables say where it goes: WANDB_MODE=offline writes to
    WORKDIR/wandb only, for `wandb sync`. WORKDIR/wandb.json keeps the run's id, so that
    a resumed run goes on in the same one. W&B takes nothing back, and need not: a
    resumed run writes the same values again, so steps that were given once are left
    out. A kill can lose the last lines on their way to W&B; metrics.jsonl has them.
    """

    def __init__(self, workdir, config: Config):
        """Start the run, or resume it.

        Raises:
          UserError: W&B refuses, for want of a login or of a network.
        """
        import wandb

        workdir = pathlib.Path(workdir)
        path = workdir / "wandb.json"
        known = {"id": uuid.uuid4().hex[:8], "given": {}}
        if path.exists():
            known = json.loads(path.read_text())
        self._given: dict[str, int] = known["given"]
        for row in read_metrics(workdir / "metrics.jsonl"):
            self._given[row["stage"]] = max(self._last(row["stage"]), row["step"])
        # Before the file of metrics is cut back, which forgets that it was given.
        write_whole(path, json.dumps(known) + "\n")
        try:
            self._run = wandb.init(
                project=config.log.project,
                name=workdir.name,
                id=known["id"],
                dir=str(workdir),
                resume="allow",
                config=dataclasses.asdict(config),
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"Weights & Biases cannot be used ({str(error).splitlines()[0]}): run"
                " wandb login, or set WANDB_MODE=offline"
            ) from error
        for stage in STAGES:
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")

    def write(self, stage: str, step: int, **values) -> None:
        """Log one line, unless it was logged before."""
        if step <= self._last(stage):
            return
        self._given[stage] = int(step)
        line = {f"{stage}/{k}": v for k, v in _plain(values).items()}
        line[f"{stage}/step"] = int(step)
        # W&B's own step, which may only grow: the number of lines so far.
        self._run.log(line, step=sum(self._given.values()))

    def table(self, path) -> dict:
        """Return the episodes of a file of trajectories as a table, by its name."""
        import wandb

        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
        rows = [_row(json.loads(line)) for line in lines]
        data = [list(row.values()) for row in rows]
        return {"episodes": wandb.Table(list(rows[0]) if rows else [], data)}

    def truncate_after(self, stage: str, step: int) -> None:
        """Do nothing; see the class."""

    def close(self) -> None:
        """End the run, as failed where an exception ends it."""
        self._run.finish(exit_code=0 if sys.exception() is None else 1)

    def _last(self, stage: str) -> int:
        return self._given.get(stage, 0)


def _row(record: dict) -> dict:
    """Return the columns of an episode, a record of `repair.training.trajectories`."""
    turns = [f"{turn['state']}\n{turn['command']}" for turn in record["turns"]]
    return {
        "bug": record["bug_id"],
        "sample": str(record["sample"]) if record["temperature"] else "greedy",
        "status": record["status"],
        "passed": record["passed"],
        "turns": len(turns),
        "return": record["return"],
        "text": "\n\n".join([record["text"], *turns, record["last_state"]]),
    }


def _plain(values: dict) -> dict:
    """Return plain numbers and words by name; those of a dict as NAME/KEY."""
    flat = flatten(values, "/").items()
    return {k: v.item() if hasattr(v, "item") else v for k, v in flat}

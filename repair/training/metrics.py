"""Metrics of a run: metrics.jsonl, progress on the terminal, the table of results."""

import contextlib
import datetime
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import rich.progress
from rich.console import Console

from repair.errors import UserError
from repair.model import multihost
from repair.training.workdir import write_whole

_SECONDS_A_LINE = 60  # between lines of progress where there is no terminal


class MetricsWriter:
    """Appends to a run's metrics.jsonl, one JSON object a line.

    A line holds "stage", "step" and the values; numbers that JSON does not know
    (nan, inf) are written as null. Each line is flushed, and opening the file mends
    a last line that a kill has torn.
    """

    def __init__(self, workdir):
        """Open the file of an existing folder, or starts one.

        Raises:
          UserError: The file cannot be opened, or a line before the last is not a JSON
            object.
        """
        self.path = Path(workdir) / "metrics.jsonl"
        try:
            self._rewrite(read_metrics(self.path))
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error}): choose a --workdir that can"
            ) from error

    def write(self, stage: str, step: int, **values) -> None:
        """Append a line: numbers (also of numpy or jax), strings, or dicts of these."""
        row = {"stage": stage, "step": int(step)}
        row |= {name: _plain(value) for name, value in values.items()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def truncate_after(self, stage: str, step: int) -> None:
        """Drop the stage's lines past a step, as a resumed run writes them again."""
        rows = read_metrics(self.path)
        self._file.close()
        self._rewrite([r for r in rows if r["stage"] != stage or r["step"] <= step])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rewrite(self, rows: list[dict]) -> None:
        """Replace the file whole, so that a kill loses no history, and open it."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if not self.path.exists() or self.path.read_bytes() != text.encode():
            write_whole(self.path, text)
        self._file = self.path.open("a", encoding="utf-8", newline="\n")


def read_metrics(path) -> list[dict]:
    """Read a metrics.jsonl; a torn last line is left out, no file is no lines.

    Raises:
      UserError: A line before the last is not a JSON object.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and {"stage", "step"} <= row.keys():
            rows.append(row)
        elif number < len(lines):
            raise UserError(
                f"{path}, line {number}: expected a JSON object with stage and step; "
                "delete the line or move the file away"
            )
    return rows


def chain_digest(before: str, row: dict) -> str:
    """Return the digest of a stage's metrics from that of the steps before and a row.

    Times and alarms do not count: only numbers that the same run always has.
    """
    counted = {
        name: value
        for name, value in sorted((n, _plain(v)) for n, v in row.items())
        if type(value) in (int, float) and "seconds" not in name
    }
    counted.pop("idle_share", None)
    text = before + json.dumps(counted)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value):
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Progress:
    """Progress of a stage; made by `progress`.

    Attributes:
      done: Steps that are done, of the total.
    """

    def __init__(self, total, description, initial, clock, show, first=""):
        self.done = initial
        self._total, self._description = total, description
        self._clock, self._show, self._first = clock, show, first
        self._started = clock()
        # Done, and the time: the rate counts from there.
        self._base = initial, self._started
        self._values: dict = {}

    def update(self, done: int, **values) -> None:
        """Show that `done` of the total are done, and the latest figures."""
        self.done = done
        if self._first:
            self._first, self._base = "", (done, self._clock())
        self._values |= values
        self._show(self)

    def values(self) -> str:
        """Return the latest figures, like "loss 0.123 solved 0.5"."""
        if self._first:
            return self._first
        plain = {name: _plain(value) for name, value in self._values.items()}
        return " ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in plain.items()
        )

    def pace(self) -> str:
        """Return rate, time left and time gone: "2.5/s, 0:04:10 left, 0:00:50 gone"."""
        now, (base, since) = self._clock(), self._base
        gone = datetime.timedelta(seconds=round(now - self._started))
        if now <= since or self.done <= base:
            return f"{gone} gone"
        rate = (self.done - base) / (now - since)
        left = datetime.timedelta(seconds=round((self._total - self.done) / rate))
        return f"{rate:.3g}/s, {left} left, {gone} gone"

    def line(self) -> str:
        """Return all of it in one line."""
        head = f"{self._description} {self.done}/{self._total}"
        return " | ".join(filter(None, (head, self.pace(), self.values())))


@contextlib.contextmanager
def progress(
    total: int,
    description: str,
    *,
    initial: int = 0,
    first: str = "",
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Show the progress of a stage, with its rate and the time left.

    A bar on a terminal; elsewhere a first line, one at most every minute, and a last.

    Args:
      total: Number that `Progress.update` counts up to.
      description: The stage's name.
      initial: Steps of the run that this one resumes; they do not count in the rate.
      first: Shown until the first update, which takes longer than others and does not
        count in the rate; "" if it is like them.
      console: The console, by default the terminal's stderr in the first process.
      clock: Seconds, for tests.
    """
    console = console or Console(stderr=True, quiet=not multihost.first())
    if console.is_terminal:
        with _bar(total, description, initial, first, console, clock) as shown:
            yield shown
        return
    printed = clock()

    def show(shown):
        nonlocal printed
        if clock() - printed >= _SECONDS_A_LINE:
            printed = clock()
            _print_line(console, shown.line())

    start = f"{description} {initial}/{total}"
    _print_line(console, f"{start} | {first}" if first else start)
    shown = Progress(total, description, initial, clock, show, first)
    yield shown
    _print_line(console, shown.line())


def _print_line(console, line):
    # A log keeps its lines whole, however narrow rich takes it to be.
    console.print(line, soft_wrap=True, markup=False, highlight=False)


@contextlib.contextmanager
def _bar(total, description, initial, first, console, clock):
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=24),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[pace]}"),
        rich.progress.TextColumn("{task.fields[values]}", style="dim"),
    )
    # Drawn twice a second: on two cores a livelier bar takes time from training.
    with rich.progress.Progress(*columns, console=console, refresh_per_second=2) as bar:
        task = bar.add_task(
            description, total=total, completed=initial, pace="", values=first
        )

        def show(shown):
            pace, values = shown.pace(), shown.values()
            bar.update(task, completed=shown.done, pace=pace, values=values)

        yield Progress(total, description, initial, clock, show, first)

"""Demonstrations in a folder: made in parts that a kill does not lose, read at will."""

import collections
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence

from repair.demos.make import DemoMaker, DemoSettings
from repair.demos.records import Demo, from_line, to_line
from repair.demos.shards import ShardReader, ShardWriter
from repair.demos.statistics import DemoReport, Tally
from repair.sandbox import Sandbox
from repair.tasks import Task

_NAME = "demos"
SHARD = 5000  # candidates of a file, about; ten megabytes


class DemoFolder(Sequence):
    """The demonstrations of a folder, read from its files one at a time.

    May be read from many threads.

    Raises:
      UserError: The folder is unfinished or damaged, or, when it is read, a row is
        wrong; the message names the file, and the row and field.
    """

    def __init__(self, folder):
        self._records = ShardReader(folder, _NAME)

    @property
    def folder(self) -> pathlib.Path:
        """Where they are."""
        return self._records.folder

    @property
    def index(self) -> dict:
        """What index.json holds; see `repair.demos.shards`."""
        return self._records.index

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> Demo:
        return from_line(self._records[number], self.where(number))

    def where(self, number: int) -> str:
        """File and line of one, for messages."""
        return self._records.where(number)

    def report(self, tally: Tally) -> DemoReport:
        """The figures of a tally that has seen all of these."""
        notes = [shard["notes"] for shard in self.index["shards"]]
        dropped, kinds = (
            sum((collections.Counter(n[name]) for n in notes), collections.Counter())
            for name in ("dropped", "kinds")
        )
        return tally.report(dropped, kinds, self.index["facts"]["unrunnable"])


def make_demo_folder(
    folder,
    tasks: Sequence[Task],
    sandbox: Sandbox,
    settings: DemoSettings,
    *,
    files: str = "jsonl",
    shard: int = SHARD,
    progress: Callable[[int], None] = lambda done: None,
) -> DemoFolder:
    """Makes demonstrations into a folder, or goes on where a kill has left it.

    The same arguments give the same bytes, with any number of sandbox workers.

    Args:
      folder: Made when needed.
      tasks: As for `DemoMaker`.
      sandbox: Runs the tests.
      settings: How to break and demonstrate.
      files: "jsonl" or "array_record".
      shard: Candidates of a file, about; files hold whole tasks.
      progress: Called with the candidates that are done, of all tasks times
        `settings.per_task`.

    Raises:
      UserError: The folder cannot be written or was begun with other arguments, or
        no task has a reference that passes its own tests.
    """
    each = settings.per_task
    size = max(1, shard // each)
    parts = [tasks[i : i + size] for i in range(0, len(tasks), size)]
    made_from = dataclasses.asdict(settings) | {"tasks_sha256": _hash(tasks)}
    writer = ShardWriter(
        folder, _NAME, files=files, count=len(parts), settings=made_from
    )

    def tell(before: int, new: int) -> None:
        progress(before + new)

    if writer.missing:
        known = writer.index["facts"].get("unrunnable")
        maker = DemoMaker(tasks, sandbox, settings, known)
        # Once and for all: a busy machine must not change the donors on the way.
        writer.fact("unrunnable", lambda: list(maker.unrunnable))
    done = (len(tasks) - sum(len(parts[n]) for n in writer.missing)) * each
    for number in writer.missing:
        progress(done)
        notes = {"dropped": collections.Counter(), "kinds": collections.Counter()}
        lines = _lines(maker, parts[number], notes, functools.partial(tell, done))
        writer.write(number, lines, notes)
        done += len(parts[number]) * each
    progress(done)
    return DemoFolder(folder)


def _lines(maker: DemoMaker, tasks, notes: dict, progress) -> Iterator[bytes]:
    """The demonstrations of some tasks as lines; counts in notes what came of them."""
    done = 0
    for outcomes in maker.outcomes(tasks):
        for outcome in outcomes:
            if outcome.demo is None:
                notes["dropped"][outcome.dropped] += 1
                continue
            notes["kinds"].update(outcome.kinds)
            yield to_line(outcome.demo).encode("ascii")
        done += len(outcomes)
        progress(done)


def _hash(tasks: Sequence[Task]) -> str:
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(json.dumps(dataclasses.astuple(task)).encode() + b"\n")
    return digest.hexdigest()

"""Demonstrations: broken programs and the exact edits that mend them.

A demonstration is replayed through the real environment until the tests pass, and
only then kept (paper, SFT data). Two departures from the paper, both for what a
model can predict: it EXITs as soon as the tests pass, so no edit to a passing
program is ever shown, and `order="top_down"` derives the edits from an alignment of
the faulty with the correct program, which makes each command a function of the
two; "reversed" replays the recorded inverses backwards as the paper does.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from repair.demos.edit_script import top_down
from repair.demos.records import Demo, read_demos, write_demos
from repair.demos.replay import Candidate, Outcome, replay
from repair.demos.statistics import DemoReport, Tally
from repair.env import editor
from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Bug, Task
from repair.tasks.bugs import Breaker, split_runnable
from repair.tasks.corrupt import KINDS, Corruption, apply_corruption, drawn_kinds

__all__ = ["Demo", "DemoReport", "make_demos", "read_demos", "write_demos"]

ORDERS = ("reversed", "top_down")
_CHUNK = 512  # episodes that go through the sandbox together


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """How programs are broken and demonstrated.

    Attributes:
      per_task: Candidates of a task; equal faulty programs count once.
      corruptions: Lowest and highest number of corruptions, drawn uniformly.
      order: "reversed" or "top_down".
      kinds: Kinds of corruption, drawn uniformly.
      seed: A candidate depends on the seed, its task, its number and the set of
        tasks, not on the order of tasks nor on `per_task`.
      max_turns: Longest episode, EXIT included.

    Raises:
      UserError: The order is unknown.
    """

    per_task: int
    corruptions: tuple[int, int] = (1, 5)
    order: str = "reversed"
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    max_turns: int = 10

    def __post_init__(self):
        if self.order not in ORDERS:
            raise UserError(
                f"demos order is {self.order!r}; use one of {', '.join(ORDERS)}"
            )


class DemoMaker:
    """Makes demonstrations of some tasks at a time, with all tasks as donors.

    Args:
      tasks: Tasks; those whose reference fails its own tests are left out. The
        others' programs are the donors of lines and words.
      sandbox: Runs the tests.
      settings: How to break and demonstrate.
      unrunnable: Ids of tasks to leave out, where they are known from before.

    Attributes:
      tasks: Those that are left, in the order given.
      unrunnable: Ids of the others.
      candidates: How many candidates there are.

    Raises:
      UserError: An argument is out of range, or no task has a reference that passes
        its own tests.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        sandbox: Sandbox,
        settings: DemoSettings,
        unrunnable: Iterable[int | str] | None = None,
    ):
        if unrunnable is None:
            self.tasks, self.unrunnable = split_runnable(tasks, sandbox)
        else:
            self.unrunnable = tuple(unrunnable)
            self.tasks = self._runnable(tasks)
        self.candidates = len(self.tasks) * settings.per_task
        self._sandbox, self._settings = sandbox, settings
        self._breaker = Breaker(self.tasks, settings.corruptions, settings.kinds)

    def outcomes(self, tasks: Sequence[Task]) -> Iterator[list[Outcome]]:
        """What became of the candidates of some of the tasks, in lists of hundreds.

        Tasks that are unrunnable have none.
        """
        runnable = self._runnable(tasks)
        candidates = itertools.chain.from_iterable(map(self._candidates, runnable))
        while chunk := list(itertools.islice(candidates, _CHUNK)):
            yield replay(chunk, self._sandbox, self._settings.max_turns)

    def _runnable(self, tasks: Sequence[Task]) -> list[Task]:
        left_out = set(self.unrunnable)
        return [task for task in tasks if task.task_id not in left_out]

    def _candidates(self, task: Task) -> Iterator[Candidate | Outcome]:
        seen, settings = set(), self._settings
        for index in range(settings.per_task):
            broken = self._breaker(task, f"{settings.seed}/{task.task_id}/{index}")
            if broken is None:
                yield Outcome(None, "nothing to corrupt")
                continue
            faulty, made = broken
            if faulty in seen:
                yield Outcome(None, "same faulty program")
                continue
            seen.add(faulty)
            kinds = drawn_kinds(made)
            bug = Bug(f"{task.task_id}/{index}", task, faulty, len(kinds))
            edits = [edit.format() for edit in _edits(bug, made, settings.order)]
            yield Candidate(bug, edits, editor.Exit().format(), kinds)


def make_demos(
    tasks: Sequence[Task],
    sandbox: Sandbox,
    *,
    progress: Callable[[int, int], None] | None = None,
    **settings,
) -> tuple[list[Demo], DemoReport]:
    """Breaks each task `per_task` times and keeps what replays to a solution.

    Args:
      tasks: As for `DemoMaker`.
      sandbox: Runs the tests.
      progress: Called with (candidates done, candidates).
      **settings: As `DemoSettings` has them.

    Returns:
      The demonstrations, in the order of the tasks, and what became of the others.

    Raises:
      UserError: An argument is out of range, or no task has a reference that passes
        its own tests.
    """
    maker = DemoMaker(tasks, sandbox, DemoSettings(**settings))
    demos, tally, done = [], Tally(), 0
    dropped: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    for outcomes in maker.outcomes(maker.tasks):
        for outcome in outcomes:
            if outcome.demo is None:
                dropped[outcome.dropped] += 1
                continue
            demos.append(outcome.demo)
            tally.add(outcome.demo)
            kinds.update(outcome.kinds)
        done += len(outcomes)
        if progress:
            progress(done, maker.candidates)
    return demos, tally.report(dropped, kinds, maker.unrunnable)


def inverses(
    lines: list[str], corruptions: Sequence[Corruption]
) -> list[editor.Command]:
    """The recorded corruptions' exact inverses, last corruption first."""
    commands = []
    for corruption in corruptions:
        commands.append(editor.invert(lines, _as_command(corruption)))
        lines = apply_corruption(lines, corruption)
    return commands[::-1]


def _as_command(corruption: Corruption) -> editor.Command:
    n = corruption.line
    if corruption.kind == "delete":
        return editor.DeleteLine(n)
    if corruption.kind == "add":
        return editor.AddLine(n, corruption.text)
    if corruption.kind == "replace":
        return editor.ReplaceLine(n, corruption.text)
    return editor.ReplaceWord(n, corruption.old, corruption.new)


def _edits(bug: Bug, made: Sequence[Corruption], order: str) -> list[editor.Command]:
    correct = editor.split_program(bug.task.code)
    if order == "top_down":
        return top_down(editor.split_program(bug.faulty_code), correct)
    return inverses(correct, made)

"""Faulty programs: tasks broken at random, and shown to fail by the sandbox."""

import dataclasses
import itertools
import random
from collections.abc import Sequence

from repair.errors import MOST_SEED, UserError, expect, expect_between
from repair.sandbox import Result, Sandbox, trust_of
from repair.tasks.corrupt import ALL_KINDS, KINDS, Corruption, corrupt, drawn_kinds
from repair.tasks.task import Bug, Task

ORDERS = ("reversed", "top_down")
MOST_CORRUPTIONS = 100  # of a program
_MOST_PER_TASK = 100_000
_TRIES = 20  # draws for a bug that is new and fails


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
    """Random damage to programs, and the order of the edits that mend it.

    Attributes:
      per_task: Faulty programs of a task: candidates for demonstrations, or bugs.
      min_corruptions: Fewest corruptions of a program; numbers are drawn uniformly.
      max_corruptions: Most corruptions of a program (paper: 5).
      order: Order of a demonstration's edits: "reversed" (the recorded inverses, as in
        the paper) or "top_down" (an alignment of the two programs).
      kinds: Kinds of corruption, drawn uniformly; one named twice is twice as likely.
      seed: Seed of all draws; a run adds its own. A faulty program depends on the seed,
        its task, its number and the set of tasks, not on the order of tasks nor on
        `per_task`.

    Raises:
      FieldError: A value is out of range.
    """

    per_task: int = 100
    min_corruptions: int = 1
    max_corruptions: int = 5
    order: str = ORDERS[0]
    kinds: tuple[str, ...] = KINDS
    seed: int = 0

    def __post_init__(self):
        expect_between(self, 1, _MOST_PER_TASK, "per_task")
        expect_between(self, 1, MOST_CORRUPTIONS, "min_corruptions", "max_corruptions")
        expect_between(self, 0, 2 * MOST_SEED, "seed")  # a run adds its own
        low, high = self.min_corruptions, self.max_corruptions
        expect(high >= low, "max_corruptions", high, f"min_corruptions={low} or more")
        orders, kinds = ", ".join(ORDERS), ", ".join(ALL_KINDS)
        expect(self.order in ORDERS, "order", self.order, f"one of {orders}")
        known = bool(self.kinds) and set(self.kinds) <= set(ALL_KINDS)
        expect(known, "kinds", self.kinds, f"some of {kinds}")


def check_bugs(path: str, per_task: int) -> None:
    """Refuse a number of corruptions that is out of range, or beside a file."""
    expect(1 <= per_task <= 10_000, "bugs_per_task", per_task, "1 to 10,000")
    alone = per_task == 1 or not path
    expect(alone, "bugs_per_task", per_task, "1 with bugs of a file")


class Breaker:
    """Breaks tasks by random corruptions, with one another's lines and words.

    Args:
      tasks: Tasks with different ids; their programs are the donors.
      config: Number and kinds of corruptions.
    """

    def __init__(self, tasks: Sequence[Task], config: CorruptionConfig):
        # Sorted, so that what a name draws does not hang on the order of tasks.
        tasks = sorted(tasks, key=lambda task: str(task.task_id))
        self._codes = [task.code for task in tasks]
        self._places = {task.task_id: place for place, task in enumerate(tasks)}
        self._config = config

    def __call__(
        self, task: Task, name: str
    ) -> tuple[str, tuple[Corruption, ...]] | None:
        """Return a faulty program and its corruptions; equal names draw alike.

        None where the kinds leave nothing to corrupt.
        """
        rng, c = random.Random(name), self._config
        count = rng.randint(c.min_corruptions, c.max_corruptions)
        donors, own = [*self._codes], self._places[task.task_id]
        donors[own] = donors[own - 1]  # a task alone has to donate to itself
        try:
            return corrupt(task.code, donors, rng, count, c.kinds)
        except ValueError:
            return None


def make_bugs(
    tasks: Sequence[Task], sandbox: Sandbox, config: CorruptionConfig
) -> list[Bug]:
    """Make different faulty programs that fail their shown tests.

    A task with a `faulty_code` of its own gives that one bug; any other gives
    `config.per_task`, or fewer where a bounded number of draws finds no more. Tasks
    whose reference fails its own tests give none.

    Args:
      tasks: Tasks; their programs are the donors of lines and words.
      sandbox: Runs the tests.
      config: Number and kinds of corruptions; the order of edits plays no part.

    Returns:
      Bugs in the order of the tasks, with ids "{task_id}/{k}".

    Raises:
      UserError: No task has a reference that passes its own tests, or no faulty program
        fails.
    """
    runnable, _ = split_runnable(tasks, sandbox)
    breaker = Breaker(runnable, config)
    wanted = [
        (task, k)
        for task in runnable
        for k in range(config.per_task if task.faulty_code is None else 1)
    ]
    found: dict[int, Bug] = {}
    tried: set[tuple[int | str, str]] = set()
    for attempt in range(_TRIES):
        proposed: dict[int, Bug] = {}
        for place, (task, k) in enumerate(wanted):
            if place in found:
                continue
            name = f"bug/{config.seed}/{task.task_id}/{k}/{attempt}"
            bug = _propose(breaker, task, k, name)
            if bug and (task.task_id, bug.faulty_code) not in tried:
                tried.add((task.task_id, bug.faulty_code))
                proposed[place] = bug
        results = judge_bugs(list(proposed.values()), sandbox)
        for place, result in zip(proposed, results, strict=True):
            if result and not result.passed:
                found[place] = proposed[place]
        if len(found) == len(wanted):
            break
    if wanted and not found:
        raise UserError(
            f"none of {len(runnable)} tasks has a faulty program that fails its shown"
            " tests; check faulty_code and test_list"
        )
    return [found[place] for place in sorted(found)]


def distinct_programs(tasks: Sequence[Task]) -> list[Task]:
    """Return the first task of each reference program, in order."""
    first: dict[str, Task] = {}
    for task in tasks:
        first.setdefault(task.code, task)
    return list(first.values())


def judge_bugs(bugs: Sequence[Bug], sandbox: Sandbox) -> list[Result | None]:
    """Return the results of the first states, with None for those near a limit.

    Each may take as long as an attempt at its task may.
    """
    allowed = sandbox.allowances(
        [(bug.task.code, bug.task.test_list, bug.task.test_setup_code) for bug in bugs]
    )
    return sandbox.steady(
        [
            (bug.faulty_code, bug.task.test_list, bug.task.test_setup_code, seconds)
            for bug, seconds in zip(bugs, allowed, strict=True)
        ]
    )


def in_child(task: Task) -> bool:
    """Return True if a test, shown or hidden, is judged in the program's process."""
    tests = *task.test_list, *task.hidden_test_list
    return trust_of(tests, task.test_setup_code) != "value"


def unrewarded(bugs: Sequence[Bug]) -> list[str]:
    """Return the ids of tasks with a test that the sandbox judges in the child.

    A program could forge such a verdict, so it earns no reward.
    """
    tasks = {str(bug.task.task_id): bug.task for bug in bugs}
    return [
        name
        for name, task in tasks.items()
        if trust_of(task.test_list, task.test_setup_code) != "value"
    ]


def _propose(breaker: Breaker, task: Task, k: int, name: str) -> Bug | None:
    if task.faulty_code is not None:
        return Bug(f"{task.task_id}/{k}", task, task.faulty_code)
    broken = breaker(task, name)
    if broken is None:
        return None
    return Bug(f"{task.task_id}/{k}", task, broken[0], len(drawn_kinds(broken[1])))


def split_runnable(
    tasks: Sequence[Task], sandbox: Sandbox
) -> tuple[list[Task], tuple[int | str, ...]]:
    """Return the tasks whose reference passes its own tests, and ids of the others.

    A reference that sits near a limit of the sandbox counts as one that fails.

    Raises:
      UserError: No reference passes.
    """
    results = sandbox.references.steady(
        [
            (task.code, (*task.test_list, *task.hidden_test_list), task.test_setup_code)
            for task in tasks
        ]
    )
    sound = [bool(result and result.passed) for result in results]
    runnable = list(itertools.compress(tasks, sound))
    if not runnable:
        near = "it needs more than half of its time"
        reasons = "; ".join(x.feedback if x else near for x in results[:3])
        raise UserError(
            f"none of {len(tasks)} tasks has a reference that passes its own tests"
            f" ({reasons}); check code, test_list and test_setup_code"
        )
    others = (task.task_id for task, held in zip(tasks, sound, strict=True) if not held)
    return runnable, tuple(others)

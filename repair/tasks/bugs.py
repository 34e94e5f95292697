"""Faulty programs: tasks broken at random, and shown to fail by the sandbox."""

import random
from collections.abc import Sequence

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Bug, Task
from repair.tasks.corrupt import ALL_KINDS, KINDS, Corruption, corrupt, drawn_kinds

_TRIES = 20  # draws for a bug that is new and fails


class _Donors:
    """The programs of all tasks but one, without a copy of the list for each."""

    def __init__(self, tasks: Sequence[Task], excepted: Task):
        self._tasks, self._excepted = tasks, excepted

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: int) -> str:
        donor = self._tasks[index]
        # A task alone in its list has to donate to itself.
        if donor is self._excepted:
            donor = self._tasks[index - 1]
        return donor.code


class Breaker:
    """Breaks tasks by random corruptions, with one another's lines and words.

    Args:
      tasks: The tasks whose programs are the donors.
      corruptions: Lowest and highest number of corruptions, drawn uniformly.
      kinds: Kinds of corruption, drawn uniformly.

    Raises:
      UserError: An argument is out of range.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        corruptions: tuple[int, int],
        kinds: Sequence[str],
    ):
        low, high = corruptions
        if not 1 <= low <= high:
            raise UserError(f"corruptions are {low} to {high}; give 1 <= low <= high")
        if not kinds or set(kinds) - set(ALL_KINDS):
            raise UserError(
                f"corruption kinds are {kinds}; choose from {', '.join(ALL_KINDS)}"
            )
        # Sorted, so that what a name draws does not hang on the order of tasks.
        self._tasks = sorted(tasks, key=lambda task: str(task.task_id))
        self._corruptions, self._kinds = corruptions, kinds

    def __call__(
        self, task: Task, name: str
    ) -> tuple[str, tuple[Corruption, ...]] | None:
        """A faulty program and its corruptions; equal names draw alike.

        None where the kinds leave nothing to corrupt.
        """
        rng = random.Random(name)
        count = rng.randint(*self._corruptions)
        donors = _Donors(self._tasks, task)
        try:
            return corrupt(task.code, donors, rng, count, self._kinds)
        except ValueError:
            return None


def make_bugs(
    tasks: Sequence[Task],
    sandbox: Sandbox,
    *,
    per_task: int,
    corruptions: tuple[int, int] = (1, 5),
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> list[Bug]:
    """Different faulty programs that fail their shown tests, for RLVR and evaluation.

    A task with a `faulty_code` of its own gives that one bug; any other gives
    `per_task`, or fewer where a bounded number of draws finds no more. Tasks whose
    reference fails its own tests give none.

    Args:
      tasks: Tasks; their programs are the donors of lines and words.
      sandbox: Runs the tests.
      per_task: Bugs of a task.
      corruptions: Lowest and highest number of corruptions, drawn uniformly.
      kinds: Kinds of corruption, drawn uniformly.
      seed: A bug depends on the seed, its task, its number and the set of tasks.

    Returns:
      Bugs in the order of the tasks, with ids "{task_id}/{k}".

    Raises:
      UserError: An argument is out of range, no task has a reference that passes its
        own tests, or no faulty program fails.
    """
    runnable, _ = split_runnable(tasks, sandbox)
    breaker = Breaker(runnable, corruptions, kinds)
    wanted = [
        (task, k)
        for task in runnable
        for k in range(per_task if task.faulty_code is None else 1)
    ]
    found: dict[int, Bug] = {}
    tried: set[tuple[int | str, str]] = set()
    for attempt in range(_TRIES):
        proposed: dict[int, Bug] = {}
        for place, (task, k) in enumerate(wanted):
            if place in found:
                continue
            bug = _propose(breaker, task, k, f"bug/{seed}/{task.task_id}/{k}/{attempt}")
            if bug and (task.task_id, bug.faulty_code) not in tried:
                tried.add((task.task_id, bug.faulty_code))
                proposed[place] = bug
        results = sandbox.map(
            [
                (bug.faulty_code, bug.task.test_list, bug.task.test_setup_code)
                for bug in proposed.values()
            ]
        )
        for (place, bug), result in zip(proposed.items(), results, strict=True):
            if not result.passed:
                found[place] = bug
        if len(found) == len(wanted):
            break
    if wanted and not found:
        raise UserError(
            f"none of {len(runnable)} tasks has a faulty program that fails its shown"
            " tests; check faulty_code and test_list"
        )
    return [found[place] for place in sorted(found)]


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
    """Tasks whose reference passes its own tests, and the ids of the others.

    Raises:
      UserError: There is none of the first sort.
    """
    results = sandbox.map(
        [
            (task.code, (*task.test_list, *task.hidden_test_list), task.test_setup_code)
            for task in tasks
        ]
    )
    judged = list(zip(tasks, results, strict=True))
    runnable = [task for task, result in judged if result.passed]
    if not runnable:
        reasons = "; ".join(result.feedback for result in results[:3])
        raise UserError(
            f"none of {len(tasks)} tasks has a reference that passes its own tests"
            f" ({reasons}); check code, test_list and test_setup_code"
        )
    return runnable, tuple(task.task_id for task, result in judged if not result.passed)

"""Sources of bugs: corruptions, fresh ones in each epoch of RLVR, or a file of them."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from repair.env import Verifier
from repair.errors import UserError
from repair.model import multihost
from repair.tasks import Bug, Task, load_faulty
from repair.training.task_set import TaskSet

# Between the seeds of two epochs, so that no epoch draws what another run's first does.
_EPOCH = 1_000_003


def draw_bugs(
    task_set: TaskSet, tasks: list[Task], verifier: Verifier, seed: int, per_task: int
) -> list[Bug]:
    """Return bugs of tasks; only the package's own task set has several of a task."""
    several = {"per_task": per_task} if per_task > 1 else {}
    return task_set.bugs(tasks, verifier, seed, **several)


def rlvr_bugs(
    task_set: TaskSet, tasks: tuple[list[Task], list[Task]], verifier: Verifier
) -> Callable[[int], Sequence[Bug]]:
    """Return RLVR's bugs of each epoch, equally many in each: a function of (seed, it).

    A file's are the same in all epochs. Corruptions are fresh in each, but for tasks
    that have a faulty program of their own, and where no new one is found.

    Args:
      task_set: Draws them.
      tasks: Those to train on, and those held out.
      verifier: Runs the tests; open for as long as epochs are asked for.

    Raises:
      UserError: The file is wrong, or has a program that is held out.
    """
    config, (train, held_out) = task_set.config, tasks
    if path := config.rlvr.bugs:
        train = load_faulty(path)
        check_held_out("row", train, held_out, path)

    def draw(epoch: int) -> list[Bug]:
        # Other faulty programs than the demonstrations of the same tasks.
        seed = config.seed + 1 + epoch * _EPOCH
        per_task = config.rlvr.bugs_per_task
        return multihost.once(
            lambda: draw_bugs(task_set, train, verifier, seed, per_task)
        )

    first = draw(0)
    if all(task.faulty_code is not None for task in train):
        return lambda epoch: first
    drawn = {0: first}

    def of_epoch(epoch: int) -> list[Bug]:
        if epoch not in drawn:
            fresh = {bug.bug_id: bug for bug in draw(epoch)}
            bugs = [
                # A name of its own: groups are samples of one faulty program.
                dataclasses.replace(fresh[bug.bug_id], bug_id=f"{bug.bug_id}@{epoch}")
                if bug.bug_id in fresh
                else bug
                for bug in first
            ]
            drawn.clear()  # one epoch follows the other
            drawn.update({0: first, epoch: bugs})
        return drawn[epoch]

    return of_epoch


def check_held_out(
    what: str, tasks: Iterable[Task], held_out: Sequence[Task], path: str
) -> None:
    """Refuse a file to train on that has programs of the evaluation.

    Args:
      what: Name of one of its rows, for the message.
      tasks: The task of each row.
      held_out: Tasks that are not trained on.
      path: The file.

    Raises:
      UserError: With the first such row.
    """
    codes = {task.code for task in held_out}
    for number, task in enumerate(tasks, 1):
        if task.code in codes:
            raise UserError(
                f"{what} {number} of {path} is of the program of task"
                f" {task.task_id!r}, which is held out; make the file of the training"
                " tasks alone, or choose others to hold out (tasks.eval, eval.bugs)"
            )

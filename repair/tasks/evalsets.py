"""Published evaluation sets, made ready in the sandbox: tests hold, known bugs show.

Some of their tests take references minutes, and some of their bugs show in none of the
tests that come first. A task could not be posed so, and would silently be missing from
a result; here the tests are mended as far as need be, and what is done is told.
"""

import dataclasses

from repair.sandbox import Sandbox
from repair.sandbox.values import evaluate
from repair.tasks import Task
from repair.tasks.load import is_evaluation_set, load
from repair.tasks.task import Loaded

_TRIMMED = "without tests that its reference does not pass here in time"
_MOVED = "a hidden test shown, since its bug fails no shown one"


def load_checked(
    spec: str, sandbox: Sandbox, *, path: str | None = None, count: int | None = None
) -> Loaded:
    """Tasks by name, as `repair.tasks.load.load` has them; published sets are checked.

    Args:
      spec: What to load.
      sandbox: Runs the references and the faulty programs.
      path: File or folder that a published set is read from.
      count: At most so many tasks.

    Raises:
      UserError: The spec, the file or a row in it is wrong.
    """
    loaded = load(spec, path=path, count=count, evaluate=evaluate)
    return check(loaded, sandbox) if is_evaluation_set(spec) else loaded


def check(loaded: Loaded, sandbox: Sandbox) -> Loaded:
    """The tasks whose references pass their tests and whose known bugs fail some.

    Tests that a reference does not pass within the sandbox's limits go, hidden ones
    first where only all together take too long. Where a known bug fails no shown test,
    the first hidden one that it fails is shown.
    """
    left_out, changed = list(loaded.left_out), list(loaded.changed)
    tasks = []
    results = sandbox.map([_job(task) for task in loaded.tasks])
    for task, result in zip(loaded.tasks, results, strict=True):
        name = str(task.task_id)
        if not result.passed:
            task = _trimmed(task, sandbox)
            if task is None:
                reason = f"its reference passes none of its tests: {result.feedback}"
                left_out.append((name, reason))
                continue
            changed.append((name, _TRIMMED))
        if task.faulty_code is not None:
            shown = _showing(task, sandbox)
            if shown is None:
                left_out.append((name, "its faulty program passes every test"))
                continue
            if shown is not task:
                changed.append((name, _MOVED))
            task = shown
        tasks.append(task)
    return dataclasses.replace(
        loaded, tasks=tuple(tasks), left_out=tuple(left_out), changed=tuple(changed)
    )


def _job(task: Task) -> tuple:
    tests = (*task.test_list, *task.hidden_test_list)
    return task.code, tests, task.test_setup_code


def _trimmed(task: Task, sandbox: Sandbox) -> Task | None:
    """The task with tests that its reference passes; None if it passes none."""
    code, tests, setup = _job(task)
    alone = sandbox.map([(code, (test,), setup) for test in tests])
    sound = [test for test, one in zip(tests, alone, strict=True) if one.passed]
    count = len(task.test_list)
    while sound:
        task = dataclasses.replace(
            task, test_list=tuple(sound[:count]), hidden_test_list=tuple(sound[count:])
        )
        if sandbox.run(*_job(task)).passed:
            return task
        sound = sound[: len(sound) // 2]
    return None


def _showing(task: Task, sandbox: Sandbox) -> Task | None:
    """The task with a shown test that its bug fails; None if it fails none at all."""
    code, setup = task.faulty_code, task.test_setup_code
    if not sandbox.run(code, task.test_list, setup).passed:
        return task
    hidden = task.hidden_test_list
    alone = sandbox.map([(code, (test,), setup) for test in hidden])
    for test, result in zip(hidden, alone, strict=True):
        if not result.passed:
            return dataclasses.replace(
                task,
                test_list=(*task.test_list, test),
                hidden_test_list=tuple(each for each in hidden if each != test),
            )
    return None

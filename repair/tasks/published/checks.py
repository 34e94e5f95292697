"""Checks of a published set in the sandbox: references pass, known bugs fail.

Some of the published tests take a reference minutes, and some of the published bugs
fail none of the tests that come first. Rather than drop these tasks in silence, their
tests are changed as little as possible, and the list of tasks records each change.
"""

import dataclasses

from repair.sandbox import Sandbox
from repair.tasks.task import Task, TaskList


def check(tasks: TaskList, sandbox: Sandbox) -> TaskList:
    """Keep the tasks whose references pass their tests and whose known bugs fail some.

    Tests that a reference does not pass within the sandbox's limits go; if the rest
    takes too long together, the last ones go too. Where a known bug fails no shown
    test, the first hidden one that it fails is shown.
    """
    left_out, changed, kept = list(tasks.left_out), list(tasks.changed), []
    results = sandbox.references.map([_job(task) for task in tasks])
    for task, result in zip(tasks, results, strict=True):
        name = str(task.task_id)
        if not result.passed:
            sound = _without_unsound_tests(task, sandbox)
            if sound is None:
                reason = f"its reference passes none of its tests: {result.feedback}"
                left_out.append((name, reason))
                continue
            reason = "without tests that its reference does not pass here in time"
            changed.append((name, reason))
            task = sound
        if task.faulty_code is not None:
            shown = _with_failing_test(task, task.faulty_code, sandbox)
            if shown is None:
                left_out.append((name, "its faulty program passes every test"))
                continue
            if shown is not task:
                reason = "a hidden test shown, since its bug fails no shown one"
                changed.append((name, reason))
            task = shown
        kept.append(task)
    return TaskList(kept, tasks.found, left_out, changed)


def _job(task: Task) -> tuple:
    tests = (*task.test_list, *task.hidden_test_list)
    return task.code, tests, task.test_setup_code


def _without_unsound_tests(task: Task, sandbox: Sandbox) -> Task | None:
    """Return the task with tests that its reference passes; None if it passes none."""
    code, tests, setup = _job(task)
    alone = sandbox.references.map([(code, (test,), setup) for test in tests])
    sound = [test for test, result in zip(tests, alone, strict=True) if result.passed]
    count = len(task.test_list)
    while sound:
        task = dataclasses.replace(
            task, test_list=tuple(sound[:count]), hidden_test_list=tuple(sound[count:])
        )
        if sandbox.references.run(*_job(task)).passed:
            return task
        sound = sound[: len(sound) // 2]
    return None


def _with_failing_test(task: Task, code: str, sandbox: Sandbox) -> Task | None:
    """Return the task with a shown test that its bug fails; None if it fails none."""
    setup = task.test_setup_code
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

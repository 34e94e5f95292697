"""Tests that hold are kept, known bugs are made to show, and what is done is told."""

import pytest

from repair.sandbox import Limits, Sandbox
from repair.tasks import Task, TaskList
from repair.tasks.published.checks import check

# Works as many steps as it is told to.
CODE = "def f(n):\n    for i in range(n):\n        pass\n    return n"
LONG = "assert f(10**12) == 10**12"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, limits=Limits(cpu_seconds=0.4)) as sandbox:
        yield sandbox


def _task(name, shown, hidden=(), faulty=None, code=CODE):
    return Task(name, "Count.", code, tuple(shown), "", tuple(hidden), faulty)


def _check(sandbox, *tasks):
    return check(TaskList(tasks, left_out=(("gone", "before"),)), sandbox)


def test_tests_that_take_the_reference_too_long_go(sandbox):
    good = _task("good", ["assert f(1) == 1"])
    slow = _task("slow", [LONG, "assert f(2) == 2"], ["assert f(3) == 3", LONG])
    wrong = _task("wrong", ["assert f(1) == 2"], ["assert f(2) == 3"])
    checked = _check(sandbox, good, slow, wrong)
    assert checked[0] is good
    # What is lost among the shown ones is made up for from the hidden ones.
    assert checked[1] == _task("slow", ["assert f(2) == 2", "assert f(3) == 3"])
    assert len(checked) == 2 and checked.found == 3
    reason = "its reference passes none of its tests: test 1: got 1"
    assert checked.left_out == (("gone", "before"), ("wrong", reason))
    assert [name for name, _ in checked.changed] == ["slow"]


def test_hidden_tests_go_until_all_together_take_a_bearable_time(sandbox):
    # The least of three: a busy machine only makes it longer.
    each = min(
        sandbox.run(CODE, [f"assert f({n}) == {n}"]).seconds
        for n in range(10**6, 10**6 + 3)
    )
    steps = int(10**6 * 0.1 / each)  # about 0.1 s of 0.4 s
    tests = [f"assert f({steps + i}) == {steps + i}" for i in range(8)]
    (task,) = _check(sandbox, _task("long", tests[:1], tests[1:]))
    assert task.test_list == tuple(tests[:1])
    left = len(task.hidden_test_list)
    assert left <= 3 and task.hidden_test_list == tuple(tests[1 : 1 + left])


def test_a_bug_that_shows_in_hidden_tests_only_is_made_to_show(sandbox):
    faulty = "def f(n):\n    return min(n, 3)"
    shown, hidden = ["assert f(1) == 1"], [f"assert f({n}) == {n}" for n in (2, 5, 6)]
    late = _task("late", shown, hidden, faulty)
    plain = _task("plain", hidden[1:2], shown, faulty)
    never = _task("never", shown, hidden[:1], faulty)
    checked = _check(sandbox, late, plain, never)
    assert checked == [
        _task("late", [*shown, hidden[1]], [hidden[0], hidden[2]], faulty),
        plain,
    ]
    assert checked.left_out[1:] == (("never", "its faulty program passes every test"),)
    reason = "a hidden test shown, since its bug fails no shown one"
    assert checked.changed == (("late", reason),)

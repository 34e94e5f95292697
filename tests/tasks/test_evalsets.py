"""Tests that hold are kept, known bugs are made to show, and what is done is told."""

import pytest

from repair.sandbox import Limits, Sandbox
from repair.sandbox.values import evaluate
from repair.tasks import Task
from repair.tasks.evalsets import check
from repair.tasks.task import Loaded

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
    return check(Loaded(tasks, len(tasks), (("gone", "before"),)), sandbox)


def test_tests_that_take_the_reference_too_long_go(sandbox):
    good = _task("good", ["assert f(1) == 1"])
    slow = _task("slow", [LONG, "assert f(2) == 2"], ["assert f(3) == 3", LONG])
    wrong = _task("wrong", ["assert f(1) == 2"], ["assert f(2) == 3"])
    checked = _check(sandbox, good, slow, wrong)
    assert checked.tasks[0] is good
    # What is lost among the shown ones is made up for from the hidden ones.
    assert checked.tasks[1] == _task("slow", ["assert f(2) == 2", "assert f(3) == 3"])
    assert len(checked.tasks) == 2 and checked.found == 3
    reason = "its reference passes none of its tests: test 1: got 1"
    assert checked.left_out == (("gone", "before"), ("wrong", reason))
    assert [name for name, _ in checked.changed] == ["slow"]


def test_hidden_tests_go_until_all_together_take_a_bearable_time(sandbox):
    each = sandbox.run(CODE, ["assert f(10**6) == 10**6"]).seconds
    steps = int(10**6 * 0.1 / each)  # about 0.1 s of 0.4 s
    tests = [f"assert f({steps + i}) == {steps + i}" for i in range(8)]
    (task,) = _check(sandbox, _task("long", tests[:1], tests[1:])).tasks
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
    assert checked.tasks == (
        _task("late", [*shown, hidden[1]], [hidden[0], hidden[2]], faulty),
        plain,
    )
    assert checked.left_out[1:] == (("never", "its faulty program passes every test"),)
    reason = "a hidden test shown, since its bug fails no shown one"
    assert checked.changed == (("late", reason),)


def test_many_names_are_cut():
    left_out = tuple((str(n), "no tests") for n in range(12))
    loaded = Loaded((), 12, left_out, (("a", "so"), ("b", "so"), ("c", "or so")))
    assert loaded.line() == (
        "0 of 12 programs; left out: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more (no tests)"
        "; changed: a, b (so); changed: c (or so)"
    )


def test_values_are_those_of_the_program():
    code = "def f(x):\n    while x == 'hang': pass\n    return [x, {x: (1.5, None)}]"
    sources = ["f(1)", "f([])", "f", "g(1)", "{f(2)[0], 'a'}"]
    values = [([1, {1: (1.5, None)}],), None, None, None, ({2, "a"},)]
    jobs = [(code, sources), ("def f(:", ["1", "2"]), ("", [])]
    assert evaluate(jobs) == [values, [None, None], []]
    # One that hangs, or takes the memory of all, costs itself only.
    limits = Limits(cpu_seconds=0.2, memory_mb=128)
    job = (code, ["f(1)[0]", "f('hang')", "[0] * 10**9", "f(2)[0]"])
    assert evaluate([job], limits) == [[(1,), None, None, (2,)]]


def test_values_may_be_large():
    (((value,),),) = evaluate([("", ["list(range(50_000))"])])
    assert value == list(range(50_000))
    assert evaluate([("", ["list(range(50_000))"])], Limits()) == [[None]]

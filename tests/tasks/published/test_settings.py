"""A published set has settings of its own, and every task is accounted for."""

import pytest

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Task, TaskList
from repair.tasks.published.settings import SetSettings, make_set_bugs, settings_of


def test_settings_are_the_sets_own_and_flags_change_them():
    own = settings_of("mbppplus/test")
    assert own.limits.cpu_seconds == 60 and own.corruptions.per_task == 1
    assert settings_of("quixbugs").limits.cpu_seconds == 10
    assert own.changed() == own
    changed = own.changed(cpu_seconds=0.3, corruptions="2,3", kinds=["delete"])
    assert changed.limits.cpu_seconds == 0.3
    assert changed.limits.memory_mb == own.limits.memory_mb
    made = changed.corruptions
    assert (made.min_corruptions, made.max_corruptions) == (2, 3)
    assert made.kinds == ("delete",) and made.seed == own.corruptions.seed


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("corruptions", "5", "--corruptions is '5'; give LOW,HIGH"),
        ("corruptions", "3,1", "max_corruptions"),
        ("kinds", ["x"], "kinds"),
        ("cpu_seconds", 0.0, "cpu_seconds is 0.0"),
    ],
)
def test_flags_out_of_range_are_refused(flag, value, message):
    with pytest.raises(UserError, match=message):
        SetSettings().changed(**{flag: value})


def test_tasks_without_a_bug_are_left_out_by_name():
    code = "def f(x):\n    y = x + 1\n    return y"
    fine = Task("fine", "Add.", code, ("assert f(1) == 2",))
    empty = Task("empty", "Nothing.", "pass", ("assert f(1)",))
    read = TaskList([fine, empty], 3, [("gone", "before")])
    with Sandbox(workers=1) as sandbox:
        one, bugs = make_set_bugs(read, sandbox, SetSettings())
        again = make_set_bugs(read, sandbox, SetSettings())[1]
    assert [task.task_id for task in one] == ["fine"] and one.found == 3
    assert [bug.task.task_id for bug in bugs] == ["fine"] and bugs == again
    (first, (name, reason)) = one.left_out
    assert first == ("gone", "before") and name == "empty"
    assert reason.startswith("no faulty program that fails")
    assert one.record() == {
        "read": 1,
        "found": 3,
        "left_out": [["gone", "before"], ["empty", reason]],
        "changed": [],
    }

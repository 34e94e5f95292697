"""Settings of corruption, refused by field. The bugs themselves: demos/test_make.py."""

import pytest

from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.tasks.bugs import CorruptionConfig, unrewarded


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"per_task": 0}, "per_task is 0, expected 1 or more"),
        ({"min_corruptions": 0}, "min_corruptions is 0, expected 1 or more"),
        (
            {"min_corruptions": 6},
            "max_corruptions is 5, expected min_corruptions=6 or more",
        ),
        ({"order": "up"}, "order is 'up', expected one of reversed, top_down"),
        ({"kinds": ("swap",)}, "kinds is ('swap',), expected some of delete, add, rep"),
        ({"kinds": ()}, "kinds is (), expected some of delete"),
    ],
)
def test_a_value_out_of_range_is_refused_by_field(fields, says):
    with pytest.raises(UserError) as caught:
        CorruptionConfig(**fields)
    assert str(caught.value).startswith(says)


def test_tasks_that_can_earn_no_reward_are_named():
    tests = [("assert f(1) == 2",), ("assert f(1) == f(1)",), ("assert f(2)", "f(3)")]
    tasks = [
        Task(i, "text", "def f(x): return 2", each) for i, each in enumerate(tests)
    ]
    found = [Bug(f"{task.task_id}/{k}", task, "x") for task in tasks for k in (0, 1)]
    assert unrewarded(found) == ["1", "2"]

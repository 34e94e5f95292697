"""Bugs and environments for other trainers; bad input is refused in one sentence."""

import pytest

from repair.errors import UserError
from repair.integrations.problems import Problems
from repair.tasks import Bug, Task
from repair.text.prompts import render_prompt

TASK = Task(1, "Add one.", "def f(x):\n    return x + 1", ("assert f(1) == 2",))
BUG = Bug("1/0", TASK, "def f(x):\n    return x")


def test_prompts_are_those_of_training():
    for style in ("full", "short"):
        assert Problems([BUG], None, style).prompt(BUG) == render_prompt(TASK, style)


@pytest.mark.parametrize(
    ("bugs", "prompt", "message"),
    [
        ([], "full", "no bugs to repair"),
        ([BUG, BUG], "full", "two bugs have one id"),
        ([BUG], "long", "prompt is 'long'; use one of full, chat, short"),
    ],
)
def test_what_cannot_serve_is_refused(bugs, prompt, message):
    with pytest.raises(UserError, match=message):
        Problems(bugs, None, prompt)


def test_bugs_are_found_by_their_ids():
    problems = Problems([BUG], None)
    assert problems["1/0"] is BUG
    with pytest.raises(UserError, match="no bug '1/1' among 1; ids are like '1/0'"):
        problems["1/1"]

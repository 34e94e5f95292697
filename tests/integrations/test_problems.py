"""Bugs and environments for other trainers; bad input is refused in one sentence."""

import pytest

from repair.env import Rewards
from repair.errors import UserError
from repair.integrations.problems import Problems, open_problems
from repair.sandbox import SandboxError
from repair.tasks import Bug, Task
from repair.tasks.bugs import CorruptionConfig
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


def test_problems_open_by_settings_and_close(bugs):
    """With the bugs that the same settings give elsewhere, and the rules given here."""
    two = CorruptionConfig(per_task=2, max_corruptions=1)
    settings = {"count": 4, "bugs": two, "prompt": "short", "workers": 1}
    with open_problems(
        rewards=Rewards(turn_cost=0.25), max_turns=2, **settings
    ) as problems:
        assert problems.bugs == tuple(bugs)
        assert problems.prompt(bugs[0]) == render_prompt(bugs[0].task, "short")
        environment = problems.make_environment()
        environment.reset(bugs[0])
        turns = [environment.step("### DELL 999") for _ in range(2)]
        assert [turn.reward for turn in turns] == [-0.75, -1.25]
        assert turns[-1].status == "max_turns"
    with pytest.raises(SandboxError, match="closed"):
        environment.reset(bugs[1])
        environment.step("### ADDL 1 >>># not from the cache")


def test_problems_of_a_seed(bugs):
    """The seed draws other tasks."""
    with open_problems(count=4, bugs=CorruptionConfig(1, seed=1)) as problems:
        assert len(problems.bugs) == 4
        assert not {b.task.code for b in problems.bugs} & {b.task.code for b in bugs}

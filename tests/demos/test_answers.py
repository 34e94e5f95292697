"""Answers in one piece: the program at once, or thought and then the program."""

import pytest

from repair.demos.answers import as_answers
from repair.demos.make import make_demos
from repair.env import Environment
from repair.env.tools import MODES, tool_of
from repair.sandbox import Sandbox
from repair.tasks import Bug, Task, load_tasks
from repair.tasks.bugs import CorruptionConfig

TASK = Task(1, "Add one.", "def f(x):\n    return x + 1", ("assert f(1) == 2",))
BUG = Bug("1/0", TASK, "def f(x):\n    return x - 1", 1)
FENCED = f"Line 2 should be different.\n```python\n{TASK.code}\n```"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as sandbox:
        yield sandbox


def play(sandbox, mode, answer):
    environment = Environment(sandbox, max_turns=1, make_tool=tool_of(mode))
    first = environment.reset(BUG)
    assert first.state_text == f"{BUG.faulty_code}\n***\ntest 1: got 0\n"
    return environment.step(answer), environment.code


@pytest.mark.parametrize(
    ("mode", "answer", "reward", "status"),
    [
        ("direct", TASK.code, 1.0, "solved"),
        ("direct", f"\n{TASK.code}\n\n", 1.0, "solved"),
        ("direct", BUG.faulty_code, 0.0, "exited_unsolved"),
        ("direct", FENCED, 1.0, "solved"),
        ("direct", "", 0.0, "exited_unsolved"),
        ("cot", FENCED, 1.0, "solved"),
        ("cot", f"```\nx = 1\n```\nNo.\n{FENCED}", 1.0, "solved"),
        ("cot", f"{FENCED}\n```\nx = 1\n```", 0.0, "exited_unsolved"),
        # No program, and the only turn is over: malformed, and cut.
        ("cot", TASK.code, -1.0, "max_turns"),
        ("cot", "```\n" + TASK.code, -1.0, "max_turns"),
    ],
)
def test_one_answer_is_an_episode(sandbox, mode, answer, reward, status):
    turn, _ = play(sandbox, mode, answer)
    assert (turn.reward, turn.status, turn.done) == (reward, status, True)


def test_what_is_no_program_leaves_the_program(sandbox):
    assert play(sandbox, "cot", "words")[1] == BUG.faulty_code
    assert play(sandbox, "direct", "words")[1] == "words"


@pytest.mark.parametrize("fenced", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_demonstrations_of_answers_solve_their_bugs(sandbox, mode, fenced):
    tasks = load_tasks("generated/train", count=20)
    demos, _ = make_demos(
        tasks, sandbox, CorruptionConfig(per_task=2, max_corruptions=3)
    )
    answers = as_answers(demos, mode, fenced=fenced)
    assert len(answers) == len(demos) > 20
    if mode == "coe":
        assert answers == demos
        return
    for before, demo in zip(demos, answers, strict=True):
        environment = Environment(sandbox, max_turns=1, make_tool=tool_of(mode))
        assert demo.states == (environment.reset(demo.bug).state_text,)
        (answer,) = demo.commands
        assert answer.endswith("\n```") == (fenced or mode == "cot")
        assert environment.step(answer).status == "solved"
        if mode == "cot":
            thoughts = answer.split("\n```\n")[0].split("\n")
            assert len(thoughts) == len(before.commands) - 1

"""The tools of one answer: a program alone, or in a fenced block."""

import pytest

from repair.env.editor import MalformedCommand
from repair.env.tools import MODES, tool_of

PROGRAM = "def f(x):\n    return x"
PROSE = f"The fault is in line 2:\n\n```python\n{PROGRAM}\n```\nIt returns x now."


@pytest.mark.parametrize(
    ("mode", "answer", "code"),
    [
        ("direct", PROGRAM, PROGRAM),
        ("direct", f"\n{PROGRAM}\n", PROGRAM),
        ("direct", PROSE, PROGRAM),
        ("direct", f"{PROSE}\n```\nx = 1\n```", PROGRAM),
        ("direct", f"```\n{PROGRAM}", f"```\n{PROGRAM}"),  # cut: no program
        ("cot", PROSE, PROGRAM),
        ("cot", f"{PROSE}\n```\nx = 1\n```", "x = 1"),
    ],
)
def test_the_program_of_an_answer(mode, answer, code):
    tool = tool_of(mode)("old = 1")
    assert tool.apply(answer)
    assert tool.code == code and tool.render() == f"{code}\n"


def test_a_thought_without_a_program_is_malformed():
    tool = tool_of("cot")("old = 1")
    with pytest.raises(MalformedCommand):
        tool.apply(PROGRAM)
    assert tool.code == "old = 1"


@pytest.mark.parametrize("mode", ["direct", "cot"])
def test_the_last_of_several_answers_ends_the_episode(mode):
    tool = tool_of(mode, answers=2)("old = 1")
    assert not tool.apply(PROSE)
    assert tool.apply("```\nx = 1\n```") and tool.code == "x = 1"


def test_a_malformed_answer_counts_as_one():
    tool = tool_of("cot", answers=2)("old = 1")
    with pytest.raises(MalformedCommand):
        tool.apply(PROGRAM)
    assert tool.apply(PROSE)


def test_each_mode_has_a_tool():
    assert [tool_of(mode)(PROGRAM).code for mode in MODES] == [PROGRAM] * 3

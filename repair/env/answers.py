"""Answers in one piece, for comparison with the editor: a program, or words first.

`mode="direct"` writes the whole repaired program at once, `mode="cot"` free thought and
then the program between two fences. Both are tools of one command, so that the same
environment, rewards and rollouts serve them.
"""

import re
from collections.abc import Sequence

from repair.env import editor
from repair.env.demos import Demo
from repair.env.environment import LineEditor

FENCE = "```"
_BLOCK = re.compile(rf"^{FENCE}[a-z]*\n(.*?)^{FENCE}", re.MULTILINE | re.DOTALL)


class WholeProgram:
    """The answer takes the place of the program and ends the episode."""

    def __init__(self, code: str):
        self._code = code

    @property
    def code(self) -> str:
        """The program as it stands."""
        return self._code

    def apply(self, command_text: str) -> bool:
        """Takes the answer as the program."""
        self._code = self._program(command_text)
        return True

    def render(self) -> str:
        """The program without line numbers."""
        return f"{self._code}\n"

    def _program(self, answer: str) -> str:
        return answer.strip("\n")


class ThoughtThenProgram(WholeProgram):
    """The last fenced block of the answer takes the place of the program."""

    def _program(self, answer: str) -> str:
        blocks = _BLOCK.findall(answer)
        if not blocks:
            raise editor.MalformedCommand(f"no program between two lines of {FENCE}")
        return blocks[-1].strip("\n")


_TOOLS = {"coe": LineEditor, "direct": WholeProgram, "cot": ThoughtThenProgram}
MODES = tuple(_TOOLS)


def tool_of(mode: str):
    """From a program to the tool of a mode."""
    return _TOOLS[mode]


def as_answers(demos: Sequence[Demo], mode: str) -> list[Demo]:
    """Demonstrations of the editor as demonstrations of one answer.

    The answer is the task's own program; the thought of "cot" words the edits.
    """
    if mode == "coe":
        return list(demos)
    tool = tool_of(mode)
    return [
        Demo(
            demo.bug,
            (_first_state(demo, tool),),
            (_answer(demo, words=mode == "cot"),),
        )
        for demo in demos
    ]


def _first_state(demo: Demo, tool) -> str:
    shown = LineEditor(demo.bug.faulty_code).render()
    return tool(demo.bug.faulty_code).render() + demo.states[0].removeprefix(shown)


def _answer(demo: Demo, words: bool) -> str:
    code = demo.bug.task.code
    if not words:
        return code
    thoughts = [_thought(editor.parse(command)) for command in demo.commands]
    return "\n".join([*filter(None, thoughts), FENCE, code, FENCE])


def _thought(command: editor.Command) -> str:
    match command:
        case editor.AddLine(line, text):
            return f"Before line {line} this is missing: {text}"
        case editor.ReplaceLine(line, text):
            return f"Line {line} should be: {text}"
        case editor.DeleteLine(line):
            return f"Line {line} should not be there."
        case editor.ReplaceWord(line, old, new):
            return f"On line {line} it should be {new} and not {old}"
    return ""

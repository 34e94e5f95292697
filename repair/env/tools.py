"""Tools that change a program: the line editor, and answers in one piece.

`mode="coe"` edits line by line. `mode="direct"` writes the whole repaired program at
once; `mode="cot"` thinks in words, then writes the program between two fences. The last
two are tools of one command, so the same environment, rewards and rollouts serve them.
"""

import re
from typing import Protocol

from repair.env import editor, state_text

FENCE = "```"
_BLOCK = re.compile(rf"^{FENCE}[a-z]*\n(.*?)^{FENCE}", re.MULTILINE | re.DOTALL)


class Tool(Protocol):
    """A stateful tool that changes a program by commands of one line."""

    @property
    def code(self) -> str:
        """The program as it stands."""

    def apply(self, command_text: str) -> bool:
        """Carries out a command; True if it ends the episode.

        Raises:
          MalformedCommand: It cannot be carried out; nothing has changed.
        """

    def render(self) -> str:
        """The program as the model sees it, each line ended by a newline."""


class LineEditor:
    """The paper's tool: the commands of `repair.env.editor`, lines as "L n text"."""

    def __init__(self, code: str):
        self._lines = editor.split_program(code)

    @property
    def code(self) -> str:
        """The program as it stands."""
        return "\n".join(self._lines)

    def apply(self, command_text: str) -> bool:
        """Parses and applies one command; True for EXIT."""
        command = editor.parse(command_text)
        self._lines = editor.apply(self._lines, command)
        return isinstance(command, editor.Exit)

    def render(self) -> str:
        """Lines numbered from 1."""
        return state_text.number_lines(self._lines)


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

"""Tools that change a program: the line editor, and answers in one piece.

mode="coe" edits line by line. mode="direct" writes the whole repaired program at once,
alone or in the first block between two fences, as chat models do. mode="cot" writes
free thought, then the program between two fences. The last two are tools whose command
is an answer, of which an episode has one by default, so environment, rewards and
rollouts are the same for all.
"""

import functools
import re
from collections.abc import Callable
from typing import Protocol

from repair.env import editor, state_text

FENCE = "```"
_BLOCK = re.compile(rf"^{FENCE}[a-z]*\n(.*?)^{FENCE}", re.MULTILINE | re.DOTALL)


class Tool(Protocol):
    """A stateful tool that changes a program by text commands."""

    @property
    def code(self) -> str:
        """The program as it stands."""

    def apply(self, command_text: str) -> bool:
        """Execute a command; return True if it ends the episode.

        Raises:
          MalformedCommand: The command does not apply; nothing has changed.
        """

    def render(self) -> str:
        """Return the program as the model sees it, in lines that end in a newline."""


class LineEditor:
    """The paper's tool: commands of `repair.env.editor`, lines as "L n text"."""

    def __init__(self, code: str):
        self._lines = editor.split_program(code)

    @property
    def code(self) -> str:
        return "\n".join(self._lines)

    def apply(self, command_text: str) -> bool:
        command = editor.parse(command_text)
        self._lines = editor.apply(self._lines, command)
        return isinstance(command, editor.Exit)

    def render(self) -> str:
        return state_text.number_lines(self._lines)


class WholeProgram:
    """Answers that replace the program; the last one ends the episode.

    Args:
      code: The program.
      answers: Most answers of an episode. A caller that wants no more of them after one
        that passes ends the episode itself (`Rewards.end_on_solve`).
    """

    def __init__(self, code: str, answers: int = 1):
        self._code = code
        self._left = answers

    @property
    def code(self) -> str:
        return self._code

    def apply(self, command_text: str) -> bool:
        self._left -= 1
        self._code = self._program(command_text)
        return self._left == 0

    def render(self) -> str:
        return f"{self._code}\n"

    def _program(self, answer: str) -> str:
        block = _BLOCK.search(answer)
        return (block[1] if block else answer).strip("\n")


class ThoughtThenProgram(WholeProgram):
    """Answers whose last fenced block replaces the program."""

    def _program(self, answer: str) -> str:
        blocks = _BLOCK.findall(answer)
        if not blocks:
            raise editor.MalformedCommand(f"no program between two lines of {FENCE}")
        return blocks[-1].strip("\n")


_TOOLS: dict[str, Callable[..., Tool]] = {
    "coe": LineEditor,
    "direct": WholeProgram,
    "cot": ThoughtThenProgram,
}
MODES = tuple(_TOOLS)


@functools.cache
def tool_of(mode: str, answers: int = 1) -> Callable[[str], Tool]:
    """Return the maker of a mode's tool, the same object for the same arguments.

    Args:
      mode: One of `MODES`.
      answers: Most answers of an episode in modes "direct" and "cot".
    """
    tool = _TOOLS[mode]
    return tool if answers == 1 else functools.partial(tool, answers=answers)

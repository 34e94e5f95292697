r"""The line editor: five commands of one line each that change a program.

The language of Rainone et al. 2025 (arXiv 2507.05065). Lines count from 1, and
everything after a `>>>` is verbatim, indentation included:

    ### ADDL n >>>text          insert text before line n; n = len + 1 appends
    ### REPL n >>>text          line n becomes text
    ### DELL n                  remove line n
    ### REPW n >>>old >>>new    every occurrence of old on line n becomes new
    ### EXIT                    stop editing

REPW splits its two texts at the first " >>>" after the first separator or, where there
is none, at the first ">>>". So `>>>a >>>b` and `>>>a>>>b` mean the same, and an old
text that contains " >>>" cannot be written.

A program is a list of lines without "\n". Only "\n" ends a line: form feeds,
U+2028 and the like are characters. Every function is pure.
"""

import dataclasses
import re
from typing import ClassVar

PREFIX = "### "
SEPARATOR = ">>>"

# A REPW may multiply the length of a line, so a few in a row would fill the memory.
MAX_LINE_CHARS = 10_000

# Digits are capped since int() is quadratic in them and refuses very long ones.
_MAX_DIGITS = 9
_NUMBER = re.compile(r"[0-9]+")
_SHOWN_CHARS = 40


class MalformedCommand(Exception):
    """The text is no command, or the command does not apply to the program.

    Attributes:
      reason: A short line for the model; equal input gives an equal line.
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class _LineCommand:
    """A command of a verb, a line number and texts, in the order of its fields."""

    verb: ClassVar[str]

    def format(self) -> str:
        """Return the text of the command.

        Raises:
          ValueError: No text can express it.
        """
        line, *texts = vars(self).values()
        if not 0 <= line < 10**_MAX_DIGITS:
            raise ValueError(f"{self.verb} cannot express the line number {line}")
        if any("\n" in text or "\r" in text for text in texts):
            raise ValueError(f"{self.verb} cannot express a text with a line break")
        return " ".join(
            [f"{PREFIX}{self.verb} {line}", *(SEPARATOR + text for text in texts)]
        )


@dataclasses.dataclass(frozen=True)
class AddLine(_LineCommand):
    """Insert `text` before line `line`; `line` = len + 1 appends."""

    verb = "ADDL"
    line: int
    text: str


@dataclasses.dataclass(frozen=True)
class ReplaceLine(_LineCommand):
    """Replace line `line` by `text`."""

    verb = "REPL"
    line: int
    text: str


@dataclasses.dataclass(frozen=True)
class DeleteLine(_LineCommand):
    """Remove line `line`."""

    verb = "DELL"
    line: int


@dataclasses.dataclass(frozen=True)
class ReplaceWord(_LineCommand):
    """Replace every occurrence of `old` on line `line` by `new`, left to right."""

    verb = "REPW"
    line: int
    old: str
    new: str

    def format(self) -> str:
        if " " + SEPARATOR in self.old:
            raise ValueError(f"REPW cannot express the old text {self.old!r}")
        return super().format()


@dataclasses.dataclass(frozen=True)
class Exit:
    """Stop editing."""

    def format(self) -> str:
        """Return the text of the command."""
        return f"{PREFIX}EXIT"


Command = AddLine | ReplaceLine | DeleteLine | ReplaceWord | Exit
_KINDS: dict[str, type] = {
    kind.verb: kind for kind in (AddLine, ReplaceLine, DeleteLine, ReplaceWord)
}
VERBS = (*_KINDS, "EXIT")


def split_program(code: str) -> list[str]:
    """Return the lines of a program; the empty program has none."""
    return code.split("\n") if code else []


def parse(text: str) -> Command:
    r"""Read one command; linear in the text, total on any string.

    One "\n" or "\r\n" at the end is ignored, as are spaces after DELL's number and
    after EXIT. `parse(c.format()) == c` for every command that `format` accepts.

    Raises:
      MalformedCommand: The text is not exactly one command.
    """
    text = text.removesuffix("\n").removesuffix("\r") if text[-1:] == "\n" else text
    if "\n" in text or "\r" in text:
        raise MalformedCommand("more than one line")
    if not text.startswith(PREFIX):
        raise MalformedCommand("unknown command")
    verb, _, rest = text.removeprefix(PREFIX).partition(" ")
    if verb == "EXIT":
        if rest.strip(" "):
            raise MalformedCommand("EXIT takes nothing")
        return Exit()
    if verb not in _KINDS:
        raise MalformedCommand("unknown command")
    kind = _KINDS[verb]
    line, rest = _read_number(rest)
    if kind is DeleteLine:
        if rest.strip(" "):
            raise MalformedCommand("DELL takes a line number only")
        return DeleteLine(line)
    spaced = " " + SEPARATOR
    if not rest.startswith(spaced):
        raise MalformedCommand("missing >>>")
    rest = rest.removeprefix(spaced)
    if kind is not ReplaceWord:
        return kind(line, rest)
    old, found, new = rest.partition(spaced if spaced in rest else SEPARATOR)
    if not found:
        raise MalformedCommand("missing second >>>")
    return ReplaceWord(line, old, new)


def apply(lines: list[str], command: Command) -> list[str]:
    """Return the program after the command, as a new list; Exit changes nothing.

    Deleting the only line gives the empty program, to which ADDL 1 adds.

    Raises:
      MalformedCommand: No such line; a text with a line break; for REPW, an empty
        old, an old that is not on the line, or a result beyond MAX_LINE_CHARS.
    """
    if isinstance(command, Exit):
        return list(lines)
    last = len(lines) + isinstance(command, AddLine)
    if not 1 <= command.line <= last:
        raise MalformedCommand(f"no line {command.line}")
    before, after = lines[: command.line - 1], lines[command.line :]
    match command:
        case DeleteLine():
            return [*before, *after]
        case AddLine(line, text):
            _check_text(text)
            return [*before, text, *lines[line - 1 :]]
        case ReplaceLine(_, text):
            _check_text(text)
            return [*before, text, *after]
        case ReplaceWord(line, _, new):
            _check_text(new)
            return [*before, _replace_word(lines[line - 1], command), *after]


def invert(lines: list[str], command: Command) -> Command:
    """Return the inverse of a command: apply(apply(lines, c), inverse) == lines.

    A REPW is undone by the REPW with its texts exchanged where that restores the
    line and can be written, else by a REPL of the whole line; Exit by Exit.

    Raises:
      MalformedCommand: `command` does not apply to `lines`.
    """
    after = apply(lines, command)
    match command:
        case AddLine(line):
            return DeleteLine(line)
        case DeleteLine(line):
            return AddLine(line, lines[line - 1])
        case ReplaceLine(line):
            return ReplaceLine(line, lines[line - 1])
        case ReplaceWord(line, old, new):
            before = lines[line - 1]
            reversible = (
                new
                and SEPARATOR not in new
                and after[line - 1].replace(new, old) == before
                and len(before) <= max(MAX_LINE_CHARS, len(after[line - 1]))
            )
            if reversible:
                return ReplaceWord(line, new, old)
            return ReplaceLine(line, before)
    return command


def _read_number(text: str) -> tuple[int, str]:
    match = _NUMBER.match(text)
    if not match:
        raise MalformedCommand("missing line number")
    if match.end() > _MAX_DIGITS:
        raise MalformedCommand("line number too large")
    return int(match[0]), text[match.end() :]


def _check_text(text: str) -> None:
    if "\n" in text:
        raise MalformedCommand("more than one line")


def _replace_word(before: str, command: ReplaceWord) -> str:
    old, new = command.old, command.new
    if not old:
        raise MalformedCommand("nothing to replace")
    count = before.count(old)
    if not count:
        shown = old if len(old) <= _SHOWN_CHARS else old[:_SHOWN_CHARS] + "..."
        raise MalformedCommand(f"'{shown}' is not on line {command.line}")
    length = len(before) + count * (len(new) - len(old))
    if length > max(MAX_LINE_CHARS, len(before)):
        raise MalformedCommand(f"line {command.line} would be too long")
    return before.replace(old, new)

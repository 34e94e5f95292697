"""Variants of a program: the one without names, and near misses."""

import builtins
import keyword
import re

_STRING = r"'[^'\n]*'"
_NAME = re.compile(rf"{_STRING}|\.?\b[^\W\d]\w*")
_TOKEN = re.compile(rf"{_STRING}|[^\W\d]\w*|\d+|[-+*/%<>=!]+")
_FIXED = frozenset(keyword.kwlist) | frozenset(dir(builtins))
# Operators and words that are easily mistaken for one another.
_SLIPS = {
    **{">": ">=", "<": "<=", ">=": ">", "<=": "<", "==": ">=", "!=": ">"},
    **{"+": "-", "-": "+", "*": "+", "+=": "-=", "-=": "+=", "*=": "+="},
    **{"True": "False", "False": "True", "break": "continue"},
}
# A sort or its key left out, a count that begins anew.
_OMISSIONS = (
    (re.compile(r"sorted\((\w+).*\)"), r"list(\1)"),
    (re.compile(r", key=.*?(?=, reverse|\)$)"), ""),
    (re.compile(r"\w+\.sort\(.*\)"), "pass"),
    (re.compile(r"\w+\.get\(\w+, 0\)"), "0"),
)


def anonymous(code: str) -> str:
    """Rename the names of a program to their numbers in order of occurrence.

    Two programs that differ only in the names of functions, arguments and variables
    have the same anonymous form. Meant for generated programs: strings in single
    quotes, no comments.
    """
    numbers: dict[str, str] = {}

    def rename(match: re.Match) -> str:
        name = match.group()
        if name[0] in "'." or name in _FIXED:
            return name
        return numbers.setdefault(name, f"v{len(numbers)}")

    return _NAME.sub(rename, code)


def near_misses(code: str) -> list[str]:
    """Return programs one slip away: another operator, constant or condition, no sort.

    `def` lines are left alone, and so are `while` lines, whose slips need not end.
    """
    lines = code.split("\n")
    missed = []
    for at, line in enumerate(lines):
        if not line.lstrip().startswith(("def ", "while ")):
            for other in _slips(line):
                missed.append("\n".join([*lines[:at], other, *lines[at + 1 :]]))
    return missed


def _slips(line: str) -> list[str]:
    others = []
    for match in _TOKEN.finditer(line):
        slip = _slip(match.group())
        if slip is not None:
            others.append(line[: match.start()] + slip + line[match.end() :])
    others += [part.sub(to, line) for part, to in _OMISSIONS if part.search(line)]
    indent, is_if, _ = line.partition("if ")
    if is_if and not indent.strip():
        others += [f"{indent}if {value}:" for value in (True, False)]
    return others


def _slip(token: str) -> str | None:
    if token.isdigit():
        return str(int(token) + 1)
    if len(token) == 3 and token[0] == "'" and token[1].isalpha():
        return f"'{chr(ord(token[1]) + 1)}'"
    return _SLIPS.get(token)

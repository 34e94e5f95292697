"""Corruptions of a program in small steps, each undone by one editor command.

The four kinds of `KINDS` are those of Rainone et al. 2025 (arXiv 2507.05065), each the
inverse of one verb of the editor. Those of `MORE_KINDS` are slips found on the syntax
tree (`corrupt_tree`), which leave a program that parses; they are recorded in the same
four kinds of steps.

| kind | effect of a draw | steps |
|---|---|---|
| delete | removes a line | delete |
| add | inserts a line of another program | add |
| replace | puts a line of another program in the place of one | replace |
| word | changes every occurrence of a word on a line | word |
| drop_branch | removes a branch of an `if`, or its condition alone | delete, replace |
| the rest of `MORE_KINDS` | changes a few characters of a line | replace |
"""

import dataclasses
import keyword
import random
import re
from collections.abc import Sequence

from repair.tasks.corrupt_tree import MORE_KINDS, propose

KINDS = ("delete", "add", "replace", "word")
ALL_KINDS = KINDS + MORE_KINDS

# Draws before a program gives up a kind, and donors drawn for a word.
_TRIES = 24
_DONOR_DRAWS = 6

_WORD = re.compile(
    r"""'[^'\s\\]*'|"[^"\s\\]*"|[^\W\d]\w*|\d+(?:\.\d+)?"""
    r"""|(?:\*\*|//|<<|>>|[-+*/%&|^])=?|[<>=!]=|[<>=]"""
)
_COMPARISONS = frozenset({"<", ">", "<=", ">=", "==", "!="})


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One step of damage; `line` counts from 1 in the program at that step.

    Attributes:
      kind: "delete" removes the line; "add" inserts `text` before it (`line` may be
        the number of lines + 1); "replace" makes the line `text`; "word" makes every
        occurrence of `old` on the line `new`.
      line: The line's number.
      text: The new line, for "add" and "replace".
      old: The word that was there, for "word".
      new: The word that is there now, for "word".
      drawn: The kind that was drawn, if it is one of `MORE_KINDS`.
      draw: Number of the draw that made the step, from 0; one may take several steps.
    """

    kind: str
    line: int
    text: str = ""
    old: str = ""
    new: str = ""
    drawn: str = ""
    draw: int = 0


def apply_corruption(lines: Sequence[str], corruption: Corruption) -> list[str]:
    """Return the lines after one corruption; ValueError for an unknown kind."""
    at = corruption.line - 1
    head, line, tail = list(lines[:at]), list(lines[at : at + 1]), list(lines[at + 1 :])
    match corruption.kind:
        case "delete":
            middle = []
        case "add":
            middle = [corruption.text, *line]
        case "replace":
            middle = [corruption.text]
        case "word":
            middle = [text.replace(corruption.old, corruption.new) for text in line]
        case kind:
            raise ValueError(f"a step's kind {kind!r} is none of {KINDS}")
    return head + middle + tail


def drawn_kinds(steps: Sequence[Corruption]) -> tuple[str, ...]:
    """Return the drawn kinds, one for each draw, in order."""
    return tuple({step.draw: step.drawn or step.kind for step in steps}.values())


def corrupt(
    code: str,
    donors: Sequence[str],
    rng: random.Random,
    count: int,
    kinds: Sequence[str] = KINDS,
) -> tuple[str, tuple[Corruption, ...]]:
    r"""Damage a program by `count` draws, each of a kind drawn uniformly.

    A kind that the program does not allow (no second line to delete, no word that
    could change, no `if` to drop) is drawn again among the others. Every step changes
    the program and none leads back to the original or leaves it blank: the editor has
    no line to address in the empty program, so no command could undo the step.

    Args:
      code: The program, lines joined by "\n".
      donors: Other programs, the source of lines and words.
      rng: The source of every choice.
      count: Number of draws, at least 1. Each is one step, except for "drop_branch".
      kinds: The kinds to draw from, of `ALL_KINDS`.

    Returns:
      The faulty program and the steps that made it, in order.

    Raises:
      ValueError: No kind of `kinds` can change the program.
    """
    original = code.split("\n")
    lines = original
    steps = []
    for draw in range(count):
        for step in _draw(lines, original, donors, rng, kinds):
            lines = apply_corruption(lines, step)
            steps.append(dataclasses.replace(step, draw=draw))
    return "\n".join(lines), tuple(steps)


def _draw(lines, original, donors, rng, kinds) -> tuple[Corruption, ...]:
    """Draw one corruption that neither repairs the lines nor leaves them blank."""
    for kind in rng.sample(list(kinds), len(kinds)):
        for _ in range(_TRIES):
            steps = _propose(kind, lines, donors, rng)
            if steps is None:
                break
            if steps and _all_break(lines, original, steps):
                return steps
    raise ValueError(f"no corruption of {tuple(kinds)} can change the program {lines}")


def _all_break(lines, original, steps) -> bool:
    """Return True if every step changes something, mends nothing, leaves something."""
    for step in steps:
        changed = apply_corruption(lines, step)
        if changed in (lines, original) or not "".join(changed).strip():
            return False
        lines = changed
    return True


def _propose(kind, lines, donors, rng) -> tuple[Corruption, ...] | None:
    """Draw the steps of one kind; () if the draw failed, None if all draws would."""
    if kind in MORE_KINDS:
        edits = propose(kind, lines, rng)
        if edits is None:
            return None
        return tuple(
            Corruption("delete", line, drawn=kind)
            if text is None
            else Corruption("replace", line, text=text, drawn=kind)
            for line, text in edits
        )
    step = None
    line = None if kind == "add" else _any_line(lines, rng)
    text = _donated_line(donors, rng) if kind in ("add", "replace") else None
    if kind == "delete" and line:
        step = Corruption("delete", line)
    elif kind == "add" and text:
        step = Corruption("add", rng.randint(1, len(lines) + 1), text=text)
    elif kind == "replace" and line and text:
        step = Corruption("replace", line, text=text)
    elif kind == "word" and line:
        step = _propose_word(line, lines, donors, rng)
    return (step,) if step else ()


def _propose_word(line, lines, donors, rng) -> Corruption | None:
    text = lines[line - 1]
    words = _WORD.findall(text)
    # The replacement is by text, so a word that is also a part of another ("n" in
    # "len", "=" in "==") is left alone: both would change.
    olds = [word for word in words if text.count(word) == words.count(word)]
    if not olds:
        return None
    old = rng.choice(olds)
    new = _other_word(old, text, lines, donors, rng)
    return None if new is None else Corruption("word", line, old=old, new=new)


def _other_word(old, text, lines, donors, rng) -> str | None:
    """Draw a word for `old` whose replacement can be undone word for word."""
    sources = []
    if donors:
        draws = [rng.choice(donors) for _ in range(_DONOR_DRAWS)]
        sources = [donor.split("\n") for donor in draws]
    # Half of the time from the program itself: a wrong name that exists is harder to
    # find.
    sources.insert(rng.choice((0, len(sources))), lines)
    others = []
    for source in sources:
        words = dict.fromkeys(_WORD.findall("\n".join(source)))
        fits = [
            word
            for word in words
            if word not in text and text.replace(old, word).replace(word, old) == text
        ]
        same = [word for word in fits if _sort(word) == _sort(old)]
        if same:
            return rng.choice(same)
        others.extend(fits)
    return rng.choice(others) if others else None


def _sort(word: str) -> str:
    if word[0] in "'\"":
        return "string"
    if word[0].isdigit():
        return "number"
    if keyword.iskeyword(word):
        return "keyword"
    if word.isidentifier():
        return "name"
    if word in _COMPARISONS:
        return "comparison"
    return "assignment" if word.endswith("=") else "arithmetic"


def _any_line(lines, rng) -> int | None:
    """Draw the number of a line that is not blank."""
    filled = [n for n, line in enumerate(lines, start=1) if line.strip()]
    return rng.choice(filled) if filled else None


def _donated_line(donors, rng) -> str | None:
    if not donors:
        return None
    filled = [line for line in rng.choice(donors).split("\n") if line.strip()]
    return rng.choice(filled) if filled else None

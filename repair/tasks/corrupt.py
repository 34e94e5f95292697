"""Break a program in small steps, each of which one editor command can undo.

The four kinds of `KINDS` are those of Rainone et al. 2025 (arXiv 2507.05065), each the
opposite of one verb of the editor. Those of `MORE_KINDS` are slips found on the syntax
tree, which leave a program that parses; they are recorded in the same four steps.

| kind | what a draw does | steps |
|---|---|---|
| delete | removes a line | delete |
| add | inserts a line of another program | add |
| replace | puts a line of another program in the place of one | replace |
| word | changes every occurrence of a word on a line | word |
| operator | exchanges an operator of arithmetic, comparison or logic | replace |
| constant | a number by one, a truth value, a string to another one | replace |
| swap_arguments | exchanges two positional arguments of a call | replace |
| off_by_one | moves a bound of range or of a slice, or an index, by one | replace |
| variable | reads another variable of the same scope | replace |
| drop_branch | removes a branch of an `if`, or its condition alone | delete, replace |
"""

import dataclasses
import keyword
import random
import re
from collections.abc import Sequence

from repair.tasks.corrupt_tree import MORE_KINDS, propose

KINDS = ("delete", "add", "replace", "word")
ALL_KINDS = KINDS + MORE_KINDS

# Draws before a kind is given up for a program, and draws of a donor for a word.
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
      kind: What the step does: "delete" removes the line; "add" inserts `text` before
        it (it may be the number of lines + 1); "replace" makes the line `text`; "word"
        makes every occurrence of `old` on the line `new`.
      line: The line's number.
      text: The new line, for "add" and "replace".
      old: The word that was there, for "word".
      new: The word that is there now, for "word".
      drawn: The kind that was drawn, where it is one of `MORE_KINDS`.
      draw: Which draw the step belongs to, from 0; one may take several steps.
    """

    kind: str
    line: int
    text: str = ""
    old: str = ""
    new: str = ""
    drawn: str = ""
    draw: int = 0


def apply_corruption(lines: Sequence[str], corruption: Corruption) -> list[str]:
    """The lines after one corruption; ValueError for an unknown kind."""
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
    """The kinds that were drawn, one for each draw, in order."""
    return tuple({step.draw: step.drawn or step.kind for step in steps}.values())


def corrupt(
    code: str,
    donors: Sequence[str],
    rng: random.Random,
    count: int,
    kinds: Sequence[str] = KINDS,
) -> tuple[str, tuple[Corruption, ...]]:
    r"""Damages a program by `count` draws, each of a kind drawn uniformly.

    A kind that the program does not allow (no second line to delete, no word that
    could change, no `if` to drop) is drawn again among the others. Every step changes
    the program and none leads back to the original or leaves it blank: the editor has
    no line to address in the empty program, so nothing could be taken back there.

    Args:
      code: The program, lines joined by "\n".
      donors: Other programs, whose lines and words are used.
      rng: The source of every choice.
      count: Number of draws, at least 1. Each is one step, but for "drop_branch".
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
        drawn = _draw(lines, original, donors, rng, kinds)
        for step in drawn:
            lines = apply_corruption(lines, step)
            steps.append(dataclasses.replace(step, draw=draw))
    return "\n".join(lines), tuple(steps)


def _draw(lines, original, donors, rng, kinds) -> tuple[Corruption, ...]:
    """One corruption of `lines` that neither mends them nor leaves them blank."""
    proposers = {
        "delete": _propose_delete,
        "add": _propose_add,
        "replace": _propose_replace,
        "word": _propose_word,
    }
    for kind in rng.sample(list(kinds), len(kinds)):
        for _ in range(_TRIES):
            if kind in MORE_KINDS:
                steps = _propose_slip(kind, lines, rng)
                if steps is None:
                    break
            else:
                step = proposers[kind](lines, donors, rng)
                steps = () if step is None else (step,)
            if steps and _all_break(lines, original, steps):
                return steps
    raise ValueError(f"no corruption of {tuple(kinds)} can change the program {lines}")


def _all_break(lines, original, steps) -> bool:
    """Whether every step changes something, mends nothing and leaves something."""
    for step in steps:
        changed = apply_corruption(lines, step)
        if changed in (lines, original) or not "".join(changed).strip():
            return False
        lines = changed
    return True


def _propose_slip(kind, lines, rng) -> tuple[Corruption, ...] | None:
    edits = propose(kind, lines, rng)
    if edits is None:
        return None
    return tuple(
        Corruption("delete", line, drawn=kind)
        if text is None
        else Corruption("replace", line, text=text, drawn=kind)
        for line, text in edits
    )


def _propose_delete(lines, donors, rng) -> Corruption | None:
    line = _any_line(lines, rng)
    return None if line is None else Corruption("delete", line)


def _propose_add(lines, donors, rng) -> Corruption | None:
    text = _donated_line(donors, rng)
    if text is None:
        return None
    return Corruption("add", rng.randint(1, len(lines) + 1), text=text)


def _propose_replace(lines, donors, rng) -> Corruption | None:
    line, text = _any_line(lines, rng), _donated_line(donors, rng)
    if line is None or text is None:
        return None
    return Corruption("replace", line, text=text)


def _propose_word(lines, donors, rng) -> Corruption | None:
    line = _any_line(lines, rng)
    if line is None:
        return None
    text = lines[line - 1]
    words = _WORD.findall(text)
    # A word that is also a part of another ("n" in "len", "=" in "==") is left
    # alone: the replacement is by text and would change both.
    olds = [word for word in words if text.count(word) == words.count(word)]
    if not olds:
        return None
    old = rng.choice(olds)
    new = _other_word(old, text, lines, donors, rng)
    if new is None:
        return None
    return Corruption("word", line, old=old, new=new)


def _other_word(old, text, lines, donors, rng) -> str | None:
    """A word for `old` whose replacement can be taken back word for word."""
    sources = []
    if donors:
        draws = [rng.choice(donors) for _ in range(_DONOR_DRAWS)]
        sources = [donor.split("\n") for donor in draws]
    # Half of the time from the program itself: a wrong name that exists is the
    # harder bug.
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
    """The number of a line with something on it."""
    filled = [n for n, line in enumerate(lines, start=1) if line.strip()]
    return rng.choice(filled) if filled else None


def _donated_line(donors, rng) -> str | None:
    if not donors:
        return None
    filled = [line for line in rng.choice(donors).split("\n") if line.strip()]
    return rng.choice(filled) if filled else None

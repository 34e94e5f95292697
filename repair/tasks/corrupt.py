"""Breaking correct programs, with a record of what was done.

Four kinds, one for each verb of the editor that undoes it (paper, SFT data).
"""

import dataclasses
import random
import re
from collections.abc import Sequence

KINDS = ("delete", "add", "replace", "word")

# Words by sort, so that a number turns into a number and a name into a name.
_WORD = re.compile(r"(?P<name>[A-Za-z_]\w*)|(?P<number>\d+)|(?P<sign>[-+*/%<>=!]+)")
_SIGNS = ("+", "-", "*", "//", "%", "<", ">", "<=", ">=", "==", "!=", "+=", "-=", "*=")
# Draws after which a program is taken to have no further corruption of any kind.
_TRIES = 100


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One change to a program.

    Attributes:
      kind: "delete" (the line goes), "add" (text comes before the line, which may be
        len + 1), "replace" (the line becomes text) or "word" (every occurrence of
        old on the line becomes new).
      line: 1-indexed line of the program before this corruption.
      text: For "add" and "replace".
      old: For "word".
      new: For "word".
    """

    kind: str
    line: int
    text: str = ""
    old: str = ""
    new: str = ""


def apply_corruption(lines: Sequence[str], corruption: Corruption) -> list[str]:
    """The lines after a corruption."""
    lines, index = list(lines), corruption.line - 1
    if corruption.kind == "delete":
        del lines[index]
    elif corruption.kind == "add":
        lines.insert(index, corruption.text)
    elif corruption.kind == "replace":
        lines[index] = corruption.text
    else:
        lines[index] = lines[index].replace(corruption.old, corruption.new)
    return lines


def corrupt(
    code: str,
    donors: Sequence[str],
    rng: random.Random,
    count: int,
    kinds: Sequence[str] = KINDS,
) -> tuple[str, tuple[Corruption, ...]]:
    """Breaks a program by `count` corruptions in a row.

    Args:
      code: A correct program of at least one line.
      donors: Other programs, whose lines and words get in; at least one.
      rng: Source of all choices.
      count: How many corruptions.
      kinds: What to choose from, uniformly.

    Returns:
      The faulty program, different from `code` and not empty, and the corruptions
      in the order in which they were made.

    Raises:
      ValueError: The kinds leave nothing to change (a one-line program has no line
        to delete).
    """
    original = code.split("\n")
    for _ in range(_TRIES):
        lines, made = original, []
        while len(made) < count:
            corruption = _draw(lines, donors, rng, kinds)
            lines = apply_corruption(lines, corruption)
            made.append(corruption)
        if lines != original:  # two corruptions may undo one another
            return "\n".join(lines), tuple(made)
    raise ValueError(f"{count} corruptions of {kinds} leave this program as it is")


def _draw(lines, donors, rng, kinds) -> Corruption:
    for _ in range(_TRIES):
        corruption = _propose(lines, donors, rng, rng.choice(kinds))
        if corruption is not None:
            changed = apply_corruption(lines, corruption)
            if changed and changed != lines:
                return corruption
    raise ValueError(f"no corruption of {kinds} applies to a program of {len(lines)}")


def _propose(lines, donors, rng, kind) -> Corruption | None:
    if kind == "delete":
        return Corruption(kind, rng.randint(1, len(lines)))
    donor = [line for line in rng.choice(donors).split("\n") if line.strip()]
    if kind == "add":
        return Corruption(kind, rng.randint(1, len(lines) + 1), rng.choice(donor))
    line = rng.randint(1, len(lines))
    if kind == "replace":
        return Corruption(kind, line, rng.choice(donor))
    return _propose_word(lines, line, donor, rng)


def _propose_word(lines, line, donor, rng) -> Corruption | None:
    words = list(_WORD.finditer(lines[line - 1]))
    if not words:
        return None
    old = rng.choice(words)
    if old.lastgroup == "sign":
        others = _SIGNS
    else:
        # Half of the time from the program itself: a wrong name that exists is the
        # harder bug.
        source = lines if rng.random() < 0.5 else donor
        others = [
            word.group()
            for text in source
            for word in _WORD.finditer(text)
            if word.lastgroup == old.lastgroup
        ]
    others = sorted(set(others) - {old.group()})
    if not others:
        return None
    return Corruption("word", line, old=old.group(), new=rng.choice(others))

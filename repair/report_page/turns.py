"""Turns as a reader follows them: the program with each edit as a diff, and figures."""

import dataclasses
import difflib
import itertools
from collections.abc import Sequence

from repair.env.editor import split_program
from repair.env.state_text import split_state, unnumber_lines


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a program with an edit.

    Attributes:
      sign: " " where it stays, "-" where it goes, "+" where it comes.
      number: Of the line, before the edit or, for "+", after it.
      head: Its text up to what differs from the line that it replaces or that
        replaces it; all of it where there is none.
      changed: What differs.
      tail: What follows that.
    """

    sign: str
    number: int
    head: str
    changed: str = ""
    tail: str = ""


def diff(before: list[str], after: list[str]) -> list[Row]:
    """All lines of a program with what an edit does to them.

    What is alike at both ends stays, so that a line which becomes like its neighbour
    is shown as changed in its own place.
    """
    start, end = _alike(before, after)
    middle = before[start : len(before) - end], after[start : len(after) - end]
    matcher = difflib.SequenceMatcher(None, *middle, autojunk=False)
    rows = [Row(" ", n + 1, before[n]) for n in range(start)]
    for kind, *places in matcher.get_opcodes():
        i, i_end, j, j_end = (place + start for place in places)
        if kind == "equal":
            rows += [Row(" ", n + 1, before[n]) for n in range(i, i_end)]
            continue
        old, new = before[i:i_end], after[j:j_end]
        pairs = [(line, "", "") for line in old], [(line, "", "") for line in new]
        if len(old) == len(new):
            both = [_marked(a, b) for a, b in zip(old, new, strict=True)]
            pairs = [a for a, _ in both], [b for _, b in both]
        rows += [Row("-", n, *texts) for n, texts in enumerate(pairs[0], i + 1)]
        rows += [Row("+", n, *texts) for n, texts in enumerate(pairs[1], j + 1)]
    kept = range(len(before) - end, len(before))
    return rows + [Row(" ", n + 1, before[n]) for n in kept]


def turns_of(record: dict) -> list[dict]:
    """The turns of a record, each with "rows" (its edit) and "feedback" (after it)."""
    states = [split_state(turn["state"]) for turn in record["turns"]]
    states.append(split_state(record.get("last_state", "")))
    programs = [unnumber_lines(shown) for shown, _ in states[:-1]]
    # A program that broke its turn is not known; it is shown as it was before.
    if record["status"] != "fault":
        programs.append(split_program(record["code"]))
    else:
        programs += programs[-1:]
    return [
        turn | {"rows": diff(before, after), "feedback": feedback}
        for turn, (before, after), (_, feedback) in zip(
            record["turns"], itertools.pairwise(programs), states[1:], strict=True
        )
    ]


def _marked(old: str, new: str) -> tuple[tuple, tuple]:
    """Two lines, each in three: the same start, what differs, the same end."""
    start, end = _alike(old, new)
    return tuple(
        (line[:start], line[start : len(line) - end], line[len(line) - end :])
        for line in (old, new)
    )


def _alike(old: Sequence, new: Sequence) -> tuple[int, int]:
    """How many items two sequences share at the start and, after that, at the end."""
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    most -= start
    end = next((i for i in range(most) if old[-1 - i] != new[-1 - i]), most)
    return start, end

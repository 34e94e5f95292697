"""Turns for a reader: the program with each edit as a diff, and the feedback."""

import dataclasses
import difflib
import itertools
from collections.abc import Sequence

from repair.env.editor import split_program
from repair.env.state_text import split_state, unnumber_lines


@dataclasses.dataclass(frozen=True)
class TurnRow:
    """One line of a diff.

    Attributes:
      sign: " " for a line that stays, "-" for one removed, "+" for one added.
      number: Line number before the edit or, for "+", after it.
      head: Text before the difference to the replaced line; all if none is replaced.
      changed: Text that differs.
      tail: Text after the difference.
    """

    sign: str
    number: int
    head: str
    changed: str = ""
    tail: str = ""


def diff(before: list[str], after: list[str]) -> list[TurnRow]:
    """Return all lines of a program with the effect of an edit.

    Equal lines at both ends stay, so that a line which becomes equal to its neighbour
    is shown as changed in its own place.
    """
    start, end = _alike(before, after)
    middle = before[start : len(before) - end], after[start : len(after) - end]
    matcher = difflib.SequenceMatcher(None, *middle, autojunk=False)
    rows = [TurnRow(" ", n + 1, before[n]) for n in range(start)]
    for kind, *places in matcher.get_opcodes():
        i, i_end, j, j_end = (place + start for place in places)
        if kind == "equal":
            rows += [TurnRow(" ", n + 1, before[n]) for n in range(i, i_end)]
            continue
        old, new = before[i:i_end], after[j:j_end]
        pairs = [(line, "", "") for line in old], [(line, "", "") for line in new]
        if len(old) == len(new):
            both = [_marked(a, b) for a, b in zip(old, new, strict=True)]
            pairs = [a for a, _ in both], [b for _, b in both]
        rows += [TurnRow("-", n, *texts) for n, texts in enumerate(pairs[0], i + 1)]
        rows += [TurnRow("+", n, *texts) for n, texts in enumerate(pairs[1], j + 1)]
    kept = range(len(before) - end, len(before))
    return rows + [TurnRow(" ", n + 1, before[n]) for n in kept]


def turns_of(record: dict) -> list[dict]:
    """Return the turns of a record, each with "rows" (its edit) and "feedback"."""
    states = [split_state(turn["state"]) for turn in record["turns"]]
    states.append(split_state(record.get("last_state", "")))
    programs = [unnumber_lines(shown) for shown, _ in states[:-1]]
    # The program after a turn that broke is unknown: it is shown without an edit.
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
    """Split two lines each into (equal start, difference, equal end)."""
    start, end = _alike(old, new)
    return tuple(
        (line[:start], line[start : len(line) - end], line[len(line) - end :])
        for line in (old, new)
    )


def _alike(old: Sequence, new: Sequence) -> tuple[int, int]:
    """Return the numbers of equal items at the start and, of the rest, at the end."""
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    most -= start
    end = next((i for i in range(most) if old[-1 - i] != new[-1 - i]), most)
    return start, end

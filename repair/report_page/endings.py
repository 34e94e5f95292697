"""Endings of episodes, and the classes by which failures are counted."""

import dataclasses

from repair.env.state_text import split_state
from repair.sandbox.verdict import ENDED, USED_UP, exception_in

UNKNOWN = "unknown"
HIDDEN = "hidden tests alone"
_PASS = "none"
# Columns of the list of episodes, which --sort takes: fields of an `Ending`.
SORTS = {
    "return": "value",
    "turns": "turns",
    "status": "status",
    "corruptions": "corruptions",
    "start": "start",
    "error": "error",
    "sample": "label",
    "group": "group",
}


@dataclasses.dataclass(frozen=True)
class Ending:
    """One episode in short.

    Attributes:
      group: The bug.
      label: The sample, as from `repair.report_page.runs.read_groups`.
      failed: True if the program fails a test at the end, a hidden one included where
        the episode is of an evaluation.
      status: How the episode ended.
      turns: Number of its commands.
      corruptions: Their number in the bug, or "unknown".
      start: Class of the error that the bug shows.
      error: Class of the error at the end; "none" if all tests pass.
      value: The return.
    """

    group: str
    label: str
    failed: bool
    status: str
    turns: int
    corruptions: str
    start: str
    error: str
    value: float

    @property
    def greedy(self) -> bool:
        """True for a greedy episode, false for a sampled one."""
        return self.label.startswith("greedy")


def ending_of(record: dict) -> Ending:
    """Return the ending of a record with a label."""
    failed = has_failed(record)
    states = [turn["state"] for turn in record["turns"]]
    states.append(record.get("last_state", ""))
    said = [split_state(state)[1] for state in states]
    # A malformed command leaves the program as it was, and its error.
    sound = [text for text in said if not text.startswith("malformed: ")]
    error = error_class(sound[-1]) if sound and sound[-1] else HIDDEN
    return Ending(
        str(record["bug_id"]),
        record["label"],
        failed,
        record["status"],
        len(record["turns"]),
        str(record.get("corruptions") or UNKNOWN),
        error_class(said[0]),
        error if failed else _PASS,
        record["return"],
    )


def has_failed(record: dict) -> bool:
    """Return True if the program of a record fails a test at the end."""
    shown = record.get("passed_shown", record["status"] == "solved")
    return not record.get("passed", shown)


def error_class(feedback: str) -> str:
    """Return the class of a line of feedback: an exception's name, or a few words."""
    if not feedback:
        return _PASS
    if feedback in (USED_UP, ENDED):
        return feedback
    name = exception_in(feedback)
    # "test 1: failed" is of an assert of which no value is known.
    return name if name and name != "failed" else "wrong value"

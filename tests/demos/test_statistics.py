"""Figures about demonstrations, against values worked out by hand."""

import pytest

from repair.demos.make import Demo
from repair.demos.replay import Outcome
from repair.demos.statistics import first_failure, summarise
from repair.tasks import Bug, Task

CODE = "def f(x):\n    return x"


def demo(faulty, commands, feedbacks, corruptions=1):
    """Return an episode whose states show the faulty program, then `CODE`."""
    programs = [faulty, CODE] if isinstance(faulty, str) else faulty
    states = tuple(
        "".join(f"L {n} {line}\n" for n, line in enumerate(code.split("\n"), 1))
        + f"***\n{feedback}\n"
        for code, feedback in zip(programs, feedbacks, strict=True)
    )
    bug = Bug("t/0", Task("t", "Text.", CODE, ("assert f(1) == 1",)), programs[0])
    bug = Bug(bug.bug_id, bug.task, bug.faulty_code, corruptions)
    return Demo(bug, states, (*commands, "### EXIT"))


ONE = demo(
    "def f(x):\n    return yes",
    ["### REPW 2 >>>yes >>>x"],
    ["line 2: NameError: name 'yes' is not defined", ""],
)
TWO = demo(
    ["def f(y):", "def f(x):", CODE],
    ["### REPL 1 >>>def f(x):", "### ADDL 2 >>>    return x"],
    ["test 1: got ***", "test 1: got None", ""],
    corruptions=3,
)


def test_figures_of_two_demonstrations():
    dropped = [Outcome(None, reason) for reason in "bab"]
    kept = [Outcome(ONE, kinds=("word",)), Outcome(TWO)]
    report = summarise([*dropped, *kept], ["x"])
    assert report.made == 2
    assert (report.dropped, report.kinds) == ({"a": 1, "b": 2}, {"word": 1})
    assert report.unrunnable == ("x",)
    assert report.verbs == {"ADDL": 1, "EXIT": 2, "REPL": 1, "REPW": 1}
    assert report.starts == {"NameError": 1, "failed": 1}
    assert (report.by_edits, report.edits) == ({1: 1, 2: 1}, 1.5)
    # "yes" to "x" is 3; "y" to "x", a newline and "    return x" are 14.
    assert report.edit_distance == (3 + 14) / 2
    assert report.by_corruptions == {1: 3, 3: 14}
    assert report.by_verb == {"REPW": 3}
    assert report.quantiles == {"0.1": 3, "0.25": 3, "0.5": 3, "0.75": 14, "0.9": 14}
    # Without blanks and newlines the second lacks "returnx".
    assert report.unspaced_distance == (3 + 8) / 2
    # The second also shows a state that lacks a newline and "    return x".
    assert report.states_distance == (3 + 14 + 13) / 3


def test_figures_of_nothing():
    report = summarise([], [])
    assert (report.made, report.edits, report.edit_distance) == (0, 0, 0)
    assert report.quantiles == {} and report.states_distance == 0


@pytest.mark.parametrize(
    "feedback, expected",
    [
        ("test 1: got [5]", "failed"),
        ("test 2: got KeyError: 'x'", "failed"),
        ("test 1: failed", "failed"),
        ("test 3: line 2: TypeError: f() takes 1: not 2", "TypeError"),
        ("test 1: TypeError: f() takes 0 positional arguments", "TypeError"),
        ("line 1: IndentationError: unexpected indent", "IndentationError"),
        (
            "setup: line 4: ModuleNotFoundError: No module named 'x'",
            "ModuleNotFoundError",
        ),
        ("line 2: StopIteration", "StopIteration"),
        ("out of time or memory", "timeout"),
        ("the program ended the interpreter", "crashed"),
    ],
)
def test_what_is_wrong_at_first(feedback, expected):
    first = demo("***\n", ["### REPL 1 >>>x"], [feedback, ""])
    assert first_failure(first) == expected

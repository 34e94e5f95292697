"""Endings of episodes, and the classes of their errors."""

import pytest

from repair.report_page.endings import ending_of, error_class


@pytest.mark.parametrize(
    "feedback, found",
    [
        ("", "none"),
        ("test 2: got [1, 2]", "wrong value"),
        ("test 1: failed", "wrong value"),
        ("test 1: line 3: IndexError: list index out of range", "IndexError"),
        ("line 2: SyntaxError: invalid syntax", "SyntaxError"),
        ("setup: ImportError", "ImportError"),
        ("out of time or memory", "out of time or memory"),
        ("the program ended the interpreter", "the program ended the interpreter"),
    ],
)
def test_a_line_of_feedback_has_a_class(feedback, found):
    assert error_class(feedback) == found


def record(*said, **more):
    states = [f"L 1 x\n***\n{text}\n" for text in said]
    base = {"bug_id": "a", "label": "greedy", "status": "max_turns", "return": -0.5}
    turns = [{"state": state} for state in states[:-1]]
    return base | {"turns": turns, "last_state": states[-1]} | more


def test_a_malformed_command_leaves_the_error_as_it_was():
    found = ending_of(
        record("test 1: got 1", "line 1: NameError", "malformed: no line 9")
    )
    assert (found.start, found.error, found.turns) == ("wrong value", "NameError", 2)
    assert found.failed and found.greedy and found.corruptions == "unknown"


def test_hidden_tests_decide_in_an_evaluation():
    found = ending_of(record("test 1: got 1", "", passed=False, corruptions=3))
    assert (found.failed, found.error) == (True, "hidden tests alone")
    assert found.corruptions == "3"
    found = ending_of(record("test 1: got 1", "", passed=True, passed_shown=True))
    assert (found.failed, found.error) == (False, "none")


def test_a_step_of_training_knows_the_shown_tests():
    assert not ending_of(record("x: 1", "", passed_shown=True)).failed
    assert ending_of(record("x: 1", "", passed_shown=False)).failed
    # An older record has its status alone.
    assert ending_of(record("x: 1", "")).failed
    assert not ending_of(record("x: 1", "", status="solved")).failed

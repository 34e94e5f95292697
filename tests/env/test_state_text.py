"""The text of a state, written and read back."""

import pytest

from repair.env.state_text import join_state, split_state, unnumber_lines
from repair.env.tools import LineEditor


@pytest.mark.parametrize("code", ["", "x = 1", "a\n\nL 3 b\n***", "\u2028\n\tb"])
def test_a_state_is_read_back(code):
    shown = LineEditor(code).render()
    state = join_state(shown, "got '***'")
    assert state.startswith(shown) and state.endswith("\n***\ngot '***'\n"[not code :])
    assert split_state(state) == (shown, "got '***'")
    assert unnumber_lines(shown) == (code.split("\n") if code else [])


def test_without_feedback_a_state_ends_with_an_empty_line():
    assert join_state("L 1 x\n", "") == "L 1 x\n***\n\n"
    assert split_state("L 1 x\n***\n\n") == ("L 1 x\n", "")


def test_a_state_that_never_was_is_empty():
    assert split_state("") == ("", "")


def test_lines_that_are_not_all_numbered_stay():
    assert unnumber_lines("x = 1\nL 2 y\n") == ["x = 1", "L 2 y"]
    assert unnumber_lines("L 2 y\nL 1 x\n") == ["L 2 y", "L 1 x"]

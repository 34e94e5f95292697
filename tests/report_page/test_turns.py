"""Turns: states read back, and the edits between them."""

import random

import pytest

from repair.report_page.turns import TurnRow, diff, turns_of


def test_an_edit_is_shown_within_the_program():
    before = ["def f(x):", "    return x - 1", "# end"]
    rows = diff(before, ["def f(x):", "    return x + 1"])
    assert rows[0] == TurnRow(" ", 1, "def f(x):")
    assert [(r.sign, r.number) for r in rows[1:]] == [("-", 2), ("-", 3), ("+", 2)]


def test_a_line_that_becomes_like_its_neighbour_changes_in_its_place():
    rows = diff(["a", "x", "b", "c"], ["a", "b", "b", "c"])
    assert [(row.sign, row.number) for row in rows] == [
        (" ", 1),
        ("-", 2),
        ("+", 2),
        (" ", 3),
        (" ", 4),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_diff_holds_both_programs(seed):
    rng = random.Random(seed)
    before, after = ([rng.choice("abc") for _ in range(rng.randrange(8))] for _ in "xy")
    rows = diff(before, after)

    def lines(signs):
        return [r.head + r.changed + r.tail for r in rows if r.sign in signs]

    assert (lines(" -"), lines(" +")) == (before, after)
    assert [r.number for r in rows if r.sign in " -"] == list(range(1, len(before) + 1))


def test_what_differs_within_a_line_is_marked():
    old, new = diff(["    return x - 1"], ["    return x + 1"])
    assert old == TurnRow("-", 1, "    return x ", "-", " 1")
    assert new == TurnRow("+", 1, "    return x ", "+", " 1")
    old, new = diff(["aa"], ["aaa"])
    assert (old.head, old.changed, old.tail) == ("aa", "", "")
    assert (new.head, new.changed, new.tail) == ("aa", "a", "")


def test_equal_programs_have_no_edit():
    assert {row.sign for row in diff(["a", "a"], ["a", "a"])} == {" "}


def record(*states, code, status="solved", **more):
    turns = [{"state": s, "command": "c", "reward": 0.0} for s in states]
    return {"turns": turns, "code": code, "status": status} | more


def test_feedback_is_what_came_of_the_turn():
    last = "L 1 b\n***\n\n"
    found = turns_of(record("L 1 a\n***\nbad\n", last, code="b", last_state=last))
    assert [turn["feedback"] for turn in found] == ["", ""]
    assert [[row.sign for row in turn["rows"]] for turn in found] == [["-", "+"], [" "]]


def test_a_turn_that_broke_shows_no_edit():
    (turn,) = turns_of(record("L 1 a\n***\nbad\n", code="z", status="fault"))
    assert turn["rows"] == [TurnRow(" ", 1, "a")]
    assert turns_of(record(code="z")) == []

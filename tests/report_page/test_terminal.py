"""Episodes in a terminal."""

import io
import re

import pytest
from rich.console import Console

from repair.errors import UserError
from repair.report_page import endings, terminal


@pytest.fixture
def say(runs):
    def say(*choice):
        console = Console(file=io.StringIO(), width=100)
        terminal.show(runs[0], console, *choice)
        return console.file.getvalue()

    return say


def test_what_there_is_is_listed(say):
    told = say()
    assert "50.0 (25.0 to 75.0)" in told and "rlvr_2" in told
    assert "RLVR, step 2" in told
    told = say("2")
    assert "one/1" in told and "1 solved, 1 exited_unsolved" in told
    assert "2 exited_unsolved" in told
    assert "one/2" not in say("2", "", "", "solved")


def test_a_group_is_shown_turn_by_turn(say):
    told = say("2", "one/1")
    assert "sample 0: solved, return +1.00" in told
    assert "sample 1: exited_unsolved, return -0.50" in told
    assert "### REPW 2 >>>- 1 >>>+ 1" in told
    assert "-   2     return x - 1" in told and "+   2     return x + 1" in told
    assert "feedback: all tests pass" in told
    assert "feedback: malformed: no line 9" in told
    assert "reward +1.00  return +1.00  advantage +1.50  log-prob" in told
    assert "EXIT -" in told or "\u2423EXIT" in told
    assert "\u2028" not in told and "\\u202e" in told
    assert "not learnt from" not in told and "not learnt from" in say("2", "one/2")
    assert "hidden tests pass" in say("eval_sft", "one/1", "greedy")


def test_samples_and_statuses_are_chosen(say):
    assert "sample 1" not in say("2", "one/1", "0")
    assert "sample 0" not in say("2", "one/1", "", "exited_unsolved")


def table_of(run, **chosen):
    """Return the cells of the list of episodes, below its headings."""
    head, *lines = terminal.list_episodes(run, terminal.Listing(**chosen))
    assert head.split() == list(endings.SORTS)
    return [re.split("  +", line) for line in lines]


def test_episodes_are_a_list_that_sorts_and_filters(runs):
    everything = table_of(runs[0])
    assert len(everything) == 6 and everything[0] == [
        *("+1.00", "2", "solved", "1", "wrong value", "none", "greedy", "one/1"),
    ]
    returns = [row[0] for row in table_of(runs[0], sort="return")]
    assert returns == ["-0.50", *["+0.00"] * 3, *["+1.00"] * 2]
    assert [row[0] for row in table_of(runs[0], sort="-return")] == returns[::-1]
    failed = table_of(runs[0], failed=True, sort="sample")
    assert [row[-2:] for row in failed] == [
        ["0", "one/2"],
        ["1", "one/1"],
        ["1", "one/2"],
        ["greedy", "one/2"],
    ]
    assert failed == table_of(runs[0], status="exited_unsolved", sort="sample")
    assert failed == table_of(runs[0], error="wrong value", sort="sample")
    assert len(table_of(runs[0], step="2", group="one/1")) == 2
    assert len(table_of(runs[0], sample="greedy")) == 2


def test_a_list_of_nothing_says_what_there_is(runs):
    said = "none of the 6 episodes .* status exited_unsolved, solved; error none, wrong"
    with pytest.raises(UserError, match=said):
        table_of(runs[0], status="lost")
    with pytest.raises(UserError, match="no group 'x'"):
        table_of(runs[0], group="x")


@pytest.mark.parametrize(
    "choice, says",
    [
        (("9",), "no episodes of step '9'; it has those of: eval_sft"),
        (("2", "x"), "no group 'x'; it has 2: one/1, one/2"),
        (("2", "one/1", "7"), "no sample '7'; it has: 0, 1"),
        (("2", "", "", "lost"), "as 'lost'; they ended as: exited_unsolved, solved"),
        (("", "one/1"), "give --step too"),
        (("2", "", "0"), "give --group too"),
    ],
)
def test_what_is_not_there_is_refused(say, choice, says):
    with pytest.raises(UserError, match=says):
        say(*choice)

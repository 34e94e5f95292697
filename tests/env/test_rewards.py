"""The reward formula against cases computed by hand."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repair.env import Environment, FunctionVerifier, Rewards
from repair.env.rewards import TurnFacts, turn_reward
from repair.errors import UserError
from repair.tasks import Bug, Task

# (rewards, facts of the turn, reward by hand); powers of two add without rounding.
CASES = [
    # The paper's terms, at their defaults.
    ({}, {}, 0.0),
    ({}, {"passed": True, "newly_solved": True}, 1.0),
    ({}, {"passed": True, "held": True}, 0.0),
    ({}, {"malformed": True}, -0.5),
    ({}, {"cut": True}, -0.5),
    ({}, {"malformed": True, "cut": True}, -0.5 - 0.5),
    ({}, {"passed": True, "newly_solved": True, "cut": True}, 1.0 - 0.5),
    ({}, {"exited": True}, 0.0),
    ({}, {"passed": True, "held": True, "exited": True}, 0.0),
    # Held while the program passes: taken back, and earned anew.
    ({}, {"held": True}, -1.0),
    ({}, {"passed": True}, 1.0),
    ({"solved": 4.0}, {"held": True, "cut": True}, -4.0 - 0.5),
    ({"take_back": False}, {"held": True}, 0.0),
    ({"take_back": False}, {"passed": True}, 0.0),
    ({"take_back": False}, {"passed": True, "newly_solved": True}, 1.0),
    # Each term has a price of its own.
    ({"solved": 4.0}, {"passed": True, "newly_solved": True}, 4.0),
    ({"solved": 4.0}, {"passed": True, "held": True}, 0.0),
    ({"malformed": -0.25}, {"malformed": True}, -0.25),
    ({"missing_exit": -2.0}, {"cut": True}, -2.0),
    ({"missing_exit": -2.0}, {"exited": True}, 0.0),
    ({"exit_unsolved": -0.25}, {"exited": True}, -0.25),
    ({"exit_unsolved": -0.25}, {"exited": True, "passed": True, "held": True}, 0.0),
    ({"exit_unsolved": -0.25}, {"cut": True}, -0.5),
    # Partial credit: half of the tests are new at 0.5 each share.
    ({"dense": 0.5}, {"share_gained": 0.5}, 0.25),
    ({"dense": 0.5}, {"share_gained": 0.0}, 0.0),
    ({}, {"share_gained": 0.5}, 0.0),
    # Costs of every command, and of every character.
    ({"turn_cost": 0.125}, {}, -0.125),
    ({"edit_cost": 0.25}, {"edited": 3}, -0.75),
    ({}, {"edited": 3}, 0.0),
    # A pass that the program could have forged.
    ({}, {"passed": True, "newly_solved": True, "by_value": False}, 0.0),
    ({"dense": 0.5}, {"share_gained": 0.5, "by_value": False}, 0.0),
    ({}, {"malformed": True, "by_value": False}, -0.5),
    (
        {"trust_in_child": True, "dense": 0.5},
        {"passed": True, "newly_solved": True, "share_gained": 1.0, "by_value": False},
        1.0 + 0.5,
    ),
    # All at once: -0.125 - 4 * 0.25 + 2 + 0.5 * 0.5 - 1.
    (
        {
            "solved": 2.0,
            "dense": 0.5,
            "turn_cost": 0.125,
            "edit_cost": 0.25,
            "missing_exit": -1.0,
        },
        {
            "passed": True,
            "newly_solved": True,
            "share_gained": 0.5,
            "edited": 4,
            "cut": True,
        },
        0.125,
    ),
]
RULES = {"end_on_solve", "tests"}  # they decide how an episode goes, not its prices


@pytest.mark.parametrize(("rewards", "facts", "expected"), CASES)
def test_reward_of_a_turn(rewards, facts, expected):
    assert turn_reward(Rewards(**rewards), TurnFacts(**facts)) == expected


def test_the_table_covers_every_field():
    priced = {name for rewards, _, _ in CASES for name in rewards}
    assert priced | RULES == {field.name for field in dataclasses.fields(Rewards)}
    facts = {name for _, facts, _ in CASES for name in facts}
    assert facts == {field.name for field in dataclasses.fields(TurnFacts)}


@pytest.mark.parametrize(
    ("rules", "rewards", "statuses"),
    [
        # The state "a" passes the shown test, "ab" the hidden one too.
        ({}, [1.0, 0.0, 0.0], [None, None, "solved"]),
        ({"end_on_solve": True}, [1.0], ["solved"]),
        ({"tests": "all"}, [0.0, 1.0, 0.0], [None, None, "solved"]),
        ({"tests": "all", "end_on_solve": True}, [0.0, 1.0], [None, "solved"]),
    ],
)
def test_rules_of_an_episode(rules, rewards, statuses):
    task = Task("t", "", "ab", ("a",), "", ("b",))
    verifier = FunctionVerifier(lambda state, test: "" if test in state else "no")
    environment = Environment(verifier, Rewards(**rules))
    environment.reset(Bug("t/0", task, "x"))
    commands = ["### REPL 1 >>>a", "### REPL 1 >>>ab", "### EXIT"]
    steps = [environment.step(command) for command in commands[: len(rewards)]]
    assert [step.reward for step in steps] == rewards
    assert [step.status for step in steps] == statuses


@pytest.mark.parametrize(
    ("rules", "total"), [({}, 0.0), ({"take_back": False}, 1.0)], ids=str
)
def test_solve_break_again_and_exit(rules, total):
    environment = environment_of(rules)
    commands = ["### REPL 1 >>>a", "### REPL 1 >>>x", "### EXIT"]
    steps = [environment.step(command) for command in commands]
    assert steps[-1].status == "exited_unsolved"
    assert sum(step.reward for step in steps) == total
    if not rules:
        assert [step.reward for step in steps] == [1.0, -1.0, 0.0]


@given(st.lists(st.sampled_from("axb"), min_size=1, max_size=9), st.booleans())
def test_toggling_earns_nothing(lines, exits):
    """The total holds the solving reward once if the end passes, else not at all."""
    environment = environment_of({"missing_exit": 0.0})
    commands = [f"### REPL 1 >>>{line}" for line in lines]
    steps = [environment.step(c) for c in commands + ["### EXIT"] * exits]
    assert sum(step.reward for step in steps) == (lines[-1] == "a")


def environment_of(rules):
    """Return an environment that has begun at "x", where "a" passes."""
    verifier = FunctionVerifier(lambda state, test: "" if test in state else "no")
    environment = Environment(verifier, Rewards(**rules))
    environment.reset(Bug("t/0", Task("t", "", "a", ("a",)), "x"))
    return environment


def test_unknown_tests_are_refused():
    with pytest.raises(UserError, match="tests is 'hidden', expected one of shown"):
        Rewards(tests="hidden")

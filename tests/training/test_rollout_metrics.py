"""Metrics of rollouts against counts by hand."""

import collections
import random

import numpy as np
import pytest

from repair.env import StepResult
from repair.rollout.rollout import Rollout
from repair.tasks import Bug, Task
from repair.text.episodes import Episode
from repair.training.rollout_metrics import STATUSES, rollout_metrics


def rollout(bug, status, said=(), reward=0.0, tokens=3):
    """Return an episode of commands, each with True where it was malformed."""
    bug = Bug(bug, Task(bug, "", "", ()), "")
    steps = [StepResult("", reward, False, None, False, slip) for _, slip in said]
    last = StepResult("", reward, True, status, status == "solved", False)
    if steps:
        steps[-1] = StepResult("", reward, True, status, last.passed, said[-1][1])
    episode = Episode()
    for turn in range(len(steps)):
        episode.append([1, 2])
        episode.append([1] * tokens, turn, [0.0] * tokens)
    initial = StepResult("", 0.0, False, None, False, False) if steps else last
    return Rollout(bug, 0, episode, initial, steps, [text for text, _ in said], "")


GOOD, BAD = ("### DELL 1", False), ("### DELL 99", True)


def test_outcomes_and_groups_by_hand():
    found = rollout_metrics(
        [
            rollout("a", "solved", [GOOD], 1.0),
            rollout("a", "solved", [GOOD], 1.0),
            rollout("b", "solved", [GOOD, GOOD], 0.5),
            rollout("b", "exited_unsolved", [GOOD], -0.5),
            rollout("c", "max_turns", [GOOD]),
            rollout("c", "truncated"),
            rollout("d", "fault", [GOOD]),
            rollout("d", "solved", [GOOD], 1.0, tokens=8),
        ]
    )
    assert found["solved"] == 0.5 and found["faults"] == 0.125
    assert found["gave_up"] == found["max_turns"] == found["truncated"] == 0.125
    # The broken episode of d does not count, so all of d is solved.
    assert (found["groups_solved"], found["groups_mixed"]) == (0.5, 0.25)
    assert found["groups_unsolved"] == 0.25 and found["pass@group"] == 0.75
    assert found["tokens_per_command"] == (7 * 3 + 8) / 8
    assert found["sampled_tokens"] == 29 and found["turns"] == 1
    assert found["reward"] == 3.5 / 8
    assert found["reward_std"] == pytest.approx(np.std([1, 1, 1, -0.5, 0, 0, 0, 1]))


def test_malformed_commands_by_verb():
    said = [
        *(GOOD, BAD, ("### EXIT", False), ("### EXIT now", True)),
        *(("### ADDL 1 >>>x", False), ("nonsense", True), ("### FROB 1", True)),
        *(("### REPLY 1 >>>x", True), ("###DELL 1", True), ("### DELL", True)),
    ]
    found = rollout_metrics([rollout("a", "max_turns", said)])
    named = {n: v for n, v in found.items() if n.startswith("malformed_")}
    assert named == {
        "malformed_DELL": 0.2,
        "malformed_EXIT": 0.1,
        "malformed_ADDL": 0.0,
        "malformed_other": 0.4,
    }
    assert sum(named.values()) == pytest.approx(found["malformed"])


def test_shares_add_up_for_any_rollouts():
    rng = random.Random(0)
    for _ in range(50):
        said = [rng.choice([GOOD, BAD, ("x", True)]) for _ in range(3)]
        rollouts = [
            rollout(rng.choice("abc"), rng.choice(list(STATUSES)), said)
            for _ in range(rng.randint(1, 9))
        ]
        found = rollout_metrics(rollouts)
        assert sum(found[name] for name in STATUSES.values()) == pytest.approx(1)
        groups = collections.defaultdict(set)
        for each in rollouts:
            if each.status != "fault":
                groups[each.bug.bug_id].add(each.status == "solved")
        kinds = [found[f"groups_{n}"] for n in ("solved", "mixed", "unsolved")]
        assert sum(kinds) == pytest.approx(float(bool(groups)))
        if groups:
            mixed = np.mean([len(seen) == 2 for seen in groups.values()])
            assert found["groups_mixed"] == pytest.approx(mixed)


def test_a_step_of_broken_or_empty_episodes_has_figures():
    found = rollout_metrics([rollout("a", "fault"), rollout("b", "fault")])
    assert found["faults"] == 1 and found["pass@group"] == 0
    assert found["tokens_per_command"] == found["turns"] == 0
    assert not any(name.startswith("malformed_") for name in found)

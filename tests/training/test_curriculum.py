"""What stage two plays: every program in its turn, others for those without signal."""

import dataclasses
import types

import numpy as np
import pytest

from repair.rollout.clock import Clock
from repair.training import curriculum
from repair.training.curriculum import Practice, choose, most_corruptions, substitutes
from repair.training.rlvr import RlvrConfig

CONFIG = RlvrConfig(problems=2, samples=2)


def test_choose_covers_all_bugs_before_repeating(bugs):
    config = dataclasses.replace(CONFIG, problems=4)
    drawn = [b for step in range(6) for b in choose(bugs, config, 0, step)]
    for start in range(0, 24, 6):
        assert {b.bug_id for b in drawn[start : start + 6]} == {b.bug_id for b in bugs}
    orders = {tuple(b.bug_id for b in drawn[s : s + 6]) for s in range(0, 24, 6)}
    assert len(orders) > 1
    assert choose(bugs, config, 0, 3) == drawn[12:16]
    assert choose(bugs, config, 1, 0) != drawn[:4]


def test_a_curriculum_opens_one_number_after_another():
    config = dataclasses.replace(CONFIG, curriculum=0.5, curriculum_steps=2)

    def levels(solved, **changes):
        changed = dataclasses.replace(config, **changes)
        return [
            most_corruptions(solved[:n], (1, 3), changed)
            for n in range(len(solved) + 1)
        ]

    # Two steps at 0.5 on average open the next; what opened it counts no more.
    solved = [0.0, 0.9, 0.5, 0.4, 0.6, 1.0, 0.0, 1.0, 1.0]
    assert levels(solved) == [1, 1, 1, 2, 2, 3, 3, 3, 3, 3]
    assert levels(solved, curriculum_steps=4) == [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert levels(solved, curriculum=1.0) == [1] * 9 + [2]
    assert levels(solved, curriculum=0.0) == [3] * 10


def test_substitutes_are_others_than_those_chosen(bugs):
    chosen = bugs[:2]
    drawn = substitutes(bugs, chosen, 3, 0, (5, 0))
    assert len({b.bug_id for b in drawn}) == 3
    assert not {b.bug_id for b in drawn} & {b.bug_id for b in chosen}
    assert drawn == substitutes(bugs, chosen, 3, 0, (5, 0))
    others = [substitutes(bugs, chosen, 3, 0, (5, n)) for n in range(1, 6)]
    assert any(other != drawn for other in others)
    assert len(substitutes(bugs, chosen, 99, 0, (5, 0))) == len(bugs) - 2


class Scripted:
    """An engine that earns 1 with its first sample of a few bugs, and 0 else."""

    def __init__(self, loud=()):
        self.loud, self.played, self.places = set(loud), [], []

    def collect(self, params, bugs, count, sampling, seed, observer):
        self.played.append([bug.bug_id for bug in bugs])
        self.places.append((seed.step, seed.first))
        return [
            types.SimpleNamespace(
                bug=bug,
                rewards=np.array([float(bug.bug_id in self.loud and sample == 0)]),
                status="max_turns",
                steps=[None],
            )
            for bug in bugs
            for sample in range(count)
        ]


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    monkeypatch.setattr(curriculum, "collect_rollouts", Scripted.collect)


@pytest.mark.parametrize("rounds", [0, 1, 2, 9])
def test_silent_programs_are_replaced_once_each(bugs, rounds):
    """Every round replaces what the round before brought, while there are others."""
    config, policy = dataclasses.replace(CONFIG, resample=rounds), Scripted()
    practice = Practice(policy, bugs, config, seed=0)
    rollouts, _ = practice.collect(None, 4, [], Clock())
    played = policy.played
    assert [len(bugs) for bugs in played] == [2] * min(rounds + 1, 3)
    assert len({bug for bugs in played for bug in bugs}) == sum(map(len, played))
    assert len(rollouts) == 2 * sum(map(len, played))
    # Step 0 is evaluation's; each round's episodes have places of their own.
    assert policy.places == [(5, 2 * n) for n in range(len(played))]


def test_programs_with_signal_are_not_replaced(bugs):
    drawn = choose(bugs, CONFIG, 0, 0)
    policy = Scripted(loud=[drawn[0].bug_id])
    config = dataclasses.replace(CONFIG, resample=1)
    Practice(policy, bugs, config, seed=0).collect(None, 0, [], Clock())
    assert policy.played[0] == [bug.bug_id for bug in drawn]
    assert len(policy.played[1]) == 1


def test_a_curriculum_holds_back_programs_with_more_faults(bugs):
    bugs = [dataclasses.replace(b, corruptions=1 + (i > 2)) for i, b in enumerate(bugs)]
    config = dataclasses.replace(CONFIG, problems=3, curriculum=0.5, curriculum_steps=1)
    policy = Scripted()
    practice = Practice(policy, bugs, config, seed=0)
    easy = {bug.bug_id for bug in bugs[:3]}
    assert practice.collect(None, 0, [], Clock())[1] == 1
    assert set(policy.played[0]) == easy
    assert practice.collect(None, 1, [0.6], Clock())[1] == 2
    assert set(policy.played[1]) != easy

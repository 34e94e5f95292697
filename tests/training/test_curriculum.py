"""The bugs of each step: every one in its turn, harder ones once others are solved."""

import collections
import dataclasses
import json

import pytest

from repair.env import StepResult
from repair.rollout.rollout import Rollout
from repair.tasks import Bug
from repair.text.episodes import Episode
from repair.training.curriculum import Curriculum


def episodes(bug, statuses):
    """Return an episode of the bug for each status."""
    return [
        Rollout(bug, n, Episode(), StepResult("", 0, True, s, False, False), [], [], "")
        for n, s in enumerate(statuses)
    ]


def share(bug, solved):
    """Return ten episodes of which such a share is solved."""
    count = round(10 * solved)
    return episodes(bug, ["solved"] * count + ["max_turns"] * (10 - count))


def test_all_bugs_are_picked_before_one_comes_again(bugs):
    curriculum = Curriculum(lambda epoch: bugs, 4, seed=0)
    drawn = [b for step in range(6) for b in curriculum.pick(step)]
    for start in range(0, 24, 6):
        assert {b.bug_id for b in drawn[start : start + 6]} == {b.bug_id for b in bugs}
    orders = {tuple(b.bug_id for b in drawn[s : s + 6]) for s in range(0, 24, 6)}
    assert len(orders) > 1
    assert Curriculum(lambda epoch: bugs, 4, seed=0).pick(3) == drawn[12:16]
    assert Curriculum(lambda epoch: bugs, 4, seed=1).pick(0) != drawn[:4]


def test_each_epoch_has_bugs_of_its_own(bugs):
    def source(epoch):
        return [dataclasses.replace(b, bug_id=f"{b.bug_id}@{epoch}") for b in bugs]

    curriculum = Curriculum(source, 4, seed=0)
    drawn = [b.bug_id for step in range(3) for b in curriculum.pick(step)]
    assert [name.split("@")[1] for name in drawn] == ["0"] * 6 + ["1"] * 6
    assert len(set(drawn)) == 12
    # With a history the bugs stay, since it is theirs.
    for rule in ({"share": 0.5}, {"by": "solve_rate"}):
        curriculum = Curriculum(source, 6, 0, **rule)
        assert {b.bug_id[-2:] for b in curriculum.pick(9)} == {"@0"}


def test_it_opens_one_number_of_corruptions_after_another(bugs):
    bugs = [
        dataclasses.replace(bug, corruptions=1 + n % 3) for n, bug in enumerate(bugs)
    ]

    def levels(solved, least=0.5, window=2):
        """Return the levels, each by a curriculum that was saved and resumed."""
        state, found = {}, []
        for step in range(len(solved) + 1):
            curriculum = Curriculum(lambda epoch: bugs, 2, 0, least, window)
            curriculum.restore(state)
            found.append(curriculum.most)
            if step < len(solved):
                curriculum.record(share(bugs[0], solved[step]))
            state = json.loads(json.dumps(curriculum.state()))
        return found

    # Two steps at 0.5 on average open the next; what opened it counts no more.
    solved = [0.0, 0.9, 0.5, 0.4, 0.6, 1.0, 0.0, 1.0, 1.0]
    assert levels(solved) == [1, 1, 1, 2, 2, 3, 3, 3, 3, 3]
    assert levels(solved, window=4) == [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert levels(solved, least=1.0) == [1] * 9 + [2]
    assert levels(solved, least=0.0) == [3] * 10
    easy = {bug.bug_id for bug in bugs if bug.corruptions == 1}
    curriculum = Curriculum(lambda epoch: bugs, 2, 0, 0.5)
    assert {bug.bug_id for bug in curriculum.pick(0)} == easy


def test_bugs_that_some_episodes_solve_come_more_often(bugs):
    many = [dataclasses.replace(bugs[0], bug_id=f"{n}") for n in range(40)]
    curriculum = Curriculum(lambda epoch: many, 4, 0, by="solve_rate")
    good, bad = "solved", "exited_unsolved"
    for bug in many[:10]:
        curriculum.record(episodes(bug, [good, bad, bad]))
    for bug, status in zip(many[10:30], [good] * 10 + [bad] * 10, strict=True):
        curriculum.record(episodes(bug, [status] * 3))
    drawn = [curriculum.pick(step) for step in range(2000)]
    assert all(len({b.bug_id for b in some}) == 4 for some in drawn)
    counts = collections.Counter(int(b.bug_id) // 10 for some in drawn for b in some)
    often, *others = (counts[n] / 8000 for n in range(4))
    # 4 * 10 of 70, a little less since none comes twice in a step.
    assert often == pytest.approx(40 / 70, abs=0.03)
    assert others == pytest.approx([1 / 7] * 3, abs=0.02)
    # Only the last visit counts.
    for bug in many[:10]:
        curriculum.record(episodes(bug, [good] * 3))
    again = [b for step in range(500) for b in curriculum.pick(step)]
    assert sum(int(b.bug_id) < 10 for b in again) / 2000 == pytest.approx(
        0.25, abs=0.03
    )


def test_a_resumed_rule_picks_the_same(bugs):
    def make():
        return Curriculum(lambda epoch: bugs, 3, 7, by="solve_rate")

    whole, state = make(), {}
    for step in range(6):
        resumed = make()
        resumed.restore(state)
        picked = whole.pick(step)
        assert resumed.pick(step) == picked
        for bug in picked:
            whole.record(episodes(bug, ["solved", "fault", "max_turns"]))
        state = json.loads(json.dumps(whole.state()))
    # Broken episodes do not count.
    assert set(map(tuple, state["outcomes"].values())) == {(1, 2)}
    assert len(Curriculum(lambda epoch: bugs, 9, 0, by="solve_rate").pick(0)) == 9


def test_without_a_rule_nothing_is_kept(bugs):
    curriculum = Curriculum(lambda epoch: bugs, 2, 0)
    curriculum.record(share(Bug("x", bugs[0].task, ""), 0.5))
    assert curriculum.state() == {"most": 1, "solved": [], "outcomes": {}}

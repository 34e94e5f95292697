"""The bugs of each step: every one in its turn, harder ones once others are solved."""

import dataclasses

from repair.training.curriculum import Curriculum


def test_all_bugs_are_picked_before_one_comes_again(bugs):
    curriculum = Curriculum(bugs, 4, seed=0)
    drawn = [b for step in range(6) for b in curriculum.pick(step, 9)]
    for start in range(0, 24, 6):
        assert {b.bug_id for b in drawn[start : start + 6]} == {b.bug_id for b in bugs}
    orders = {tuple(b.bug_id for b in drawn[s : s + 6]) for s in range(0, 24, 6)}
    assert len(orders) > 1
    assert Curriculum(bugs, 4, seed=0).pick(3, 9) == drawn[12:16]
    assert Curriculum(bugs, 4, seed=1).pick(0, 9) != drawn[:4]


def test_it_opens_one_number_of_corruptions_after_another(bugs):
    bugs = [
        dataclasses.replace(bug, corruptions=1 + n % 3) for n, bug in enumerate(bugs)
    ]

    def levels(solved, share=0.5, window=2):
        curriculum = Curriculum(bugs, 2, 0, share, window)
        return [curriculum.most_corruptions(solved[:n]) for n in range(len(solved) + 1)]

    # Two steps at 0.5 on average open the next; what opened it counts no more.
    solved = [0.0, 0.9, 0.5, 0.4, 0.6, 1.0, 0.0, 1.0, 1.0]
    assert levels(solved) == [1, 1, 1, 2, 2, 3, 3, 3, 3, 3]
    assert levels(solved, window=4) == [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert levels(solved, share=1.0) == [1] * 9 + [2]
    assert levels(solved, share=0.0) == [3] * 10
    easy = {bug.bug_id for bug in bugs if bug.corruptions == 1}
    curriculum = Curriculum(bugs, 2, seed=0)
    assert {bug.bug_id for bug in curriculum.pick(0, 1)} == easy

"""Outcomes by bug: packed into lines, and compared on the same bugs."""

import dataclasses
import json

import numpy as np
import pytest

from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.training.comparison import (
    by_bug,
    compare,
    count_changes,
    digest,
    on_same_bugs,
)
from repair.training.pass_rates import difference_intervals

BUGS = [
    Bug(f"{code}/{k}", Task(f"{code}/{k}", "", code, ("t",)), f"{code}{k}")
    for code in "xyz"
    for k in range(4)
]
NAMES = [bug.bug_id for bug in BUGS]


def outcomes(greedy, sampled=None, samples=4):
    counts = {n: x for n, x in zip(NAMES, greedy, strict=True) if x is not None}
    if sampled is None:
        return by_bug(BUGS, counts)
    drawn = {n: x for n, x in zip(NAMES, sampled, strict=True) if x is not None}
    return by_bug(BUGS, counts, drawn, samples)


def test_a_line_a_field():
    greedy = [1, 0, None, *[0] * 9]
    packed = outcomes(greedy, [4, 3, None, *[0] * 9])
    assert packed["programs"] == "0 0 0 0 1 1 1 1 2 2 2 2"
    assert packed["greedy"] == "1 0 - 0 0 0 0 0 0 0 0 0"
    assert packed["sampled"] == "4 3 - 0 0 0 0 0 0 0 0 0"
    assert packed["samples"] == 4
    assert outcomes(greedy).keys() == {"bugs", "programs", "greedy"}


@pytest.mark.parametrize(
    "change",
    [
        {"bug_id": "other"},
        {"faulty_code": "other"},
        {"task": dataclasses.replace(BUGS[0].task, code="other")},
        {"task": dataclasses.replace(BUGS[0].task, test_list=())},
        {"task": dataclasses.replace(BUGS[0].task, hidden_test_list=("t",))},
        # A hidden test is another than a shown one.
        {
            "task": dataclasses.replace(
                BUGS[0].task, test_list=(), hidden_test_list=("t",)
            )
        },
    ],
)
def test_the_digest_is_of_all_that_is_to_be_repaired(change):
    other = [dataclasses.replace(BUGS[0], **change), *BUGS[1:]]
    assert digest(other) != digest(BUGS) == digest(list(BUGS))
    assert digest(BUGS[::-1]) != digest(BUGS)


def test_differences_are_paired_and_by_program():
    mine = outcomes([1, 1, 1, 1, 0, 0, 0, None, 1, 0, 1, 0], [4, 3] * 6)
    theirs = outcomes([0, 1, 0, 1, 0, 0, 1, 1, None, 0, 1, 0], [2, 1] * 6, samples=2)
    found = compare(mine, theirs)
    assert found.keys() == {"pass@1", "sampled_pass@1", "pass@2"}
    # Without the two bugs of which an episode broke on either side.
    gaps = [1, 0, 1, 0, 0, 0, -1, 0, 0, 0]
    clusters = [0] * 4 + [1] * 3 + [2] * 3
    wanted = difference_intervals({"pass@1": gaps}, clusters)
    assert found["pass@1"] == wanted["pass@1"] and found["pass@1"]["mean"] == 0.1
    # 4 of 4 and 3 of 4 right against 2 of 2 and 1 of 2.
    assert found["sampled_pass@1"]["mean"] == pytest.approx((0 + 0.25) / 2)
    assert found["pass@2"]["mean"] == pytest.approx(0)
    assert compare(mine, outcomes([1] * 12)).keys() == {"pass@1"}


def test_an_evaluation_differs_from_itself_by_nothing():
    mine = outcomes([1, 0] * 6, [2, 0] * 6)
    for figure in compare(mine, mine).values():
        assert figure["mean"] == 0 and figure["low"] < 0 < figure["high"]


def test_changes_are_counted_by_bug_and_tested_by_program():
    mine = outcomes([1, 1, 1, 1, 0, 0, 0, None, 1, 0, 1, 0])
    theirs = outcomes([0, 1, 0, 0, 0, 0, 1, 1, None, 0, 0, 0])
    # x: three mended; y: one broken; z: one mended. Two programs better, one worse:
    # of the 8 outcomes of 3 fair coins all are as uneven, so p is 1.
    assert count_changes(mine, theirs) == {
        **{"bugs": 10, "mended": 4, "broken": 1},
        **{"better": 2, "worse": 1, "p": 1.0},
    }
    assert count_changes(mine, mine)["p"] == 1
    bugs = [Bug(f"{n}", Task(n, "", f"{n}", ("t",)), "") for n in range(40)]
    right = [{f"{n}": int(n in kept) for n in range(40)} for kept in ({0}, range(1, 7))]
    found = count_changes(*(by_bug(bugs, each) for each in right))
    assert (found["mended"], found["broken"]) == (1, 6)
    # 0 or 1 head of 7 fair coins, and the same for tails: (1 + 7) / 128 twice.
    assert found["p"] == pytest.approx(16 / 128)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.random(60) < 0.5, 4)
    bugs = [Bug(f"{n}", Task(n, "", f"{n // 4}", ("t",)), "") for n in range(len(hard))]
    ids = [bug.bug_id for bug in bugs]
    first = dict(zip(ids, (~hard).astype(int).tolist(), strict=True))
    better = first | {name: 1 for name in ids[::9]}
    found = compare(by_bug(bugs, better), by_bug(bugs, first))["pass@1"]
    assert 0 < found["low"] < found["mean"] < found["high"] < 0.12


def write(path, stages):
    path.write_text(json.dumps({"stages": stages}))
    return path


def test_stages_of_the_same_bugs_are_found(tmp_path):
    packed = outcomes([1] * 12)
    stages = {"init": {"outcomes": packed | {"bugs": "x"}}, "sft": {"outcomes": packed}}
    path = write(tmp_path / "results.json", stages)
    assert on_same_bugs(path, BUGS) == on_same_bugs(tmp_path, BUGS) == {"sft": packed}
    with pytest.raises(UserError, match="other bugs than these 3, .*--seed"):
        on_same_bugs(tmp_path, BUGS[:3])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"stages": 1}', '{"stages": {"sft": 2}}', "\x00"]
)
def test_what_are_no_results_is_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match="no results of an evaluation"):
        on_same_bugs(tmp_path, BUGS)


def test_results_without_outcomes_are_refused(tmp_path):
    with pytest.raises(UserError, match="no results of an evaluation"):
        on_same_bugs(tmp_path / "missing", BUGS)
    for held in ({}, {"outcomes": 3}, {"outcomes": {"bugs": 1}}):
        write(tmp_path / "results.json", {"sft": held})
        with pytest.raises(UserError, match="no outcomes by bug"):
            on_same_bugs(tmp_path, BUGS)

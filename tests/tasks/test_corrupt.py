"""Corruptions are what their record says, never nothing, and can be taken back."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repair.tasks.corrupt import KINDS, Corruption, apply_corruption, corrupt

KEEP = "def keep(items):\n    out = []\n    for x in items:\n        if x > 7:\n"
KEEP += "            out.append(x)\n    return out"
SUM = "def total(nums):\n    s = 0\n    for n in nums:\n        s += n * 2\n"
SUM += "    return s"

_line = st.text(alphabet="xyn=+(): 07'>", max_size=12)
_programs = st.lists(_line, min_size=1, max_size=6).map("\n".join)
_donors = st.lists(_programs, min_size=1, max_size=3).map(lambda d: [*d, KEEP, SUM])


@given(_programs, _donors, st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_record_replays_to_a_different_program(code, donors, seed, count):
    faulty, steps = corrupt(code, donors, random.Random(seed), count)
    assert len(steps) == count
    lines = code.split("\n")
    for step in steps:
        changed = apply_corruption(lines, step)
        assert changed not in (lines, code.split("\n"))
        assert any(line.strip() for line in changed)
        lines = changed
    assert "\n".join(lines) == faulty
    assert corrupt(code, donors, random.Random(seed), count) == (faulty, steps)


@given(_programs, _donors, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_words_are_whole_and_can_be_taken_back(code, donors, seed):
    rng = random.Random(seed)
    try:
        faulty, (step,) = corrupt(code, donors, rng, 1, kinds=("word",))
    except ValueError:
        return
    before, after = (c.split("\n")[step.line - 1] for c in (code, faulty))
    assert step.old in before and step.new not in before
    assert after.replace(step.new, step.old) == before


@pytest.mark.parametrize(
    "step, want",
    [
        (Corruption("delete", 2), ["a b", "c a"]),
        (Corruption("add", 4, text="z"), ["a b", "a", "c a", "z"]),
        (Corruption("add", 1, text="z"), ["z", "a b", "a", "c a"]),
        (Corruption("replace", 3, text="z"), ["a b", "a", "z"]),
        (Corruption("word", 1, old="a", new="q"), ["q b", "a", "c a"]),
    ],
)
def test_each_kind_by_hand(step, want):
    lines = ["a b", "a", "c a"]
    assert apply_corruption(lines, step) == want
    assert lines == ["a b", "a", "c a"]


def test_kinds_are_uniform_and_donated_lines_come_from_donors():
    rng = random.Random(0)
    steps = [corrupt(KEEP, [SUM], rng, 1)[1][0] for _ in range(2000)]
    shares = Counter(step.kind for step in steps)
    # Four standard deviations of a share of a quarter.
    assert all(abs(shares[kind] - 500) < 4 * 20 for kind in KINDS)
    donated = {step.text for step in steps if step.kind in ("add", "replace")}
    assert donated == set(SUM.split("\n"))


def test_words_turn_into_words_of_their_sort():
    rng = random.Random(0)
    pairs = {
        (step.old, step.new)
        for _ in range(400)
        for step in corrupt(KEEP, [SUM], rng, 1, kinds=("word",))[1]
    }
    news = {old: {new for o, new in pairs if o == old} for old, _ in pairs}
    assert news["7"] == {"0", "2"}
    assert news["return"] == {"def", "for", "in", "if"}
    # Names of the program itself and of the donor.
    assert {"out", "nums"} < news["x"] and not news["x"] & {"for", "in", "7", "+="}


def test_a_word_inside_another_is_left_alone():
    rng = random.Random(0)
    steps = [
        corrupt("n = len(n) == 2", [SUM], rng, 1, kinds=("word",))[1][0]
        for _ in range(200)
    ]
    # "n" is a part of "len" and "=" of "==", and the replacement is by text.
    assert {step.old for step in steps} == {"len", "==", "2"}


def test_what_cannot_be_changed_is_refused():
    rng = random.Random(0)
    with pytest.raises(ValueError, match="no corruption of"):
        corrupt("x", [], rng, 1, kinds=("delete", "add", "replace"))
    # With another kind allowed, a program of one line never loses its line.
    for _ in range(50):
        faulty, _ = corrupt("y = 1", ["", "z = 2"], rng, 2)
        assert faulty not in ("", "y = 1")

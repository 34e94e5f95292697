"""Generated tasks: exact splits, no two alike, tests that pin the program down."""

import collections
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from repair.errors import UserError
from repair.tasks import load_tasks
from repair.tasks.generated import COUNTS, generate
from repair.tasks.generated.family import families
from repair.tasks.generated.variants import anonymous, near_misses

EXHAUSTIVE = (pytest.mark.slow, pytest.mark.exhaustive)


@pytest.fixture(scope="module", params=[300, pytest.param(1000, marks=EXHAUSTIVE)])
def splits(request):
    """Each split whole, but for the first tasks of train."""
    return {
        split: generate(split, count=request.param if split == "train" else None)
        for split in COUNTS
    }


def _digest(tasks):
    fields = json.dumps([dataclasses.asdict(task) for task in tasks])
    return hashlib.sha256(fields.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("split", "seed", "count", "digest"),
    [
        pytest.param("train", 0, 4200, "00042fcefd398f95", marks=EXHAUSTIVE),
        ("train", 3, 300, "58c2e52042f194d1"),
        ("validation", 0, 128, "cf8dbd7972505da5"),
        ("validation", 1, 128, "3d18478b75978982"),
        ("test", 0, 256, "ad359f68dba5c823"),
        ("test", 5, 128, "cd4322f5a0d13da6"),
        ("heldout", 0, 128, "2d923c57bac283d0"),
        ("heldout", 2, 128, "911461a75841ae6d"),
    ],
)
def test_tasks_are_the_same_to_the_bit(split, seed, count, digest):
    """Published results name their tasks by split and seed, so these must not move."""
    assert _digest(generate(split, seed, count)) == digest


def _holds(code, tests):
    scope = {}
    try:
        exec(code, scope)
        for test in tests:
            exec(test, scope)
    except Exception:
        return False
    return True


def _code_without_function_name(task):
    name = re.match(r"def (\w+)", task.code)[1]
    return re.sub(rf"\b{name}\b", "f", task.code)


def test_every_reference_passes_its_eight_different_tests(splits):
    for tasks in splits.values():
        for task in tasks:
            tests = task.test_list + task.hidden_test_list
            assert (len(task.test_list), len(set(tests))) == (3, 8)
            assert _holds(task.code, tests)
            # A program that gives one value for all must not pass.
            assert len({test.split(" == ")[1] for test in task.test_list}) > 1
            assert 3 <= len(task.code.split("\n")) <= 15
            assert len(task.text.split()) <= 17 and max(map(len, tests)) <= 80


@pytest.mark.parametrize("count", [50, pytest.param(300, marks=EXHAUSTIVE)])
def test_no_program_of_a_split_occurs_in_another_under_any_names(count):
    seeds = {"train": (0, 1, 2), "validation": (0, 3), "test": (0, 4), "heldout": (0,)}
    programs = {
        split: {
            anonymous(task.code)
            for seed in seeds[split]
            for task in generate(split, seed, min(count, COUNTS[split]))
        }
        for split in seeds
    }
    for split, others in programs.items():
        for other in programs:
            assert split == other or not others & programs[other], (split, other)


def test_no_two_programs_of_a_split_are_alike(splits):
    for tasks in splits.values():
        assert len({_code_without_function_name(task) for task in tasks}) == len(tasks)
        assert len({task.task_id for task in tasks}) == len(tasks)


def test_shown_tests_tell_near_misses(splits):
    # What is left over gives the same values for all inputs (">=" for a maximum).
    missed = [
        _holds(miss, task.test_list)
        for task in splits["test"][:120]
        for miss in near_misses(task.code)
    ]
    assert len(missed) > 500
    assert sum(missed) / len(missed) < 0.08


def test_text_settles_the_program(splits):
    programs = collections.defaultdict(set)
    for tasks in splits.values():
        for task in tasks:
            programs[task.text].add(anonymous(task.code))
    assert [text for text, codes in programs.items() if len(codes) > 1] == []


def test_fewer_tasks_are_the_first_of_more(splits):
    tasks = splits["validation"]
    assert generate("validation", count=50) == tasks[:50]
    assert load_tasks("generated/validation", count=50) == tasks[:50]
    assert [t.task_id for t in tasks[:2]] == [f"generated/validation/{n}" for n in "01"]


def test_same_seed_same_bytes_in_another_process(splits):
    program = (
        "import hashlib, sys; from repair.tasks.generated import generate;"
        "print(hashlib.sha256(repr(generate('test')).encode()).hexdigest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert found == hashlib.sha256(repr(splits["test"]).encode()).hexdigest()
    assert generate("test", seed=1, count=20) != splits["test"][:20]


def test_too_many_tasks_and_unknown_splits_are_refused(monkeypatch):
    with pytest.raises(UserError, match="no split 'tests'; choose one of train"):
        generate("tests")

    class OneProgram:
        first = None

        def sketch(self, rng):
            self.first = self.first or families(held_out=True)[0].sketch(rng)
            return self.first

    monkeypatch.setattr(
        "repair.tasks.generated.generator.families", lambda held_out: [OneProgram()]
    )
    assert len(generate("heldout", count=1)) == 1
    with pytest.raises(UserError, match="asked for 2 tasks but gives only 1"):
        generate("heldout", count=2)

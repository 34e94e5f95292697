"""Differences that a resumed run may bring, and those that make it another run."""

import dataclasses
import json

import pytest

from repair.errors import UserError
from repair.training.changes import changed_fields, check_changes
from repair.training.config import Config
from repair.training.fields import flatten

FLAT = flatten(json.loads(json.dumps(dataclasses.asdict(Config()))))


def check(begun=(), old=FLAT, **changes):
    """Resume a run of the config `old` with other values of some fields."""
    new = FLAT | {name.replace("__", "."): value for name, value in changes.items()}
    found = changed_fields(old, new, FLAT)
    check_changes(found, new, begun, "runs/a")
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler__slots": 8},
        {"loss_chunk": 64},
        {"checkpoint_every": 7},
        {"checkpoint_minutes": 0.0},
        {"keep": 5},
        {"log__wandb": True},
        {"eval__samples": 16},
        {"rlvr__steps": 900},
        {"rlvr__sampled_tokens": 10},
        {"stages": ["sft", "rlvr"]},
        {"sandbox_workers": 3},
        {"mesh__fsdp": 4},
        {"sft__accumulate": 4},
        {"rlvr__rows": 4},
    ],
)
def test_what_changes_no_result_or_the_length_may_differ(changes):
    (name,) = changes
    dotted = name.replace("__", ".")
    for begun in ((), ("sft", "rlvr")):
        assert check(begun, **changes) == {dotted: (FLAT[dotted], changes[name])}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1),
        ("sft__rows", 3),
        ("rlvr__samples", 8),
        ("rlvr__optimizer__learning_rate", 0.5),
        ("sampler__cache_dtype", "bfloat16"),
        ("sampler__top_k", 3),
        ("eval__temperature", 1.0),
        ("text__max_turns", 3),
        ("train", "lora"),
    ],
)
def test_all_else_is_refused_with_both_values(name, value):
    dotted = name.replace("__", ".")
    with pytest.raises(UserError) as caught:
        check(**{name: value, "sampler__slots": 3})
    assert str(caught.value) == (
        f"runs/a holds a run of another config ({dotted}: {FLAT[dotted]!r} there,"
        f" {value!r} here); choose another --workdir or give the same config to resume"
    )


def test_every_field_is_known_so_that_a_new_one_is_refused_by_default():
    """No allowed name is a field that does not exist."""
    from repair.training import changes

    for name in (*changes._NO_RESULT, *changes._LENGTH):
        assert any(f == name or f.startswith(name) for f in FLAT), name


def test_rows_decide_what_is_in_a_minibatch():
    old = FLAT | {"rlvr.minibatches": 2}
    with pytest.raises(UserError, match="rlvr.rows: 16 there, 4 here"):
        check(old=old, rlvr__rows=4, rlvr__minibatches=2)


def test_sft_cannot_change_once_rlvr_has_begun_from_it():
    assert check(("sft",), sft__steps=2000)
    with pytest.raises(UserError, match="sft.steps can no longer change; .*init_from"):
        check(("sft", "rlvr"), sft__steps=2000)
    old = FLAT | {"stages": ["rlvr", "eval"]}
    with pytest.raises(UserError, match="stages can no longer change"):
        check(("rlvr",), old=old)
    assert check((), old=old)


def test_a_field_that_an_older_version_lacked_counts_as_its_default():
    old = {name: value for name, value in FLAT.items() if name != "rlvr.patience"}
    assert check(old=old) == {}
    assert check(old=old | {"gone": 1} | {"gone": "absent"}) == {}

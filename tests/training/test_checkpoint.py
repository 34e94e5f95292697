"""Checkpoints: exact round trips, torn files, and what the user is told."""

import json
import shutil
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.errors import UserError
from repair.training.checkpoint import Checkpointer, load_params

EXTRA = {"model": {"width": 8, "name": "tiny"}, "data": [3, 1]}


class Moments(typing.NamedTuple):
    mu: jax.Array
    nu: tuple


def make_state(seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    # Odd bit patterns must come back too: nan payloads, -0.0, denormals.
    bits = jax.random.bits(keys[0], (5, 7), jnp.uint32)
    return {
        "params": {
            "params": {
                "embed": {"kernel": jax.lax.bitcast_convert_type(bits, jnp.float32)},
                "norm": jax.random.normal(keys[1], (3,), jnp.bfloat16),
            },
            "lora": {},
        },
        "optimizer": (Moments(jnp.full((2, 2), -0.0), ()), (jnp.arange(3),)),
        "step": jnp.int32(17 + seed),
        "counts": jnp.arange(12, dtype=jnp.uint32).reshape(3, 4),
    }


def raw(leaf):
    return np.asarray(leaf).tobytes()


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and raw(a) == raw(b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints" / "sft"
    checkpointer = Checkpointer(folder)
    for step in (10, 100, 20_000):
        checkpointer.save(step, make_state(step), EXTRA | {"step": step})
    checkpointer.close()
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "sft")


@pytest.mark.parametrize("abstract", [False, True])
def test_round_trip_is_bit_exact(saved, abstract):
    like = jax.eval_shape(make_state) if abstract else make_state(1)
    checkpointer = Checkpointer(saved)
    assert checkpointer.latest_step() == 20_000
    state, extra = checkpointer.restore(like)
    assert_same(state, make_state(20_000))
    assert extra == EXTRA | {"step": 20_000}
    state, _ = checkpointer.restore(like, step=100)
    assert_same(state, make_state(100))
    checkpointer.close()


def test_only_the_last_steps_are_kept(saved):
    assert sorted(p.name for p in saved.iterdir()) == ["100", "20000"]


def test_load_params_takes_the_stage_or_a_step(saved):
    for where, step in ((saved, 20_000), (str(saved), 20_000), (saved / "100", 100)):
        params, extra = load_params(where)
        want = make_state(step)["params"]
        assert_same(params, {"params": want["params"]})
        assert extra["step"] == step and extra["model"] == EXTRA["model"]


def test_a_state_may_be_a_dataclass_with_params_only(tmp_path):
    class State(typing.NamedTuple):
        params: dict

    checkpointer = Checkpointer(tmp_path / "new" / "stage")
    assert checkpointer.latest_step() is None
    state = State({"w": jnp.arange(4.0)})
    checkpointer.save(0, state, {})
    assert_same(checkpointer.restore(state)[0], state)
    checkpointer.close()


def tearable(folder):
    """Return the files whose loss makes a step unreadable."""
    names = ["params/manifest.ocdbt", "params/_METADATA", "extra/metadata"]
    return [folder / n for n in names] + sorted((folder / "params" / "d").iterdir())


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("removed", [True, False])
def test_torn_step_is_told(folder, index, removed):
    path = tearable(folder / "20000")[index]
    if removed:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"sft/20000 is incomplete.*delete") as caught:
        load_params(folder)
    assert "\n" not in str(caught.value)
    checkpointer = Checkpointer(folder)
    with pytest.raises(UserError, match=r"sft/20000 is incomplete"):
        checkpointer.restore(make_state())
    # The advice works.
    checkpointer.close()
    shutil.rmtree(folder / "20000")
    checkpointer = Checkpointer(folder)
    assert_same(checkpointer.restore(make_state())[0], make_state(100))
    checkpointer.close()


def test_torn_optimizer_does_not_keep_params_from_being_read(folder):
    shutil.rmtree(folder / "20000" / "rest")
    load_params(folder)
    checkpointer = Checkpointer(folder)
    with pytest.raises(UserError, match="is incomplete"):
        checkpointer.restore(make_state())
    checkpointer.close()


def test_killed_save_leaves_the_step_before(folder):
    """A kill before the rename leaves a folder under another name."""
    killed = folder / "20001.orbax-checkpoint-tmp"
    shutil.copytree(folder / "20000", killed)
    shutil.rmtree(killed / "rest")
    assert load_params(folder)[1]["step"] == 20_000
    checkpointer = Checkpointer(folder)
    assert checkpointer.latest_step() == 20_000
    checkpointer.save(20_001, make_state(5), {})
    assert_same(checkpointer.restore(make_state())[0], make_state(5))
    checkpointer.close()
    assert sorted(p.name for p in folder.iterdir()) == ["20000", "20001"]


def test_first_leaf_that_does_not_fit_is_named(saved):
    checkpointer = Checkpointer(saved)
    like = make_state()
    like["params"]["params"]["norm"] = jnp.zeros(4, jnp.bfloat16)
    with pytest.raises(
        UserError, match=r"params/params/norm is bfloat16\[3\] there and bfl"
    ):
        checkpointer.restore(like)
    like = make_state()
    like["step"] = jnp.float32(0)
    with pytest.raises(UserError, match=r"step is int32\[\] there and float32\[\]"):
        checkpointer.restore(like)
    like = make_state() | {"more": jnp.zeros(2)}
    with pytest.raises(UserError, match=r"more is nothing there"):
        checkpointer.restore(like)
    like = make_state()
    del like["counts"]
    with pytest.raises(UserError, match=r"counts is uint32\[3, 4\] there and nothing"):
        checkpointer.restore(like)
    checkpointer.close()


def test_missing_checkpoint_is_told(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "7"):
        with pytest.raises(UserError, match=f"no checkpoint found in {path}"):
            load_params(path)
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(UserError, match="no checkpoint found"):
        checkpointer.restore(make_state())
    with pytest.raises(UserError, match="no checkpoint found in .*/7"):
        checkpointer.restore(make_state(), step=7)
    checkpointer.close()


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose a --workdir"):
        Checkpointer(tmp_path / "file" / "sft")


def test_extra_is_plain_json(saved):
    assert json.loads((saved / "100" / "extra" / "metadata").read_text())["data"]

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


def damage(path):
    """Yield ways to damage a step, each a function without arguments."""
    data = max((path / "params" / "d").iterdir(), key=lambda p: p.stat().st_size)
    whole = data.read_bytes()

    def flip():
        middle = len(whole) // 2
        flipped = bytes([whole[middle] ^ 1])
        data.write_bytes(whole[:middle] + flipped + whole[middle + 1 :])

    def empty_folder():
        shutil.rmtree(path)
        path.mkdir()

    yield flip
    yield lambda: data.write_bytes(whole[: len(whole) // 2])
    yield lambda: data.write_bytes(b"")
    yield data.unlink
    yield lambda: (path / "params" / "manifest.ocdbt").unlink()
    yield lambda: shutil.rmtree(path / "rest")
    yield lambda: (path / "extra" / "metadata").write_text("{}")
    yield lambda: (path / "manifest.json").unlink()
    yield lambda: (path / "manifest.json").write_text("[]")
    yield lambda: (path / "manifest.json").write_text("{")
    yield lambda: (path / "stray").write_text("")
    yield empty_folder


@pytest.mark.parametrize("way", range(12))
def test_a_damaged_step_is_set_aside_and_the_one_before_is_read(folder, way):
    list(damage(folder / "20000"))[way]()
    said = []
    params, extra = load_params(folder, said.append)
    assert extra["step"] == 100
    assert_same(params, {"params": make_state(100)["params"]["params"]})
    assert len(said) == 1 and "20000 is damaged (" in said[0] and "\n" not in said[0]
    with pytest.raises(UserError, match=r"sft/20000 is damaged \(.*delete") as caught:
        load_params(folder / "20000", said.append)
    assert "\n" not in str(caught.value)
    said.clear()
    checkpointer = Checkpointer(folder, report=said.append)
    assert len(said) == 1 and said[0].endswith("it is set aside")
    assert checkpointer.latest_step() == 100
    assert_same(checkpointer.restore(make_state())[0], make_state(100))
    checkpointer.save(20_000, make_state(3), {})
    assert_same(checkpointer.restore(make_state())[0], make_state(3))
    checkpointer.close()


def test_with_no_whole_step_left_a_reader_is_told(folder):
    for step in ("100", "20000"):
        (folder / step / "manifest.json").unlink()
    with pytest.raises(UserError, match="sft/100 is damaged"):
        load_params(folder, lambda line: None)
    checkpointer = Checkpointer(folder, report=lambda line: None)
    assert checkpointer.latest_step() is None
    checkpointer.close()


def test_steps_that_a_kill_left_over_are_deleted_on_opening(folder):
    shutil.copytree(folder / "100", folder / "7")
    Checkpointer(folder).close()
    assert sorted(p.name for p in folder.iterdir()) == ["100", "20000"]
    Checkpointer(folder, keep=1).close()
    assert [p.name for p in folder.iterdir()] == ["20000"]


def test_a_foreign_folder_with_a_number_is_no_step(folder):
    (folder / "99999").mkdir()
    (folder / "99999" / "notes.txt").write_text("mine")
    assert load_params(folder, lambda line: None)[1]["step"] == 20_000
    checkpointer = Checkpointer(folder, report=lambda line: None)
    assert checkpointer.latest_step() == 20_000
    assert (folder / "99999.damaged" / "notes.txt").read_text() == "mine"
    checkpointer.close()


def test_a_killed_save_leaves_the_step_before(folder):
    """Before its rename a step has another name, whatever it lacks."""
    killed = folder / "20001.writing"
    shutil.copytree(folder / "20000", killed)
    shutil.rmtree(killed / "rest")
    shutil.copytree(killed, folder / "20001.writing.orbax-checkpoint-tmp-1")
    shutil.copytree(killed, folder / "10.old")
    assert load_params(folder)[1]["step"] == 20_000
    checkpointer = Checkpointer(folder)
    assert checkpointer.latest_step() == 20_000
    checkpointer.save(20_001, make_state(5), {})
    assert_same(checkpointer.restore(make_state())[0], make_state(5))
    checkpointer.close()
    assert sorted(p.name for p in folder.iterdir()) == ["20000", "20001"]


def test_the_best_step_is_kept_beside_the_latest(folder):
    checkpointer = Checkpointer(folder)
    checkpointer.promote(100)
    checkpointer.save(20_001, make_state(5), EXTRA)
    assert sorted(p.name for p in folder.iterdir()) == ["20000", "20001", "best"]
    params, extra = load_params(folder / "best")
    assert extra["step"] == 100
    assert_same(params, {"params": make_state(100)["params"]["params"]})
    assert load_params(folder)[1] == EXTRA
    checkpointer.promote(20_001)
    assert load_params(folder / "best")[1] == EXTRA
    checkpointer.close()
    # Killed between the two renames of a promotion.
    (folder / "best").rename(folder / "best.old")
    Checkpointer(folder).close()
    assert load_params(folder / "best")[1] == EXTRA
    (folder / "best" / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="sft/best is damaged"):
        load_params(folder / "best")


def test_a_full_disk_leaves_the_steps_before(folder, monkeypatch):
    """As tensorstore and the system say it."""
    checkpointer = Checkpointer(folder)
    before = sorted(p.name for p in folder.iterdir())
    for error in (OSError(28, "No space left on device"), ValueError("RESOURCE\nmore")):

        def full(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(checkpointer._writer, "save", full)
        with pytest.raises(UserError, match="20001 cannot be written .*free some"):
            checkpointer.save(20_001, make_state(5), EXTRA)
        assert sorted(p.name for p in folder.iterdir()) == before
    checkpointer.close()


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

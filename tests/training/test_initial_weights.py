"""Starting weights: a published model, another run's checkpoint, adapters on a base."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.errors import UserError
from repair.model.hf.folder import save_hf
from repair.model.hf.peft import save_peft
from repair.model.llama import LlamaConfig
from repair.model.sharding import make_mesh
from repair.training import run as experiment
from repair.training.checkpoint import is_checkpoint, load_params
from repair.training.fields import from_dict
from repair.training.initial_weights import (
    load_adapted,
    load_checkpoint,
    source_digest,
    starting_weights,
    workdir_of,
    write_record,
)
from repair.training.manifest import write_manifest
from repair.training.metrics import read_metrics
from repair.training.policy import load_policy
from tests.training.test_run import changed, small, timeless


def quiet(line):
    """Take a line."""


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Return (config, workdir) of a run of SFT that trains all weights."""
    config, workdir = changed(stages=("sft",)), tmp_path_factory.mktemp("full")
    with jax.default_matmul_precision("float32"):
        experiment.run(config, workdir, report=quiet)
    return config, workdir


@pytest.fixture(scope="module")
def published(full, tmp_path_factory):
    """Return a folder in Hugging Face's format."""
    _, workdir = full
    folder = tmp_path_factory.mktemp("published") / "model"
    shape, params, _ = load_checkpoint(workdir / "checkpoints" / "sft")
    save_hf(folder, shape, params, workdir / "tokenizer")
    return folder


def lora(published, **changes):
    return changed(
        train="lora", init_from=str(published), model__lora_rank=2, **changes
    )


@pytest.fixture(scope="module")
def adapted(published, tmp_path_factory):
    """Return (config, workdir) of a run that trains adapters, SFT and RLVR."""
    config = lora(published, stages=("sft", "rlvr"), checkpoint_every=1)
    workdir = tmp_path_factory.mktemp("adapted")
    with jax.default_matmul_precision("float32"):
        experiment.run(config, workdir, report=quiet)
    return config, workdir


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("below", ["sft", "rlvr/12", "sft/best"])
def test_a_checkpoint_is_told_from_a_folder(tmp_path, below):
    path = tmp_path / "run" / "checkpoints" / below
    assert is_checkpoint(path) and workdir_of(path) == tmp_path / "run"
    assert not is_checkpoint(tmp_path / "sft")
    assert not is_checkpoint("HuggingFaceTB/SmolLM2-135M-Instruct")
    with pytest.raises(UserError, match="not below a run's checkpoints folder"):
        workdir_of(tmp_path / "sft")


@pytest.mark.slow
def test_checkpoints_of_adapters_hold_no_base(adapted, published):
    config, workdir = adapted
    for stage in ("sft", "rlvr"):
        folder = workdir / "checkpoints" / stage
        held, extra = load_params(folder)
        assert list(held) == ["lora"]
        assert extra["base"] == {
            "source": str(published),
            "digest": source_digest(published),
        }
        shape, whole, _ = load_checkpoint(folder)
        assert set(whole) == {"params", "lora"} and shape.lora_rank == 2
        assert_same(whole["params"], load_base(config)["params"])


def load_base(config):
    return starting_weights(config, make_mesh(1, 1, 1), quiet)[1]


@pytest.mark.slow
def test_a_run_of_adapters_resumes_to_the_same_bits(adapted, tmp_path):
    config, workdir = adapted
    shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "rlvr")
    latest = max((tmp_path / "run/checkpoints/sft").iterdir(), key=lambda p: p.name)
    shutil.rmtree(latest)
    experiment.run(config, tmp_path / "run", report=quiet)
    for stage in ("sft", "rlvr"):
        assert_same(
            load_params(tmp_path / "run" / "checkpoints" / stage)[0],
            load_params(workdir / "checkpoints" / stage)[0],
        )


@pytest.mark.slow
def test_the_frozen_base_is_in_memory_once(adapted, tmp_path):
    """Also after a resume: one buffer of the embedding's size more than before."""
    config, workdir = adapted
    shape = config.model.vocab_size, config.model.width

    def count():
        return sum(x.shape == shape for x in jax.live_arrays())

    before, held = count(), []

    def look(line):
        if line.startswith("sft: resumed"):
            held.append(count() - before)

    experiment.run(config, workdir, report=look)
    assert held == [1]


@pytest.mark.slow
def test_a_changed_or_moved_base_is_refused_and_can_be_named(
    published, adapted, tmp_path
):
    _, workdir = adapted
    run = shutil.copytree(workdir, tmp_path / "run")
    checkpoint = run / "checkpoints" / "rlvr"
    moved = shutil.copytree(published, tmp_path / "moved")
    shape, expected, _ = load_checkpoint(checkpoint)
    assert_same(load_checkpoint(checkpoint, base=str(moved))[1], expected)
    (weights,) = moved.glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match="are not those that .*give .*--model"):
        load_checkpoint(checkpoint, base=str(moved))
    policy = load_policy(checkpoint)
    policy.verifier.close()
    assert_same(policy.params, expected)


@pytest.mark.slow
def test_a_run_starts_from_the_checkpoint_of_another(full, tmp_path):
    """One SFT, many RLVRs: the first step is that of a run that did both."""
    config, workdir = full
    both = dataclasses.replace(config, stages=("sft", "rlvr"))
    experiment.run(both, tmp_path / "both", report=quiet)
    source = f"{workdir}/checkpoints/sft"
    branch = dataclasses.replace(config, stages=("rlvr",), init_from=source)
    experiment.run(branch, tmp_path / "branch", report=quiet)
    rows = [
        [r for r in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("both", "branch")
    ]
    assert timeless([r for r in rows[0] if r["stage"] == "rlvr"]) == timeless(rows[1])
    assert_same(
        load_params(tmp_path / "branch" / "checkpoints" / "rlvr")[0],
        load_params(tmp_path / "both" / "checkpoints" / "rlvr")[0],
    )
    assert not (tmp_path / "branch" / "demos.jsonl").exists()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        ours = tmp_path / "branch" / "tokenizer" / name
        assert ours.read_bytes() == (workdir / "tokenizer" / name).read_bytes()


@pytest.mark.slow
def test_a_branch_takes_adapters_and_their_base(adapted, published, tmp_path):
    config, workdir = adapted
    source = f"{workdir}/checkpoints/sft"
    branch = dataclasses.replace(config, stages=("rlvr",), init_from=source)
    experiment.run(branch, tmp_path / "branch", report=quiet)
    held, extra = load_params(tmp_path / "branch" / "checkpoints" / "rlvr")
    assert list(held) == ["lora"] and extra["base"]["source"] == str(published)
    assert_same(held, load_params(workdir / "checkpoints" / "rlvr")[0])
    model = dataclasses.replace(branch.model, lora_rank=8)
    with pytest.raises(
        UserError, match="lora_rank is 8, but the adapters of .* rank 2"
    ):
        starting_weights(
            dataclasses.replace(branch, model=model), make_mesh(1, 1, 1), quiet
        )


@pytest.mark.slow
def test_a_branch_says_where_the_prompt_differs(full):
    config, workdir = full
    said = []
    other = dataclasses.replace(
        config,
        init_from=f"{workdir}/checkpoints/sft",
        text=dataclasses.replace(config.text, prompt="full"),
    )
    starting_weights(other, make_mesh(1, 1, 1), said.append)
    assert len(said) == 1 and "text.prompt 'short', here 'full'" in said[0]


@pytest.mark.slow
def test_a_source_that_changed_under_a_branch_is_refused(full, tmp_path):
    config, workdir = full
    copy = shutil.copytree(workdir, tmp_path / "source")
    branch = dataclasses.replace(
        config, stages=("rlvr",), init_from=f"{copy}/checkpoints/sft"
    )
    experiment.run(branch, tmp_path / "branch", report=quiet)
    for step in (copy / "checkpoints" / "sft").iterdir():
        manifest = json.loads((step / "manifest.json").read_text())
        data = step / next(name for name in manifest if name.startswith("params/d/"))
        data.write_bytes(data.read_bytes() + b"\0")
        write_manifest(step)
    with pytest.raises(UserError, match="is not what the checkpoint was trained with"):
        experiment.run(branch, tmp_path / "branch", report=quiet)


def test_random_weights_follow_from_the_seed():
    mesh = make_mesh(1, 1, 1)
    model, params, base = starting_weights(small(), mesh, quiet)
    assert base is None
    assert_same(params, starting_weights(small(), mesh, quiet)[1])
    other = dataclasses.replace(small(), seed=1)
    differ = jax.tree.map(
        lambda a, b: bool(jnp.any(a != b)),
        params,
        starting_weights(other, mesh, quiet)[1],
    )
    assert any(jax.tree.leaves(differ))
    assert model.config == small().model


@pytest.fixture(scope="module")
def exported(adapted, published, tmp_path_factory):
    """Return the folder that `repair.export --adapter` writes of the run's SFT."""
    out = tmp_path_factory.mktemp("exported") / "adapter"
    params, extra = load_params(adapted[1] / "checkpoints" / "sft")
    save_peft(out, from_dict(extra["model"], LlamaConfig), params)
    write_record(out, extra, str(published))
    return out


@pytest.mark.slow
def test_exported_adapters_are_a_policy(adapted, exported, published, tmp_path, capsys):
    expected = load_checkpoint(adapted[1] / "checkpoints" / "sft")[1]
    moved = shutil.copytree(published, tmp_path / "moved")
    for base in ("", str(moved)):
        policy = load_policy(exported, base=base)
        policy.verifier.close()
        assert_same(policy.params, expected)
        assert policy.config.text == adapted[0].text
    assert "other weights" not in capsys.readouterr().out
    (weights,) = moved.glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    lines = []
    policy = load_policy(exported, base=str(moved), report=lines.append)
    policy.verifier.close()
    assert "has other weights than those" in lines[0]
    assert "other weights" not in capsys.readouterr().out  # a caller's to print


def test_a_folder_without_a_whole_record_is_no_policy(published, tmp_path):
    with pytest.raises(UserError, match="holds no adapters of a run"):
        load_adapted(published)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "repair.json").write_text("{}")
    with pytest.raises(UserError, match="holds no adapters of a run"):
        load_adapted(tmp_path)


@pytest.mark.slow
def test_a_run_starts_from_exported_adapters(adapted, exported, tmp_path):
    """RLVR from them equals RLVR from the checkpoint that they were exported from."""
    config, workdir = adapted
    branch = dataclasses.replace(config, stages=("rlvr",), adapter=str(exported))
    experiment.run(branch, tmp_path / "branch", report=quiet)
    assert_same(
        load_params(tmp_path / "branch" / "checkpoints" / "rlvr")[0],
        load_params(workdir / "checkpoints" / "rlvr")[0],
    )
    with pytest.raises(UserError, match="lora_rank is 3, but the adapters of"):
        other = dataclasses.replace(branch.model, lora_rank=3)
        load_base(dataclasses.replace(branch, model=other))

"""The export of a run's checkpoint, called as its command calls it."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from repair import export
from repair.errors import UserError
from repair.model.api import Model
from repair.model.hf.folder import load_hf
from repair.model.llama import LlamaConfig
from repair.model.lora import merge_adapters
from repair.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from repair.training.checkpoint import Checkpointer
from repair.training.config import Config

SHAPE = LlamaConfig(260, 16, 24, 1, 2, 1, 8, lora_rank=2, scan_layers=True)


@pytest.fixture(scope="module")
def params():
    fresh = jax.jit(Model(SHAPE).init_params)(jax.random.key(0))
    return jax.tree.map(lambda x: x + 0.25, fresh)  # adapters that change something


@pytest.fixture
def run(monkeypatch, tmp_path, params):
    """A function from fields of the run's config and flags to the written folder."""

    def export_run(fields, **values):
        run = dataclasses.replace(Config(), model=SHAPE, **fields)
        stage = tmp_path / "run" / "checkpoints" / "sft"
        checkpointer = Checkpointer(stage)
        extra = {"config": dataclasses.asdict(run), "model": dataclasses.asdict(SHAPE)}
        checkpointer.save(3, {"params": params}, extra)
        checkpointer.close()
        Tokenizer(train_tokenizer(["a b"], 260), "short").save(
            tmp_path / "run/tokenizer"
        )
        flags = {"checkpoint": str(stage), "out": str(tmp_path / "out")}
        flags |= {"adapter": False, "base": ""} | values
        monkeypatch.setattr(export.flags, "FLAGS", types.SimpleNamespace(**flags))
        export.main()
        return tmp_path / "out"

    return export_run


def test_the_whole_model_with_its_tokenizer(run, params, capsys):
    out = run({})
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    config, loaded = load_hf(out, scan_layers=True)
    assert config == dataclasses.replace(SHAPE, lora_rank=0)
    merged = merge_adapters(SHAPE, params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), loaded, merged
    )
    assert load_tokenizer(out, "short").encode("a") == [65]
    with pytest.raises(UserError, match="holds a model already"):
        export.main()


def test_the_adapter_names_its_base(run, params):
    out = run({"train": "lora", "init_from": "owner/model"}, adapter=True)
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "owner/model"
    stored = load_file(out / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    up = params["lora"]["layers"]["mlp"]["up"]["a"][0]
    np.testing.assert_array_equal(stored[name], up.T)


def test_the_base_can_be_named(run):
    out = run({"train": "lora"}, adapter=True, base="other/model")
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "other/model"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": "full", "init_from": "owner/model"}, "train='full'"),
        ({"train": "lora"}, "--base"),
    ],
)
def test_adapters_that_belong_to_nothing_are_refused(run, fields, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(fields, adapter=True)
    assert not (tmp_path / "out").exists()

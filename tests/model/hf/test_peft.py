"""Adapters in PEFT's format, by hand; PEFT itself loads them in test_parity."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from repair.errors import UserError
from repair.model.hf.peft import (
    ADAPTER,
    CONFIG,
    is_peft,
    load_peft,
    read_peft,
    save_peft,
)


@pytest.mark.parametrize("scan", [False, True])
def test_adapters_by_hand(make, scan, tmp_path):
    model, params = make(lora_rank=3, lora_alpha=5.0, scan_layers=scan)
    save_peft(tmp_path, model.config, params, base="owner/model")
    stored = load_file(tmp_path / ADAPTER)
    assert len(stored) == 2 * 2 * 7
    if scan:
        pair = {k: x[1] for k, x in params["lora"]["layers"]["mlp"]["down"].items()}
    else:
        pair = params["lora"]["layers_1"]["mlp"]["down"]
    where = "base_model.model.model.layers.1.mlp.down_proj"
    a, b = (stored[f"{where}.lora_{half}.weight"] for half in "AB")
    assert (a.shape, b.shape) == ((3, 40), (24, 3))
    np.testing.assert_array_equal(a, pair["a"].T)
    np.testing.assert_array_equal(b, pair["b"].T)
    settings = json.loads((tmp_path / CONFIG).read_text())
    assert settings["target_modules"] == sorted(
        f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")
    )
    assert (settings["r"], settings["lora_alpha"]) == (3, 5.0)
    assert settings["base_model_name_or_path"] == "owner/model"


def test_a_model_without_adapters_is_refused(make, tmp_path):
    model, params = make()
    with pytest.raises(UserError, match="no adapters"):
        save_peft(tmp_path, model.config, params)


def test_a_folder_that_cannot_be_written_is_named(make, tmp_path):
    model, params = make(lora_rank=3, lora_alpha=5.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write adapters"):
        save_peft(tmp_path / "file" / "model", model.config, params)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_adapters_are_read_as_they_were_written(make, scan, dtype, tmp_path):
    model, params = make(lora_rank=3, lora_alpha=5.0, scan_layers=scan)
    save_peft(tmp_path, model.config, params, dtype=dtype)
    assert is_peft(tmp_path) and not is_peft(tmp_path / "other")
    assert read_peft(tmp_path) == {"lora_rank": 3, "lora_alpha": 5.0}
    found = load_peft(tmp_path, model.config)["lora"]
    expected = jax.tree.map(
        lambda x: x.astype(dtype or x.dtype).astype(x.dtype), params["lora"]
    )
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_adapters_of_another_model_are_refused(make, tmp_path):
    model, params = make(lora_rank=3, lora_alpha=5.0)
    save_peft(tmp_path, model.config, params)
    other = dataclasses.replace(model.config, mlp_width=32)
    with pytest.raises(UserError, match="has shape .*belong to another model"):
        load_peft(tmp_path, other)
    with pytest.raises(UserError, match="is missing, expected"):
        load_peft(tmp_path, dataclasses.replace(model.config, layers=3))
    with pytest.raises(UserError, match="14 tensors that this model has no place for"):
        load_peft(tmp_path, dataclasses.replace(model.config, layers=1))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("use_dora", True, "use_dora=True; only plain LORA"),
        ("peft_type", "IA3", "peft_type='IA3'; only plain LORA"),
        ("r", "8", "r='8'"),
    ],
)
def test_other_kinds_of_adapters_are_refused(make, field, value, message, tmp_path):
    model, params = make(lora_rank=3, lora_alpha=5.0)
    save_peft(tmp_path, model.config, params)
    settings = json.loads((tmp_path / CONFIG).read_text()) | {field: value}
    (tmp_path / CONFIG).write_text(json.dumps(settings))
    with pytest.raises(UserError, match=message):
        read_peft(tmp_path)

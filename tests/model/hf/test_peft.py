"""Adapters in PEFT's format, by hand; PEFT itself loads them in test_parity."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from repair.errors import UserError
from repair.model.hf.peft import ADAPTER, CONFIG, save_peft


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

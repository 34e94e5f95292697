"""Folders in Hugging Face's format, without torch: round trips and refusals."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from repair.errors import UserError
from repair.model.hf import INDEX, WEIGHTS, load_hf, save_hf


@pytest.fixture(scope="module")
def saved(make, tmp_path_factory):
    """(folder, model, params) of an untied model."""
    model, params = make(tie_embeddings=False)
    folder = tmp_path_factory.mktemp("hf")
    save_hf(folder, model.config, params, eos_token_id=9)
    return folder, model, params


@pytest.fixture
def copy(saved, tmp_path):
    for name in (WEIGHTS, "config.json"):
        (tmp_path / name).write_bytes((saved[0] / name).read_bytes())
    return tmp_path


def edit(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip_is_exact(saved):
    folder, model, params = saved
    config, loaded = load_hf(folder, query_block=8)
    assert config == model.config
    assert_equal(loaded, params)
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == 9


def test_kernels_are_stored_transposed_and_whole(saved):
    folder, _, params = saved
    stored = load_file(folder / WEIGHTS)["model.layers.1.mlp.down_proj.weight"]
    kernel = params["params"]["layers_1"]["mlp"]["down"]["kernel"]
    np.testing.assert_array_equal(stored, kernel.T)


def test_stacked_trees_are_the_same_file(saved, tmp_path):
    config, stacked = load_hf(saved[0], scan_layers=True)
    save_hf(tmp_path, config, stacked)
    assert_equal(load_file(tmp_path / WEIGHTS), load_file(saved[0] / WEIGHTS))


def test_shards_in_bfloat16(copy):
    tensors = load_file(copy / WEIGHTS)
    tensors = {k: v.astype(ml_dtypes.bfloat16) for k, v in tensors.items()}
    names = sorted(tensors)
    (copy / WEIGHTS).unlink()
    index = {}
    for shard, part in (("a.safetensors", names[:8]), ("b.safetensors", names[8:])):
        save_file({name: tensors[name] for name in part}, copy / shard)
        index |= dict.fromkeys(part, shard)
    (copy / INDEX).write_text(json.dumps({"weight_map": index}))
    config, params = load_hf(copy)
    assert (config.dtype, config.param_dtype) == ("bfloat16", "bfloat16")
    head = params["params"]["head"]["kernel"]
    assert head.dtype == "bfloat16"
    np.testing.assert_array_equal(head, tensors["lm_head.weight"].T)
    config, params = load_hf(copy, dtype="float32", param_dtype="float32")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    (copy / "b.safetensors").unlink()
    with pytest.raises(UserError, match="b.safetensors"):
        load_hf(copy)


def test_rope_theta_of_either_version(copy):
    edit(copy, rope_parameters={"rope_theta": 5e5, "rope_type": "default"})
    assert load_hf(copy)[0].rope.theta == 5e5
    edit(copy, rope_parameters=None, rope_theta=2e4)
    assert load_hf(copy)[0].rope.theta == 2e4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, "Qwen2ForCausalLM"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_type='llama3'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "linear"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type='yarn'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"num_key_value_heads": 3}, "impossible model"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_size": 48}, "another config"),
        ({"num_hidden_layers": 3}, "lacks the tensor model.layers.2"),
    ],
)
def test_what_is_not_modelled_is_refused(copy, fields, message):
    edit(copy, **fields)
    with pytest.raises(UserError, match=message):
        load_hf(copy)


def test_missing_and_torn_files_are_named(copy):
    with pytest.raises(UserError, match="is not a folder"):
        load_hf(copy / "nowhere")
    whole = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"Cannot read .*{WEIGHTS}"):
        load_hf(copy)
    (copy / WEIGHTS).unlink()
    with pytest.raises(UserError, match="holds neither"):
        load_hf(copy)
    (copy / "config.json").write_text('{"architectures": ["Lla')
    with pytest.raises(UserError, match=r"Cannot read .*config\.json"):
        load_hf(copy)
    (copy / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (copy / WEIGHTS).write_bytes(whole)
    with pytest.raises(UserError, match="num_attention_heads"):
        load_hf(copy)


def test_a_folder_that_cannot_be_written_is_named(saved, tmp_path):
    _, model, params = saved
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        save_hf(tmp_path / "file" / "model", model.config, params)

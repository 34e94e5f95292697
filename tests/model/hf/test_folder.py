"""Folders in Hugging Face's format, without torch: round trips and refusals."""

import json
from fnmatch import fnmatch

import huggingface_hub
import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from repair.errors import UserError
from repair.model.hf import folder as hf
from repair.model.hf.folder import load_hf, local_folder, save_hf
from repair.model.hf.model_config import parse_config
from repair.model.hf.weights import INDEX, WEIGHTS
from repair.model.rope import Rope
from repair.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer


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


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
ROPE3 = Rope(5e5, factor=8.0, low=1.0, high=4.0, original=32)
FAMILIES = {
    "LlamaForCausalLM": dict(tie_embeddings=False),
    "LlamaForCausalLM, long": dict(rope=ROPE3),
    "Qwen2ForCausalLM": dict(qkv_bias=True),
    "Qwen3ForCausalLM": dict(qk_norm=True),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip_is_exact(family, make, tmp_path):
    model, params = make(**FAMILIES[family])
    keys = iter(jax.random.split(jax.random.key(3), 99))
    params = jax.tree.map(lambda x: x + jax.random.normal(next(keys), x.shape), params)
    save_hf(tmp_path, model.config, params, eos_token_id=9)
    config, loaded = load_hf(tmp_path, query_block=8)
    assert config == model.config
    assert_equal(loaded, params)
    raw = json.loads((tmp_path / "config.json").read_text())
    assert raw["eos_token_id"] == 9
    assert raw["architectures"] == [family.split(",")[0]]
    # transformers 4 reads the one, 5 the other.
    older, newer = raw["rope_scaling"], dict(raw["rope_parameters"])
    assert newer.pop("rope_theta") == raw["rope_theta"] == model.config.rope.theta
    assert (older, newer) == (
        (LLAMA3, LLAMA3) if "long" in family else (None, {"rope_type": "default"})
    )


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


def test_rope_of_either_version(copy):
    edit(copy, rope_parameters={"rope_theta": 5e5, "rope_type": "default"})
    assert load_hf(copy)[0].rope == Rope(5e5)
    edit(copy, rope_parameters=LLAMA3 | {"rope_theta": 5e5})
    assert load_hf(copy)[0].rope == ROPE3
    edit(copy, rope_parameters=None, rope_theta=2e4)
    assert load_hf(copy)[0].rope == Rope(2e4)
    edit(copy, rope_scaling=LLAMA3, rope_theta=5e5)
    assert load_hf(copy)[0].rope == ROPE3
    edit(copy, rope_parameters=LLAMA3 | {"rope_theta": 5e5})
    assert load_hf(copy)[0].rope == ROPE3


QWEN2 = {"architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "MistralForCausalLM"),
        ({"architectures": None}, "None"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "rope_type='dynamic'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "linear"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type='yarn'"),
        ({"rope_scaling": LLAMA3}, "rope_type='llama3' in rope_scaling and 'default'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "lacks the field 'factor'"),
        ({"rope_parameters": LLAMA3 | {"factor": 0.5}}, "impossible model"),
        ({"rope_parameters": {"full_attention": {}}}, "full_attention"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"num_key_value_heads": 3}, "impossible model"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_size": 48}, "another config"),
        ({"num_hidden_layers": 3}, "lacks the tensor model.layers.2"),
        ({"num_hidden_layers": 1}, "9 tensors that .* such as model.layers.1"),
        (QWEN2, "lacks the tensor model.layers.0.self_attn.*_proj.bias"),
        (QWEN2 | {"use_sliding_window": True}, "use_sliding_window=True"),
        (QWEN2 | {"layer_types": ["sliding_attention"]}, "layer_types"),
        (QWEN3 | {"attention_bias": True}, "attention_bias=True"),
    ],
)
def test_what_is_not_modelled_is_refused(copy, fields, message):
    edit(copy, **fields)
    with pytest.raises(UserError, match=message):
        load_hf(copy)


def test_missing_and_torn_files_are_named(copy):
    with pytest.raises(UserError, match="neither a folder nor"):
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


def test_fields_that_a_file_may_leave_out(copy):
    """As transformers reads them: Qwen3's heads do not follow from its width."""
    raw = json.loads((copy / "config.json").read_text())
    for name in ("head_dim", "num_key_value_heads", "rope_parameters", "rope_theta"):
        del raw[name]
    config = parse_config("config.json", raw)
    assert (config.head_size, config.kv_heads, config.rope) == (6, 4, Rope(10_000.0))
    assert parse_config("config.json", raw | QWEN3).head_size == 128


def test_a_head_that_a_tied_model_does_not_use_is_left(copy):
    edit(copy, tie_word_embeddings=True)
    _, params = load_hf(copy)
    assert "head" not in params["params"]


def test_no_architecture_has_both_biases_and_norms(make, tmp_path):
    model, params = make(qkv_bias=True, qk_norm=True)
    with pytest.raises(UserError, match="no architecture"):
        save_hf(tmp_path, model.config, params)
    assert list(tmp_path.iterdir()) == []


def test_shards_hold_no_more_than_asked_and_replace_what_was_there(saved, tmp_path):
    _, model, params = saved
    save_hf(tmp_path, model.config, params)
    save_hf(tmp_path, model.config, params, shard_bytes=10_000)
    assert not (tmp_path / WEIGHTS).exists()
    index = json.loads((tmp_path / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05}.safetensors"
    shards = [load_file(tmp_path / name) for name in files]
    for name, shard in zip(files, shards, strict=True):
        assert sum(x.nbytes for x in shard.values()) <= 10_000
        assert {index["weight_map"][key] for key in shard} == {name}
    tensors = {key: x for shard in shards for key, x in shard.items()}
    assert_equal(tensors, load_file(saved[0] / WEIGHTS))
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in tensors.values())
    assert_equal(load_hf(tmp_path)[1], params)
    save_hf(tmp_path, model.config, params)
    assert not (tmp_path / INDEX).exists()


def test_a_tokenizer_goes_with_the_model(saved, tmp_path):
    _, model, params = saved
    source, out = tmp_path / "tokenizer", tmp_path / "out"
    tokenizer = train_tokenizer(["a b"], 260, ("<pad>", "<end>"))
    Tokenizer(tokenizer, "short", mode="direct", end_token="<end>").save(source)
    (source / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    save_hf(out, model.config, params, source)
    raw = json.loads((out / "config.json").read_text())
    assert raw["eos_token_id"] == tokenizer.token_to_id("<end>")
    assert raw["bos_token_id"] is None
    settings = json.loads((out / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    generation = (out / "generation_config.json").read_text()
    assert generation == '{"eos_token_id": [1, 2]}'
    assert load_tokenizer(out, "short").encode("a b") == tokenizer.encode("a b").ids


def test_a_name_on_the_hub_is_fetched_once_and_in_part(saved, monkeypatch):
    asked = []

    def fetch(name, allow_patterns):
        asked.append(name)
        files = ["model-00001-of-00002.safetensors", INDEX, "tokenizer.json"]
        others = ["pytorch_model.bin", "original/params.json", "model.gguf"]
        fetched = [
            x for x in files + others if any(fnmatch(x, p) for p in allow_patterns)
        ]
        assert fetched == files
        return str(saved[0])

    monkeypatch.setattr(hf, "snapshot_download", fetch)
    assert load_hf("owner/model-1.5B", query_block=8)[0] == saved[1].config
    assert local_folder(saved[0]) == saved[0]
    assert asked == ["owner/model-1.5B"]
    for name in ("model", "./owner/model", "a/b/c", "/owner/model"):
        with pytest.raises(UserError, match="neither a folder"):
            local_folder(name)
    assert len(asked) == 1


def test_a_name_that_cannot_be_fetched_says_why(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match=r"reachable .* \(LocalEntry.+disabled\); log in"
    ):
        local_folder("nobody/no-such-model")


def test_a_folder_that_cannot_be_written_is_named(saved, tmp_path):
    _, model, params = saved
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        save_hf(tmp_path / "file" / "model", model.config, params)

"""Folders in Hugging Face's format, without torch: round trips and refusals."""

import dataclasses
import json
from fnmatch import fnmatch

import huggingface_hub
import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from repair.errors import UserError
from repair.model.api import Model
from repair.model.hf import folder as hf
from repair.model.hf.folder import copy_settings, load_hf, local_folder, save_hf
from repair.model.hf.model_config import parse_config, update_config
from repair.model.hf.weights import INDEX, WEIGHTS
from repair.model.rope import Rope
from repair.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def saved(make, tmp_path_factory):
    """(folder, model, params) of an untied model."""
    model, params = make(tie_embeddings=False)
    folder = tmp_path_factory.mktemp("hf")
    save_hf(folder, model.config, params)
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
    rng = np.random.default_rng(3)

    def moved(x):
        return np.asarray(x) + rng.normal(size=x.shape).astype(x.dtype)

    params = jax.tree.map(moved, params)
    save_hf(tmp_path, model.config, params)
    config, loaded = load_hf(tmp_path, query_block=8)
    assert config == model.config
    assert_equal(loaded, params)
    raw = json.loads((tmp_path / "config.json").read_text())
    assert raw["bos_token_id"] is None and raw["eos_token_id"] is None
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


QWEN2 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "MistralForCausalLM"),
        ({"architectures": ["LlamaForQuestionAnswering"]}, "QuestionAnswering"),
        ({"model_type": "mistral"}, "model_type='mistral'"),
        ({"model_type": "no-such"}, "cannot read .*`no-such`"),
        ({"architectures": None}, "None"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type='yarn'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "factor"),
        ({"rope_parameters": LLAMA3 | {"factor": 0.5}}, "impossible model"),
        ({"rope_parameters": {"full_attention": {}}}, "full_attention"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"num_key_value_heads": 3}, "impossible model"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_size": "wide"}, "hidden_size='wide', expected int"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers='2', expected int"),
        ({"num_hidden_layers": None}, "num_hidden_layers=None, expected int"),
        ({"num_attention_heads": True}, "num_attention_heads=True, expected int"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps='1e-5', expected float"),
        ({"tie_word_embeddings": "yes"}, "'yes', expected bool"),
        ({"rope_scaling": "llama3"}, "rope_scaling='llama3', expected dict"),
        ({"rope_parameters": {"rope_theta": "big"}}, "(impossible|cannot read).*big"),
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
    (copy / WEIGHTS).write_bytes(whole)
    (copy / "config.json").write_text('{"architectures": ["Lla')
    with pytest.raises(UserError, match=r"Cannot read .*config\.json"):
        load_hf(copy)
    (copy / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(UserError, match="model_type"):
        load_hf(copy)


def test_fields_that_a_file_may_leave_out(copy):
    """As transformers reads them: Qwen3's heads do not follow from its width."""
    path = copy / "config.json"
    raw = json.loads(path.read_text())
    for name in ("head_dim", "num_key_value_heads", "rope_parameters", "rope_theta"):
        del raw[name]
    path.write_text(json.dumps(raw))
    config = parse_config(copy)
    assert (config.head_size, config.kv_heads, config.rope) == (6, 4, Rope(10_000.0))
    path.write_text(json.dumps(raw | QWEN3 | {"num_key_value_heads": 2}))
    assert parse_config(copy).head_size == 128


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


@pytest.fixture
def text_files(tmp_path):
    """Return a folder with a tokenizer, its files as their author left them."""
    folder = tmp_path / "tokenizer"
    tokenizer = train_tokenizer(["a b"], 260, ("<s>", "</s>"))
    Tokenizer(tokenizer, "short", mode="direct", eos_ids=[1]).save(folder)
    settings = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>"}
    settings |= {"eos_token": "</s>", "unk_token": "</s>", "add_prefix_space": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    (folder / "chat_template.jinja").write_text("{{ messages }}\n")
    return folder


def test_a_tokenizer_goes_with_the_model(saved, text_files, tmp_path):
    _, model, params = saved
    out = tmp_path / "out"
    save_hf(out, model.config, params, text_files)
    raw = json.loads((out / "config.json").read_text())
    assert (raw["bos_token_id"], raw["eos_token_id"]) == (0, 1)
    for path in text_files.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    theirs = load_tokenizer(out, "short", "direct")
    assert theirs.eos_ids == [1, 2] and theirs.bos_ids == []


def test_settings_are_copied_once_their_tokenizer_is_readable(
    saved, text_files, tmp_path
):
    config = (saved[0] / "config.json").read_bytes()
    (text_files / "config.json").write_bytes(config)
    (text_files / "model.gguf").write_text("weights")
    copy_settings(text_files, tmp_path / "out")
    copied = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert copied.keys() == {
        *("config.json", "generation_config.json", "chat_template.jinja"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert copied["config.json"] == config
    (text_files / "tokenizer.json").write_text("{torn")
    with pytest.raises(UserError, match="unreadable"):
        copy_settings(text_files, tmp_path / "none")
    assert not (tmp_path / "none").exists()


# Fields of the authors' own files, at a small size.
SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.02,
    "use_cache": True,
}
QWEN = {
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "max_window_layers": 28,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
}
PUBLISHED = {
    "llama 3.2": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009],
        "head_dim": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0",
    },
    "qwen2.5": QWEN
    | {
        "architectures": ["Qwen2ForCausalLM"],
        "max_position_embeddings": 32768,
        "model_type": "qwen2",
    },
    "qwen3": QWEN
    | {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "head_dim": 16,
        "max_position_embeddings": 40960,
        "model_type": "qwen3",
        "rope_scaling": None,
        "sliding_window": None,
    },
    "smollm2": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "is_llama_config": True,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "llama",
        "pad_token_id": 2,
        "rms_norm_eps": 1e-05,
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    },
    "written by transformers 5": {
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        "max_position_embeddings": 2048,
        "model_type": "llama",
        "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_export_keeps_the_config_that_it_started_from(name, tmp_path):
    raw = SMALL | PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    config = parse_config(
        tmp_path, param_dtype="bfloat16", lora_rank=2, scan_layers=True, remat="full"
    )
    shapes = jax.eval_shape(Model(config).init_params, jax.random.key(0))
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    out = tmp_path / "out"
    save_hf(out, config, params, source=tmp_path)
    assert json.loads((out / "config.json").read_text()) == raw
    again, _ = load_hf(out)
    merged = dataclasses.replace(
        config, dtype="bfloat16", lora_rank=0, scan_layers=False, remat="none"
    )
    assert again == merged
    # Only the field that training changed may differ.
    other = dataclasses.replace(config, param_dtype="float32", vocab_size=65)
    changed = {
        "vocab_size": 65,
        "dtype" if "dtype" in raw else "torch_dtype": "float32",
    }
    assert update_config(other, tmp_path) == raw | changed


def test_the_config_of_another_model_is_not_kept(saved, tmp_path):
    _, model, params = saved
    (tmp_path / "config.json").write_text(json.dumps(SMALL | PUBLISHED["smollm2"]))
    assert update_config(model.config, tmp_path) is None
    assert update_config(model.config, tmp_path / "nowhere") is None
    save_hf(tmp_path / "out", model.config, params, source=tmp_path)
    assert load_hf(tmp_path / "out", query_block=8)[0] == model.config


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

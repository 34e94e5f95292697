"""Models in GGUF files: round trips, llama's rows, refusals, memory."""

import json

import jax
import numpy as np
import pytest

from repair.errors import UserError
from repair.model.hf.folder import (
    check_source,
    copy_settings,
    load_hf,
    save_hf,
    settings_folder,
)
from repair.model.hf.gguf_file import read_gguf
from repair.model.hf.gguf_model import (
    save_gguf,
    write_settings,
)
from repair.model.rope import Rope
from repair.text.gguf_tokenizer import end_ids
from repair.text.tokenizer import Tokenizer, load_tokenizer
from tests.text.test_gguf_tokenizer import metadata, save

gguf = pytest.importorskip("gguf")

V = len(metadata("smollm")["tokenizer.ggml.tokens"]) + 3
SHAPE = dict(vocab_size=V, width=32, mlp_width=64, head_size=8)
ROPE3 = Rope(5e5, factor=8.0, low=1.0, high=4.0, original=32)
FAMILIES = {
    "llama": dict(tie_embeddings=True),
    "llama, untied": dict(tie_embeddings=False),
    "llama, long": dict(rope=ROPE3),
    "llama, wide heads": dict(head_size=16, kv_heads=4),
    "qwen2": dict(qkv_bias=True),
    "qwen3": dict(qk_norm=True, rope=Rope(1e6)),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save(metadata("smollm"), folder, "smollm")
    settings = {"model_type": "llama", "eos_token_id": end_ids(metadata("smollm"))}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, make):
    """(Model, params) of a family, with norms and biases that change something."""
    model, params = make(**SHAPE | FAMILIES[request.param])
    rng = np.random.default_rng(3)
    return model, jax.tree.map(
        lambda x: np.asarray(x) + rng.normal(size=x.shape).astype(x.dtype) / 8, params
    )


@pytest.fixture
def file(make, tokenizer, tmp_path):
    """Return a file of a small tied llama."""
    model, params = make(**SHAPE)
    save_gguf(tmp_path / "x.gguf", model.config, params, tokenizer)
    return tmp_path / "x.gguf"


def changed(file, drop=(), **values):
    """Rewrite a file's metadata and leave tensors out, with the gguf package alone."""
    reader, path = gguf.GGUFReader(file), file.with_name("changed.gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.kv_data[0].clear()
    kept = {
        name: field
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    for name, field in kept.items():
        if name not in values:
            writer.add_key_value(name, field.contents(), field.types[0])
    for name, value in values.items():
        if value is not None:
            kind = gguf.GGUFValueType.get_type(value)
            writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        if tensor.name not in drop:
            data = np.array(tensor.data)
            writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def assert_close(a, b, rtol):
    """Compare leaves; rtol is of each leaf's largest number."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(
            x, y, rtol=0, atol=rtol * np.abs(y).max()
        ),
        a,
        b,
    )


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize(
    ("kind", "rtol"),
    [("F32", 0.0), ("F16", 2**-11), ("Q8_0", 1 / 254 + 2**-11)],
)
def test_round_trip(model, tokenizer, tmp_path, kind, rtol, scan):
    """To half a unit: of float16's last place, and of the 127 steps of a block."""
    model, params = model
    if scan:
        save_hf(tmp_path, model.config, params)
        config, stacked = load_hf(tmp_path, scan_layers=True)
        save_gguf(tmp_path / "x.gguf", config, stacked, tokenizer, gguf_type=kind)
    else:
        save_gguf(tmp_path / "x.gguf", model.config, params, tokenizer, gguf_type=kind)
    assert not list(tmp_path.glob("*.partial"))
    config, loaded = load_hf(tmp_path / "x.gguf", query_block=8)
    assert config == model.config
    assert_close(loaded, params, rtol)
    types = {t.dtype for t in read_gguf(tmp_path / "x.gguf").tensors.values()}
    assert types == {"F32", kind}


def test_types_follow_the_embedding_or_the_caller(file):
    config, params = load_hf(file)
    assert (config.dtype, config.param_dtype) == ("float32", "float32")
    config, half = load_hf(file, param_dtype="bfloat16", dtype="bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half)} == {"bfloat16"}
    cast = jax.tree.map(lambda x: x.astype("bfloat16"), params)
    jax.tree.map(np.testing.assert_array_equal, half, cast)


def test_rows_of_llama_are_interleaved_and_of_qwen_not(make, tokenizer, tmp_path):
    """As llama.cpp rotates them: neighbours are a pair, for llama only."""
    for fields, order in (
        ({}, [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]),
        ({"qk_norm": True}, list(range(16))),
    ):
        model, params = make(**SHAPE | fields)
        path = tmp_path / f"{len(fields)}.gguf"
        save_gguf(path, model.config, params, tokenizer)
        tensors = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
        for ours, theirs in (("k", "attn_k"), ("q", "attn_q")):
            kernel = params["params"]["layers_1"]["attention"][ours]["kernel"]
            expected = np.asarray(kernel).T[: len(order)][order].astype(np.float16)
            stored = tensors[f"blk.1.{theirs}.weight"][: len(order)]
            np.testing.assert_array_equal(stored, expected)


def test_adapters_are_merged(make, tokenizer, tmp_path):
    model, params = make(**SHAPE, lora_rank=2)
    lora = jax.tree.map(lambda x: np.asarray(x) + 0.1, params["lora"])
    params = params | {"lora": lora}
    save_gguf(tmp_path / "x.gguf", model.config, params, tokenizer)
    save_hf(tmp_path / "folder", model.config, params)
    merged = load_hf(tmp_path / "folder")[1]
    assert_close(load_hf(tmp_path / "x.gguf")[1], merged, 2**-11)
    kernel = merged["params"]["layers_0"]["mlp"]["up"]["kernel"]
    plain = params["params"]["layers_0"]["mlp"]["up"]["kernel"]
    assert np.abs(kernel - plain).max() > 0.01


def test_settings_are_those_of_a_folder(file, tokenizer, tmp_path):
    path = changed(file, **{"llama.context_length": 777})
    copy_settings(path, tmp_path / "out")
    raw = json.loads((tmp_path / "out/config.json").read_text())
    assert raw["max_position_embeddings"] == 777
    eos = metadata("smollm")["tokenizer.ggml.eos_token_id"]
    assert (raw["bos_token_id"], raw["eos_token_id"]) == (eos + 1, [eos, eos + 1])
    ours = load_tokenizer(tmp_path / "out", "short", "direct")
    assert isinstance(ours, Tokenizer) and ours.eos_ids == [eos, eos + 1]
    text = "x1 = 1234\n\n    <|end|>"
    assert ours.encode(text) == load_tokenizer(tokenizer, "short").encode(text)
    with settings_folder(path) as folder:
        assert (folder / "tokenizer.json").is_file()
    assert not folder.exists()
    with settings_folder(tokenizer) as folder:
        assert folder == tokenizer


def test_the_source_gives_the_length_of_contexts(make, tokenizer, file, tmp_path):
    """A run's copy of the settings goes into the file that is written after it."""
    write_settings(read_gguf(file), tmp_path / "settings")
    path = tmp_path / "settings/config.json"
    raw = json.loads(path.read_text()) | {"max_position_embeddings": 555}
    path.write_text(json.dumps(raw))
    config, params = load_hf(file)
    save_gguf(tmp_path / "y.gguf", config, params, tokenizer, tmp_path / "settings")
    assert read_gguf(tmp_path / "y.gguf").values["llama.context_length"] == 555


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"general.architecture": "mamba"}, "'mamba'; use one of llama, qwen2, qwen3"),
        ({"general.architecture": 3}, "architecture 3"),
        ({"llama.expert_count": 8}, "expert_count=8"),
        ({"llama.attention.sliding_window": 64}, "sliding_window=64"),
        ({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type='yarn'"),
        ({"llama.block_count": None}, "block_count=None, expected int"),
        ({"llama.block_count": "2"}, "block_count='2', expected int"),
        ({"llama.attention.head_count_kv": [2, 2]}, "head_count_kv=.*expected int"),
        ({"llama.attention.head_count_kv": 3}, "impossible model"),
        ({"llama.attention.head_count": 0}, "impossible model"),
        ({"llama.rope.dimension_count": 4}, "rope.dimension_count is 4"),
        ({"llama.attention.value_length": 16}, "value_length is 16"),
        ({"llama.block_count": 3}, "lacks the tensor model.layers.2"),
        ({"llama.block_count": 1}, "9 tensors .* such as blk.1"),
        ({"llama.feed_forward_length": 32}, "another config"),
        ({"tokenizer.ggml.pre": "default"}, "pre-tokenizer 'default'"),
        ({"tokenizer.ggml.model": "llama"}, "byte-level BPE"),
    ],
)
def test_what_is_not_modelled_is_refused(file, values, message):
    path = changed(file, **values)
    with pytest.raises(UserError, match=message):
        check_source(path)


def test_missing_tensors_and_torn_files_are_refused(file):
    with pytest.raises(UserError, match="lacks the tensor model.norm.weight"):
        check_source(changed(file, drop=("output_norm.weight",)))
    with pytest.raises(UserError, match="impossible model.*token_embd"):
        check_source(changed(file, drop=("token_embd.weight",)))
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="is torn: the tensor"):
        check_source(file)
    with pytest.raises(UserError, match="No such file"):
        check_source(file.with_name("nothing.gguf"))


def test_factors_of_another_scaling_are_refused(make, tokenizer, tmp_path):
    model, params = make(**SHAPE, rope=ROPE3)
    path = tmp_path / "x.gguf"
    save_gguf(path, model.config, params, tokenizer)
    assert read_gguf(path).tensors["rope_freqs.weight"].read()[0] == 1.0
    raw = path.read_bytes()
    stored = np.asarray(read_gguf(path).tensors["rope_freqs.weight"].read())
    assert raw.count(stored.tobytes()) == 1
    path.write_bytes(raw.replace(stored.tobytes(), stored[::-1].tobytes()))
    with pytest.raises(UserError, match="rope_freqs.weight are not those of Llama 3"):
        check_source(path)


def test_factors_as_llama_cpp_computes_them(make, tokenizer, tmp_path):
    """Llama 3.1's rule, by wave lengths: kept, stretched in part, stretched."""
    model, params = make(**SHAPE | {"head_size": 16}, rope=ROPE3)
    save_gguf(tmp_path / "x.gguf", model.config, params, tokenizer)
    stored = read_gguf(tmp_path / "x.gguf").tensors["rope_freqs.weight"].read()
    expected = []
    for i in range(8):
        wave = 2 * np.pi * 5e5 ** (2 * i / 16)
        smooth = (32 / wave - 1.0) / (4.0 - 1.0)
        middle = 1 / ((1 - smooth) / 8.0 + smooth)
        expected.append(1.0 if wave < 32 / 4 else 8.0 if wave > 32 else middle)
    np.testing.assert_allclose(stored, expected, rtol=1e-5)
    assert sorted(set(expected)) not in ([1.0], [8.0])


def test_weights_outside_of_float16_are_refused(make, tokenizer, tmp_path):
    model, params = make(**SHAPE)
    params = jax.tree.map(lambda x: x * 1e6, params)
    with pytest.raises(UserError, match="outside of float16's range"):
        save_gguf(tmp_path / "x.gguf", model.config, params, tokenizer)
    assert list(tmp_path.iterdir()) == []
    save_gguf(tmp_path / "x.gguf", model.config, params, tokenizer, gguf_type="F32")
    assert_close(load_hf(tmp_path / "x.gguf")[1], params, 0.0)


def test_rows_that_are_no_whole_blocks_stay_float16(make, tokenizer, tmp_path):
    model, params = make(**SHAPE | {"width": 24, "heads": 4, "mlp_width": 64})
    path = tmp_path / "x.gguf"
    save_gguf(path, model.config, params, tokenizer, gguf_type="Q8_0")
    types = {name: t.dtype for name, t in read_gguf(path).tensors.items()}
    assert types["blk.0.ffn_up.weight"] == "F16"
    assert types["blk.0.ffn_down.weight"] == "Q8_0"
    assert_close(load_hf(path)[1], params, 1 / 254 + 2**-11)


def test_a_folder_that_cannot_be_written_is_named(make, tokenizer, tmp_path):
    model, params = make(**SHAPE)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        save_gguf(tmp_path / "file" / "x.gguf", model.config, params, tokenizer)

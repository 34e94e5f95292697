"""GGUF headers and tensors: parts, types, torn and foreign files."""

import dataclasses
import struct
import sys

import numpy as np
import pytest

from repair.errors import UserError
from repair.model.hf.gguf_file import is_gguf, read_gguf

gguf = pytest.importorskip("gguf")

# Types of weights in files that are around, with blocks of 1, 32 and 256 numbers.
TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4") + (
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ2_XXS", "TQ1_0"),
)
ROWS, COLUMNS = 200, 256


def write(path, tensors=(), alignment=32, **values):
    """Write a file with raw tensors, triples (name, bytes, type)."""
    writer = gguf.GGUFWriter(path, "llama")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    for key, value in values.items():
        kind = gguf.GGUFValueType.get_type(value)
        writer.add_key_value(key, value, kind)
    for name, array, kind in tensors:
        writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_blocks(kind, rng):
    """Return the bytes of finite random numbers: float16 scales are small."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    shape = (ROWS, COLUMNS // block * size)
    if kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        numbers = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
        return gguf.quantize(numbers, gguf.GGMLQuantizationType[kind]).view(np.uint8)
    return rng.integers(0, 60, shape, np.uint8)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Return a file of every type, and the bytes of each tensor."""
    rng = np.random.default_rng(0)
    raw = {kind: random_blocks(kind, rng) for kind in TYPES}
    path = tmp_path_factory.mktemp("gguf") / "mixed.gguf"
    tensors = [(f"{kind}.weight", data, kind) for kind, data in raw.items()]
    return write(path, tensors, alignment=64), raw


def test_the_values_of_a_header(tmp_path):
    values = {
        "a.text": "caf\u00e9 \U0001f642",
        "a.float": 1e-5,
        "a.int": -7,
        "a.yes": True,
        "a.texts": ["x", "", "\u00bd"],
        "a.ints": [1, -2, 3],
        "a.floats": [0.5, 0.25],
    }
    found = read_gguf(write(tmp_path / "x.gguf", **values)).values
    assert found == values | {"general.architecture": "llama"}
    theirs = gguf.GGUFReader(tmp_path / "x.gguf").get_field("a.texts").contents()
    assert found["a.texts"] == theirs


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("flip", [False, True])
def test_parts_are_those_of_the_whole(mixed, kind, flip):
    """The package converts the whole tensor at once, row by row."""
    path, raw = mixed
    tensor = read_gguf(path).tensors[f"{kind}.weight"]
    whole = gguf.dequantize(raw[kind], gguf.GGMLQuantizationType[kind])
    assert tensor.shape == whole.shape == (ROWS, COLUMNS)
    assert tensor.dtype == kind
    np.testing.assert_array_equal(tensor.read(), whole)
    whole = whole.T if flip else whole
    for index in (
        (slice(None), slice(None)),
        (slice(3, 150), slice(None)),
        (slice(17, 81), slice(40, 200)),
    ):
        out = np.empty(whole[index].shape, np.float16)
        tensor.read_into(out, index, flip)
        np.testing.assert_array_equal(out, whole[index].astype(np.float16))


def test_vectors_and_their_parts(tmp_path):
    data = np.arange(10, dtype=np.float32)
    path = write(tmp_path / "x.gguf", [("norm", data, "F32")])
    tensor = read_gguf(path).tensors["norm"]
    out = np.empty(4, np.float32)
    tensor.read_into(out, (slice(3, 7),), False)
    assert tensor.shape == (10,)
    assert out.tolist() == [3, 4, 5, 6]


def test_interleaved_halves_of_heads(tmp_path):
    """Two heads of six rows: stored are 0 3 1 4 2 5 of each."""
    stored = np.array([0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11], np.float32)
    path = write(tmp_path / "x.gguf", [("q", np.tile(stored[:, None], 4), "F32")])
    tensor = dataclasses.replace(read_gguf(path).tensors["q"], head_size=6)
    np.testing.assert_array_equal(tensor.read()[:, 0], np.arange(12))
    out = np.empty((5, 2), np.float32)
    tensor.read_into(out, (slice(4, 9), slice(1, 3)), False)
    np.testing.assert_array_equal(out[:, 1], np.arange(4, 9))


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = write(
        tmp_path / "x.gguf",
        [("a", np.ones((4, 8), np.float32), "F32")],
        **{"a.texts": ["abc", "d"], "a.ints": [1, 2, 3], "a.text": "xyz"},
    )
    whole = path.read_bytes()
    read_gguf(path)
    torn = tmp_path / "torn.gguf"
    for size in range(len(whole)):
        torn.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"torn\.gguf.*copy it again"):
            read_gguf(torn)


def test_bytes_changed_anywhere_end_in_an_error_or_a_header(tmp_path):
    path = write(
        tmp_path / "x.gguf",
        [("a", np.ones((4, 8), np.float32), "F32")],
        **{"a.texts": ["abc", "d"], "a.ints": [1, 2, 3]},
    )
    whole, refused = path.read_bytes(), 0
    for at in range(len(whole) - 128):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_gguf(path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 50


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.gguf"
    with pytest.raises(UserError, match="Cannot read .*No such file"):
        read_gguf(path)
    for data in (
        b"",
        b"PK\3\4" + bytes(40),
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match="Cannot read"):
            read_gguf(path)


@pytest.mark.parametrize("alignment", [0, "x", True])
def test_an_impossible_alignment_is_refused(tmp_path, alignment):
    path = write(tmp_path / "x.gguf", **{"general.alignment": alignment})
    with pytest.raises(UserError, match="alignment"):
        read_gguf(path)


@pytest.mark.parametrize("kind", [4, 24, 200])
def test_an_unknown_type_is_named(tmp_path, kind):
    """4 was removed from ggml, 24 holds integers, 200 is none."""
    path = write(tmp_path / "x.gguf", [("some", np.ones((1, 32), np.float32), "F32")])
    raw = path.read_bytes()
    at = raw.index(b"some") + 4 + 4 + 2 * 8
    assert raw[at : at + 4] == bytes(4), "the type F32"
    path.write_bytes(raw[:at] + struct.pack("<I", kind) + raw[at + 4 :])
    with pytest.raises(UserError, match=rf"some has the type {kind}, which"):
        read_gguf(path)


def test_the_ending_tells():
    assert is_gguf("a/b.gguf") and not is_gguf("a/b") and not is_gguf("a.gguf/b")


def test_without_the_package_the_extra_is_named(monkeypatch, mixed):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[gguf\]'"):
        read_gguf(mixed[0])

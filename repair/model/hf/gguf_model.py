"""Models in GGUF files, read as if from a Hugging Face folder, and written.

Tensors get the names of a folder's, so that the rest of the import is the same.
Sources: the GGUF specification of ggml for keys and types, llama.cpp's conversion of
Hugging Face models for the order of llama's rows and for rope_freqs.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib

import numpy as np

from repair.errors import UserError
from repair.model.hf.gguf_file import GGUF_TYPES, GgufFile, GgufTensor, import_gguf
from repair.model.hf.model_config import FAMILIES, format_config, update_config
from repair.model.hf.names import (
    LAYER_NAMES,
    STACKED,
    TOP_NAMES,
    expected_params,
    is_flipped,
    leaves_of,
    merged_tensors,
    tensor_names,
)
from repair.model.llama import LlamaConfig
from repair.model.rope import Rope
from repair.text.gguf_tokenizer import (
    check_tokenizer,
    end_ids,
    tokenizer_values,
    write_tokenizer,
)

_ROPE = "rope_freqs.weight"
# Keys below the architecture's that change the result, with the only supported value.
_FIXED = {
    "expert_count": 0,
    "attention.sliding_window": 0,
    "attention.causal": True,
    "rope.scaling.type": "none",
}


def gguf_config(file: GgufFile, **overrides) -> LlamaConfig:
    """Return the model that a GGUF file describes.

    Args:
      file: Its header.
      **overrides: Fields of LlamaConfig in `RUN_FIELDS`.

    Raises:
      UserError: It is of another architecture, or impossible.
    """
    kind = file.values.get("general.architecture")
    if kind not in FAMILIES:
        raise UserError(
            f"{file.path} holds a model of the architecture {kind!r}; use one of"
            f" {', '.join(FAMILIES)}."
        )
    for key, expected in _FIXED.items():
        found = file.values.get(f"{kind}.{key}", expected)
        if found != expected:
            raise UserError(
                f"{file.path} has {kind}.{key}={found!r}; only {expected!r} is"
                " supported, so use another model."
            )

    def value(key, default=None, types=(int,)):
        found = file.values.get(f"{kind}.{key}", default)
        if type(found) not in types:
            raise UserError(
                f"{file.path} has {kind}.{key}={found!r}, expected"
                f" {types[0].__name__}; convert the model anew."
            )
        return found

    width, heads = value("embedding_length"), value("attention.head_count")
    try:
        size = value("attention.key_length", width // heads)
        for key in ("attention.value_length", "rope.dimension_count"):
            if value(key, size) != size:
                raise ValueError(f"{key} is {value(key)}, but heads have {size}")
        return LlamaConfig(
            vocab_size=file.tensors["token_embd.weight"].shape[0],
            width=width,
            mlp_width=value("feed_forward_length"),
            layers=value("block_count"),
            heads=heads,
            kv_heads=value("attention.head_count_kv", heads),
            head_size=size,
            rope=_rope(file, value("rope.freq_base", 10_000.0, (float,)), size),
            rms_eps=value("attention.layer_norm_rms_epsilon", types=(float,)),
            tie_embeddings="output.weight" not in file.tensors,
            **FAMILIES[kind].ours,
            **overrides,
        )
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"{file.path} describes an impossible model: {error}; convert it anew."
        ) from error


def gguf_tensors(file: GgufFile, config: LlamaConfig) -> dict[str, GgufTensor]:
    """Return the tensors of a GGUF file by their names in a folder."""
    theirs = _names(file.values["general.architecture"], config)
    ours = {name: key for key, name in theirs.items()}
    found = {}
    for name, tensor in file.tensors.items():
        if name == _ROPE:
            continue  # part of the config
        key = ours.get(name, name)
        if _interleaved(file.values["general.architecture"], key):
            tensor = dataclasses.replace(tensor, head_size=config.head_size)
        found[key] = tensor
    return found


def check_gguf(file: GgufFile) -> None:
    """Check that a GGUF file's model and tokenizer are supported.

    Raises:
      UserError: They are not.
    """
    gguf_config(file)
    check_tokenizer(file.values, file.path)


def write_settings(file: GgufFile, folder) -> None:
    """Write config.json and the tokenizer of a GGUF file into a folder.

    Raises:
      UserError: They are not supported.
    """
    config = gguf_config(file)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings, kind = format_config(config), file.values["general.architecture"]
    if length := file.values.get(f"{kind}.context_length"):
        settings["max_position_embeddings"] = length
    settings["bos_token_id"] = file.values.get("tokenizer.ggml.bos_token_id")
    settings["eos_token_id"] = end_ids(file.values) or None
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    write_tokenizer(file.values, file.path, folder)


def save_gguf(
    path, config: LlamaConfig, params, tokenizer, source=None, gguf_type: str = "F16"
) -> None:
    """Write a GGUF file that llama.cpp loads.

    Matrices get the type, norms and biases float32. The file appears whole or not.

    Args:
      path: The file; its folder is made.
      config: The model's.
      params: As from `Model.init_params`; adapters are merged into the weights.
      tokenizer: Folder whose tokenizer and chat template are stored.
      source: Folder with the config.json that training started from, if any.
      gguf_type: A key of `GGUF_TYPES`.

    Raises:
      UserError: llama.cpp has no such tokenizer, the file cannot be written, or a
        weight is outside of the type's range.
    """
    path = pathlib.Path(path)
    described = (source and update_config(config, source)) or format_config(config)
    values = _metadata(config, described, gguf_type)
    values |= tokenizer_values(tokenizer, config.vocab_size)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(partial, config, params, values, gguf_type)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error}); choose another.") from error
    finally:
        if partial.exists():
            partial.unlink()


def _write(path, config: LlamaConfig, params, values: dict, gguf_type: str) -> None:
    """Write a header, then each tensor as it is converted."""
    gguf, kind = import_gguf(), values["general.architecture"]
    names, scaling = _names(kind, config), _rope_factors(config)
    writer = gguf.GGUFWriter(path, kind)
    writer.kv_data[0].clear()  # of the architecture, which is among the values
    with contextlib.closing(writer):
        for key, value in values.items():
            # Sizes and ids are unsigned; the package would make signed numbers of them.
            types = gguf.GGUFValueType
            code = types.UINT32 if type(value) is int else types.get_type(value)
            writer.add_key_value(key, value, code)
        if scaling is not None:
            writer.add_tensor_info(_ROPE, scaling.shape, scaling.dtype, scaling.nbytes)
        for name, shape in _shapes(config):
            stored = _type_of(shape, gguf_type)
            size = gguf.quant_shape_to_byte_shape(shape, stored)
            raw = np.dtype(np.uint8)
            writer.add_tensor_info(names[name], size, raw, math.prod(size), stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if scaling is not None:
            writer.write_tensor_data(scaling)
        for name, array in merged_tensors(config, params):
            writer.write_tensor_data(_stored(kind, config, name, array, gguf_type))


def _names(kind: str, config: LlamaConfig) -> dict[str, str]:
    """Return the file's name of each tensor by its name in a folder."""
    gguf = import_gguf()
    (arch,) = (key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == kind)
    known = gguf.get_tensor_name_map(arch, config.layers)
    names = [*TOP_NAMES.values()]
    for i in range(config.layers):
        names += [f"model.layers.{i}.{name}" for name in LAYER_NAMES.values()]
    found = {name: known.get_name(name, (".weight", ".bias")) for name in names}
    return {name: theirs for name, theirs in found.items() if theirs}


def _shapes(config: LlamaConfig):
    """Yield name and shape of every tensor in a folder's layout, in tree order."""
    for path, leaf in leaves_of(expected_params(config)["params"]).items():
        names = tensor_names(config, path)
        shape = leaf.shape[1:] if path[0] == STACKED else leaf.shape
        for name in names:
            yield name, shape[::-1] if is_flipped(path) else shape


def _interleaved(kind: str, name: str) -> bool:
    return kind == "llama" and name.endswith(("q_proj.weight", "k_proj.weight"))


def _rope(file: GgufFile, theta: float, head_size: int) -> Rope:
    """Return the rotary frequencies, with Llama 3's factors where they are stored."""
    if _ROPE not in file.tensors:
        return Rope(theta)
    factors = file.tensors[_ROPE].read()
    kind = file.values["general.architecture"]
    key = f"{kind}.rope.scaling.original_context_length"
    rope = Rope(theta, float(factors.max()), 1.0, 4.0, file.values.get(key, 8192))
    plain = np.asarray(Rope(theta).frequencies(head_size))
    expected = plain / np.asarray(rope.frequencies(head_size))
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        raise ValueError(f"the factors of {_ROPE} are not those of Llama 3")
    return rope


def _rope_factors(config: LlamaConfig) -> np.ndarray | None:
    if config.rope.factor == 1.0:
        return None
    plain = np.asarray(Rope(config.rope.theta).frequencies(config.head_size))
    return plain / np.asarray(config.rope.frequencies(config.head_size))


def _metadata(config: LlamaConfig, described: dict, gguf_type: str) -> dict:
    c, kind = config, described["model_type"]
    values = {
        "block_count": c.layers,
        "context_length": described["max_position_embeddings"],
        "embedding_length": c.width,
        "feed_forward_length": c.mlp_width,
        "attention.head_count": c.heads,
        "attention.head_count_kv": c.kv_heads,
        "attention.key_length": c.head_size,
        "attention.value_length": c.head_size,
        "attention.layer_norm_rms_epsilon": c.rms_eps,
        "rope.dimension_count": c.head_size,
        "rope.freq_base": c.rope.theta,
        "vocab_size": c.vocab_size,
    }
    if c.rope.factor != 1.0:
        values["rope.scaling.original_context_length"] = c.rope.original
    general = {
        "architecture": kind,
        "file_type": GGUF_TYPES[gguf_type],
        "quantization_version": 2,
    }
    return {f"general.{key}": value for key, value in general.items()} | {
        f"{kind}.{key}": value for key, value in values.items()
    }


def _type_of(shape, gguf_type: str):
    types = import_gguf().GGMLQuantizationType
    if len(shape) == 1:
        return types.F32
    # Blocks of Q8_0 lie within a row.
    if gguf_type == "Q8_0" and shape[-1] % 32:
        return types.F16
    return types[gguf_type]


def _stored(kind: str, config: LlamaConfig, name, array, gguf_type: str) -> np.ndarray:
    """Convert a folder's tensor to the bytes of a GGUF file."""
    stored = _type_of(array.shape, gguf_type)
    if _interleaved(kind, name):
        halves = array.reshape(-1, 2, config.head_size // 2, array.shape[-1])
        array = halves.swapaxes(1, 2).reshape(array.shape)
    array = np.ascontiguousarray(array, np.float32)
    float16 = stored.name != "F32"  # Q8_0 has scales of float16
    if float16 and np.abs(array).max() > np.finfo(np.float16).max:
        raise UserError(
            f"{name} has weights outside of float16's range; export it as F32."
        )
    return import_gguf().quantize(array, stored).view(np.uint8)

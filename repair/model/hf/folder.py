"""Models in Hugging Face's folder format, read and written without torch.

A folder holds config.json, weights in safetensors and most often a tokenizer; a name
such as HuggingFaceTB/SmolLM2-135M-Instruct stands for one on the Hub. Each process
reads the parts of the weights that its devices hold, and no more than one leaf at once.
"""

import json
import math
import pathlib
import re

import jax
import numpy as np
from huggingface_hub import snapshot_download

from repair.errors import UserError
from repair.model.hf.model_config import format_config, parse_config
from repair.model.hf.names import (
    STACKED,
    TOP_NAMES,
    expected_params,
    is_flipped,
    leaves_of,
    tensor_names,
)
from repair.model.hf.weights import find_tensors, read_json, write_tensors
from repair.model.llama import LlamaConfig
from repair.model.lora import merge_kernel
from repair.model.sharding import param_shardings
from repair.text.tokenizer import copy_tokenizer, special_ids

# What is fetched of a model on the Hub.
_FILES = (
    *("config.json", "generation_config.json"),
    *("model*.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "chat_template.jinja"),
)
_HUB_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


def local_folder(name) -> pathlib.Path:
    """The folder of a model, fetched from the Hub unless it is one already.

    Args:
      name: A folder, or owner/model on the Hub.

    Raises:
      UserError: It is neither, or cannot be fetched.
    """
    folder = pathlib.Path(name)
    if folder.is_dir():
        return folder
    reason = "it has no name of the form owner/model"
    if re.fullmatch(_HUB_NAME, str(name)):
        try:
            return pathlib.Path(snapshot_download(str(name), allow_patterns=_FILES))
        except Exception as error:  # several libraries' own, for one and the same
            first = re.split(r"\.\s|\n", str(error).strip())[0]
            reason = f"{type(error).__name__}: {first[:200]}"
    raise UserError(
        f"{name} is neither a folder nor reachable on the Hugging Face Hub ({reason});"
        " log in with `hf auth login` if it is gated, or download it elsewhere and give"
        " its folder."
    )


def load_hf(folder, mesh=None, **overrides):
    """Reads a model of an architecture in `hf_config.FAMILIES`.

    Args:
      folder: A folder in Hugging Face's format, or a name; see `local_folder`.
      mesh: Where the parameters are placed, by the rules of `repair.model.sharding`;
        by default on the default device.
      **overrides: Fields of LlamaConfig that the folder does not decide: dtype,
        param_dtype, scan_layers, remat, lora_rank and so on. By default both types
        are that of the stored embedding (bfloat16, or else float32).

    Returns:
      (LlamaConfig, {"params": ...}). Adapters, if lora_rank asks for them, are added
      by `lora.init_adapters`.

    Raises:
      UserError: A file is missing or torn, or the folder holds another model.
    """
    folder = local_folder(folder)
    raw = read_json(folder / "config.json")
    tensors = find_tensors(folder)
    embedding = tensors.get(TOP_NAMES["embed", "embedding"])
    dtype = "bfloat16" if embedding and embedding.dtype == "BF16" else "float32"
    fields = {"dtype": dtype, "param_dtype": dtype} | overrides
    config = parse_config(folder / "config.json", raw, **fields)
    tree = expected_params(config)
    expected = leaves_of(tree["params"])
    _check(folder, config, expected, tensors)
    placed = {} if mesh is None else leaves_of(param_shardings(mesh, tree)["params"])
    found: dict = {}
    # The largest first: what it takes to read one is then free for what follows.
    for path in sorted(expected, key=lambda path: -expected[path].size):
        stored = [tensors[name] for name in tensor_names(config, path)]
        leaf = _read(path, expected[path], stored, placed.get(path))
        node = found
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    return config, {"params": found}


def save_hf(
    folder,
    config: LlamaConfig,
    params,
    tokenizer=None,
    shard_bytes: int = 5_000_000_000,
    **fields,
) -> None:
    """Writes a folder that transformers loads, with adapters merged into the weights.

    Parameters may be spread over the devices of this process. config.json is written
    last, so that a torn export has none and loads nowhere.

    Args:
      folder: Created if missing; a model that it holds is replaced.
      config: The model's.
      params: As from `Model.init_params`.
      tokenizer: A folder whose tokenizer is copied, with what stands beside it.
      shard_bytes: Most bytes of a file of weights.
      **fields: More of config.json: eos_token_id, max_position_embeddings and so on.

    Raises:
      UserError: The folder cannot be written, the tokenizer cannot be read, or no
        architecture of transformers is this model.
    """
    folder = pathlib.Path(folder)
    settings = format_config(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").unlink(missing_ok=True)
        if tokenizer is not None:
            copy_tokenizer(tokenizer, folder)
            settings |= special_ids(folder)
        write_tensors(folder, _merged(config, params), shard_bytes)
        text = json.dumps(settings | fields, indent=2) + "\n"
        (folder / "config.json").write_text(text)
    except OSError as error:
        raise UserError(
            f"Cannot write a model to {folder} ({error}); choose another folder."
        ) from error


def _check(folder, config: LlamaConfig, expected: dict, tensors: dict) -> None:
    """Refuses weights that are not those of the model, before any is read."""
    known = {TOP_NAMES["head", "kernel"]}  # stored with some models that do not use it
    for path, leaf in expected.items():
        shape = leaf.shape[1:] if path[0] == STACKED else leaf.shape
        names = tensor_names(config, path)
        known.update(names)
        for name in names:
            if name not in tensors:
                raise UserError(
                    f"{folder} lacks the tensor {name}; copy the folder again."
                )
            stored = tensors[name].shape
            stored = stored[::-1] if is_flipped(path) else stored
            if stored != shape:
                raise UserError(
                    f"{folder}: {name} has shape {stored}, but config.json asks for "
                    f"{shape} (in, out); the weights belong to another config."
                )
    # Older exports store the rotary frequencies, which follow from the config.
    strange = [n for n in tensors if n not in known and not n.endswith(".inv_freq")]
    if strange:
        raise UserError(
            f"{folder} holds {len(strange)} tensors that a model of its config.json"
            f" does not have, such as {strange[0]}; the weights belong to another"
            " config."
        )


def _read(path, leaf, stored, sharding):
    """One leaf, on its devices; the host reads each part of it once."""
    flip, stacked, parts = is_flipped(path), path[0] == STACKED, {}

    def part(index):
        spans = [s.indices(n)[:2] for s, n in zip(index, leaf.shape, strict=True)]
        key = tuple(spans)
        if key not in parts:
            out = _empty([stop - start for start, stop in spans], leaf.dtype)
            if stacked:
                for place, layer in zip(out, stored[index[0]], strict=True):
                    layer.read_into(place, index[1:], flip)
            else:
                stored[0].read_into(out, index, flip)
            parts[key] = out
        return parts[key]

    if sharding is None:
        array = jax.device_put(part((slice(None),) * len(leaf.shape)))
    else:
        array = jax.make_array_from_callback(leaf.shape, sharding, part)
    # Without waiting, the host would hold what is still on its way to the devices.
    return jax.block_until_ready(array)


def _empty(shape, dtype):
    """Room for an array, placed so that on a CPU it becomes jax's without a copy."""
    size, line = math.prod(shape) * dtype.itemsize, 64
    room = np.empty(size + line, np.uint8)
    start = -room.ctypes.data % line
    return room[start : start + size].view(dtype).reshape(shape)


def _merged(config: LlamaConfig, params):
    """(name, numpy array) of every tensor, in the reference's layout."""
    adapters = leaves_of(params.get("lora", {}))
    for path, leaf in leaves_of(params["params"]).items():
        leaves = [leaf]
        if is_flipped(path) and (*path[:-1], "a") in adapters:
            leaves += [adapters[*path[:-1], half] for half in ("a", "b")]
        for i, name in enumerate(tensor_names(config, path)):
            layer = [x[i] for x in leaves] if path[0] == STACKED else leaves
            array = layer[0] if len(layer) == 1 else merge_kernel(config, *layer)
            array = np.asarray(jax.device_get(array))
            yield name, array.T if is_flipped(path) else array

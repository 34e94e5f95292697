"""Models in Hugging Face's folder format, read and written without torch.

A folder holds config.json, weights in safetensors and most often a tokenizer; a name
such as HuggingFaceTB/SmolLM2-135M-Instruct is one on the Hub. A GGUF file is read as if
it were such a folder. Each process reads the parts of the weights that its devices
hold, at most one leaf at a time.
"""

import contextlib
import json
import math
import pathlib
import re
import shutil
import tempfile

import jax
import numpy as np
from huggingface_hub import snapshot_download

from repair.errors import UserError, brief
from repair.model.hf.gguf_file import is_gguf, read_gguf
from repair.model.hf.gguf_model import (
    check_gguf,
    gguf_config,
    gguf_tensors,
    write_settings,
)
from repair.model.hf.model_config import format_config, parse_config, update_config
from repair.model.hf.names import (
    STACKED,
    TOP_NAMES,
    expected_params,
    is_flipped,
    leaves_of,
    merged_tensors,
    tensor_names,
)
from repair.model.hf.weights import INDEX, find_tensors, write_tensors
from repair.model.llama import LlamaConfig
from repair.model.sharding import param_shardings
from repair.tasks.files import HUB_NAME
from repair.text.tokenizer import read_tokenizer

# The files of a folder but its weights and config.json. A folder with tokenizer.json,
# the last one copied, has a whole tokenizer.
_TEXT_FILES = (
    *("generation_config.json", "chat_template.jinja", "special_tokens_map.json"),
    *("tokenizer_config.json", "tokenizer.json"),
)
_FETCHED = ("config.json", "model*.safetensors", INDEX, *_TEXT_FILES)


def local_folder(source) -> pathlib.Path:
    """Resolve a model's source to a folder, fetched from the Hub if need be.

    The source is a folder, or owner/model on the Hub; all loading resolves it here.

    Raises:
      UserError: It is neither, or cannot be fetched.
    """
    folder = pathlib.Path(source)
    if folder.is_dir():
        return folder
    reason = "it has no name of the form owner/model"
    if re.fullmatch(HUB_NAME, str(source)):
        try:
            return pathlib.Path(snapshot_download(str(source), allow_patterns=_FETCHED))
        except Exception as error:  # of several libraries
            reason = brief(error)
    raise UserError(
        f"{source} is neither a folder nor reachable on the Hugging Face Hub"
        f" ({reason}); log in with `hf auth login` if it is gated, or download it"
        " elsewhere and give its folder."
    )


def load_hf(source, mesh=None, **overrides):
    """Load a model of one of the families in `model_config.FAMILIES`.

    Args:
      source: A folder or a name, as for `local_folder`, or a GGUF file.
      mesh: Mesh of the parameters, sharded by the rules of `repair.model.sharding`; by
        default they are on the default device.
      **overrides: Fields of LlamaConfig in `model_config.RUN_FIELDS`. By default both
        types are that of the stored embedding (bfloat16, or else float32).

    Returns:
      (LlamaConfig, {"params": ...}). `lora.init_adapters` makes the adapters, if
      lora_rank asks for them.

    Raises:
      UserError: A file is missing or torn, or holds another model.
    """
    config, tensors = _open(source, overrides)
    tree = expected_params(config)
    expected = leaves_of(tree["params"])
    _check(source, config, expected, tensors)
    placed = {} if mesh is None else leaves_of(param_shardings(mesh, tree)["params"])
    found: dict = {}
    # The largest first, while the memory that reading it takes is free.
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
    source=None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a folder that transformers loads, with adapters merged into the weights.

    Parameters may be spread over the devices of this process. config.json is written
    last: a torn export has none and does not load.

    Args:
      folder: Created if missing; a model that it holds is replaced.
      config: The model's.
      params: As from `Model.init_params`.
      tokenizer: Folder whose tokenizer, chat template and generation config are copied.
      source: Folder that training started from: the new config.json is its own, but for
        the changes that training made.
      shard_bytes: Largest file of weights, unless a single tensor is larger.

    Raises:
      UserError: The folder cannot be written, the tokenizer cannot be read, or no
        architecture of transformers is this model.
    """
    folder = pathlib.Path(folder)
    settings = source and update_config(config, source)
    if not settings:
        settings = format_config(config)
        if tokenizer is not None:
            auto, _ = read_tokenizer(tokenizer)
            settings["bos_token_id"] = auto.bos_token_id
            settings["eos_token_id"] = auto.eos_token_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").unlink(missing_ok=True)
        if tokenizer is not None:
            _copy(tokenizer, folder, _TEXT_FILES)
        write_tensors(folder, merged_tensors(config, params), shard_bytes)
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"Cannot write a model to {folder} ({error}); choose another folder."
        ) from error


def check_source(source) -> None:
    """Check a model's config and the names and shapes of its weights; read no weight.

    A name on the Hub is fetched.

    Raises:
      UserError: There is no such model, or it is torn or of an unsupported kind.
    """
    if is_gguf(source):
        check_gguf(read_gguf(source))
    config, tensors = _open(source, {"scan_layers": True})  # which is traced fast
    _check(source, config, leaves_of(expected_params(config)["params"]), tensors)


def copy_settings(source, folder) -> None:
    """Copy all of a model but its weights into a folder, and check its tokenizer."""
    if is_gguf(source):
        write_settings(read_gguf(source), folder)
        return
    source = local_folder(source)
    read_tokenizer(source)
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    _copy(source, folder, ("config.json", *_TEXT_FILES))


@contextlib.contextmanager
def settings_folder(source):
    """Give a folder with a model's config.json and tokenizer; of GGUF, for a while."""
    if not is_gguf(source):
        yield local_folder(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy_settings(source, folder)
        yield pathlib.Path(folder)


def _copy(source, folder, names) -> None:
    for path in (pathlib.Path(source, name) for name in names):
        if path.is_file():
            shutil.copyfile(path, pathlib.Path(folder, path.name))


def _open(source, overrides: dict):
    """Return a model's config, and its tensors by their names in a folder."""

    def types(embedding):
        dtype = "bfloat16" if embedding and embedding.dtype == "BF16" else "float32"
        return {"dtype": dtype, "param_dtype": dtype} | overrides

    if is_gguf(source):
        file = read_gguf(source)
        config = gguf_config(file, **types(file.tensors.get("token_embd.weight")))
        return config, gguf_tensors(file, config)
    folder = local_folder(source)
    tensors = find_tensors(folder)
    embedding = tensors.get(TOP_NAMES["embed", "embedding"])
    return parse_config(folder, **types(embedding)), tensors


def _check(source, config: LlamaConfig, expected: dict, tensors: dict) -> None:
    """Raise UserError for weights of another model, before any is read."""
    known = {TOP_NAMES["head", "kernel"]}  # stored with some tied models, unused
    for path, leaf in expected.items():
        shape = leaf.shape[1:] if path[0] == STACKED else leaf.shape
        names = tensor_names(config, path)
        known.update(names)
        for name in names:
            if name not in tensors:
                raise UserError(f"{source} lacks the tensor {name}; copy it again.")
            stored = tensors[name].shape
            stored = stored[::-1] if is_flipped(path) else stored
            if stored != shape:
                raise UserError(
                    f"{source}: {name} has shape {stored}, but the config asks for"
                    f" {shape} (in, out); the weights belong to another config."
                )
    # Older exports store the rotary frequencies, which follow from the config.
    strange = [n for n in tensors if n not in known and not n.endswith(".inv_freq")]
    if strange:
        raise UserError(
            f"{source} holds {len(strange)} tensors that a model of its config"
            f" does not have, such as {strange[0]}; the weights belong to another"
            " config."
        )


def _read(path, leaf, stored, sharding):
    """Return one leaf on its devices; the host reads each part of it once."""
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
    # Otherwise the host would hold several leaves on their way to the devices.
    return jax.block_until_ready(array)


def _empty(shape, dtype):
    """Return an empty array, aligned so that on CPU jax takes it without a copy."""
    size, line = math.prod(shape) * dtype.itemsize, 64
    room = np.empty(size + line, np.uint8)
    start = -room.ctypes.data % line
    return room[start : start + size].view(dtype).reshape(shape)

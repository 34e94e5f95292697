"""Llama checkpoints in Hugging Face's folder format, read and written without torch.

A folder holds config.json and either model.safetensors or several shards named by
model.safetensors.index.json. Their linear weights are [out, in], ours [in, out].
The rotary layout of both is the same (first half with second half).
"""

import contextlib
import json
import pathlib

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from repair.errors import UserError
from repair.model.llama import LlamaConfig
from repair.model.lora import merge_adapters
from repair.model.rope import Rope

# Path under a layer's subtree -> the reference's name under model.layers.{i}.
LAYER_NAMES = {
    ("attention_norm", "scale"): "input_layernorm.weight",
    ("attention", "q", "kernel"): "self_attn.q_proj.weight",
    ("attention", "k", "kernel"): "self_attn.k_proj.weight",
    ("attention", "v", "kernel"): "self_attn.v_proj.weight",
    ("attention", "o", "kernel"): "self_attn.o_proj.weight",
    ("mlp_norm", "scale"): "post_attention_layernorm.weight",
    ("mlp", "gate", "kernel"): "mlp.gate_proj.weight",
    ("mlp", "up", "kernel"): "mlp.up_proj.weight",
    ("mlp", "down", "kernel"): "mlp.down_proj.weight",
}
TOP_NAMES = {
    ("embed", "embedding"): "model.embed_tokens.weight",
    ("final_norm", "scale"): "model.norm.weight",
    ("head", "kernel"): "lm_head.weight",
}
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def local_folder(name) -> pathlib.Path:
    """The folder of a model."""
    return pathlib.Path(name)


def load_hf(folder, mesh=None, **overrides):
    """Reads a LlamaForCausalLM.

    Args:
      folder: A local folder in Hugging Face's format.
      mesh: Where the parameters are placed.
      **overrides: Fields of LlamaConfig that the folder does not decide: dtype,
        param_dtype, scan_layers, remat, lora_rank and so on. By default both types
        are that of the stored embedding (bfloat16, or else float32).

    Returns:
      (LlamaConfig, {"params": ...}). Adapters, if lora_rank asks for them, are added
      by `lora.init_adapters`.

    Raises:
      UserError: A file is missing or torn, or the folder holds another model.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; give a local folder that holds config.json "
            f"and {WEIGHTS}."
        )
    fields = _parse_config(folder / "config.json")
    with contextlib.ExitStack() as stack:
        read = _open_weights(folder, stack)
        stored = read(TOP_NAMES["embed", "embedding"]).dtype.name
        dtype = "bfloat16" if stored == "bfloat16" else "float32"
        fields |= {"dtype": dtype, "param_dtype": dtype} | overrides
        try:
            config = LlamaConfig(**fields)
        except ValueError as error:
            raise UserError(
                f"{folder / 'config.json'} describes an impossible model: {error}."
            ) from error
        return config, {"params": _read_params(folder, config, read)}


def save_hf(folder, config: LlamaConfig, params, **fields) -> None:
    """Writes a folder that transformers loads as LlamaForCausalLM.

    Adapters are merged into the weights. The weights are written before
    config.json, so that a torn export has no config and loads nowhere.

    Args:
      folder: Created if missing.
      config: The model's.
      params: As from `Model.init_params`.
      **fields: More of config.json: bos_token_id, eos_token_id,
        max_position_embeddings and so on.
    """
    folder = pathlib.Path(folder)
    tree = merge_adapters(config, params)["params"]
    tensors = {}
    for path, name, layer in _names(config):
        leaf = tree
        for key in path:
            leaf = leaf[key]
        array = np.asarray(leaf if layer is None else leaf[layer])
        # The writer stores memory as it lies, so a transposed view would scramble.
        tensors[name] = np.ascontiguousarray(_flip(path, array))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(_format_config(config) | fields, indent=2) + "\n"
        (folder / "config.json").write_text(text)
    except OSError as error:
        raise UserError(f"Cannot write a model to {folder}: {error}.") from error


def _names(config: LlamaConfig):
    """(path of our leaf, reference's name, index in a stacked leaf or None)."""
    for path, name in TOP_NAMES.items():
        if path[0] != "head" or not config.tie_embeddings:
            yield path, name, None
    for i in range(config.layers):
        for path, name in LAYER_NAMES.items():
            lead = ("layers",) if config.scan_layers else (f"layers_{i}",)
            index = i if config.scan_layers else None
            yield lead + path, f"model.layers.{i}.{name}", index


def _shape(config: LlamaConfig, path) -> tuple[int, ...]:
    """Shape of one layer's leaf in our layout."""
    c = config
    if path[-1] == "scale":
        return (c.width,)
    return {
        "embed": (c.vocab_size, c.width),
        "head": (c.width, c.vocab_size),
        "q": (c.width, c.heads * c.head_size),
        "k": (c.width, c.kv_heads * c.head_size),
        "v": (c.width, c.kv_heads * c.head_size),
        "o": (c.heads * c.head_size, c.width),
        "gate": (c.width, c.mlp_width),
        "up": (c.width, c.mlp_width),
        "down": (c.mlp_width, c.width),
    }[path[-2]]


def _flip(path, array):
    return array.T if path[-1] == "kernel" else array


def _read_params(folder, config: LlamaConfig, read) -> dict:
    """One tensor after another, so that the model is never in memory twice."""
    dtype = jnp.dtype(config.param_dtype)
    stacks, tree = {}, {}
    for path, name, layer in _names(config):
        array = _flip(path, read(name))
        shape = _shape(config, path)
        if array.shape != shape:
            raise UserError(
                f"{folder}: {name} has shape {array.shape}, but config.json asks for "
                f"{shape} (in, out); the weights belong to another config."
            )
        if layer is None:
            _put(tree, path, jnp.asarray(array, dtype))
            continue
        if layer == 0:
            stacks[path] = np.empty((config.layers, *shape), dtype)
        stacks[path][layer] = array
        if layer == config.layers - 1:
            _put(tree, path, jnp.asarray(stacks.pop(path)))
    return tree


def _put(tree: dict, path, leaf) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = leaf


def _open_weights(folder, stack):
    """A function from a tensor's name to its array, read when asked for."""
    if (folder / WEIGHTS).exists():
        file = _open(folder / WEIGHTS, stack)
        files = dict.fromkeys(file.keys(), file)
    elif (folder / INDEX).exists():
        index = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(index, dict):
            raise UserError(f"{folder / INDEX} has no weight_map; copy it again.")
        shards = {name: _open(folder / name, stack) for name in set(index.values())}
        files = {name: shards[shard] for name, shard in index.items()}
    else:
        raise UserError(f"{folder} holds neither {WEIGHTS} nor {INDEX}.")

    def read(name):
        try:
            return files[name].get_tensor(name)
        except (KeyError, SafetensorError) as error:
            raise UserError(f"{folder} lacks the tensor {name}.") from error

    return read


def _open(path, stack):
    try:
        return stack.enter_context(safe_open(path, framework="numpy"))
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read {path} ({error}); copy it again.") from error


def _read_json(path) -> dict:
    try:
        fields = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path} ({error}); copy it again.") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} should hold a JSON object.")
    return fields


def _parse_config(path) -> dict:
    """LlamaConfig's fields from config.json, or a refusal of what we do not model."""
    raw = _read_json(path)
    if raw.get("architectures") != ["LlamaForCausalLM"]:
        raise UserError(
            f"{path} describes {raw.get('architectures')}; only ['LlamaForCausalLM'] "
            "is supported."
        )
    # transformers 5 nests in rope_parameters what version 4 has at the top and in
    # rope_scaling; a file may hold both, so that each reads its own.
    schemes = [raw.get(name) or {} for name in ("rope_scaling", "rope_parameters")]
    rope = schemes[0] | schemes[1]
    types = [s.get("rope_type") or s.get("type") or "default" for s in schemes]
    refused = {
        "rope_type": (next((t for t in types if t != "default"), "default"), "default"),
        "partial_rotary_factor": (rope.get("partial_rotary_factor") or 1.0, 1.0),
        "attention_bias": (raw.get("attention_bias", False), False),
        "mlp_bias": (raw.get("mlp_bias", False), False),
        "hidden_act": (raw.get("hidden_act", "silu"), "silu"),
        "quantization_config": (raw.get("quantization_config"), None),
    }
    for name, (found, supported) in refused.items():
        if found != supported:
            raise UserError(
                f"{path} has {name}={found!r}; only {supported!r} is supported."
            )
    try:
        heads = raw["num_attention_heads"]
        return {
            "vocab_size": raw["vocab_size"],
            "width": raw["hidden_size"],
            "mlp_width": raw["intermediate_size"],
            "layers": raw["num_hidden_layers"],
            "heads": heads,
            "kv_heads": raw.get("num_key_value_heads") or heads,
            "head_size": raw.get("head_dim") or raw["hidden_size"] // heads,
            "rope": Rope(rope.get("rope_theta") or raw.get("rope_theta", 10_000.0)),
            "rms_eps": raw.get("rms_norm_eps", 1e-6),
            "tie_embeddings": raw.get("tie_word_embeddings", False),
        }
    except KeyError as error:
        raise UserError(f"{path} lacks the field {error}.") from error


def _format_config(config: LlamaConfig) -> dict:
    """config.json, with the spellings that transformers 4 and 5 read."""
    c = config
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_size,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": c.rms_eps,
        "rope_theta": c.rope.theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope.theta},
        "tie_word_embeddings": c.tie_embeddings,
        "torch_dtype": c.param_dtype,
        # Without these the reference assumes ids 1 and 2.
        "bos_token_id": None,
        "eos_token_id": None,
    }

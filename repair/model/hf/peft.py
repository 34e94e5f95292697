"""Adapters as a folder that PEFT loads with their base model.

Source: the checkpoint format of Hugging Face's PEFT, with the fewest settings that it
takes without a warning.
"""

import json
import pathlib

import jax
import numpy as np
from safetensors.numpy import save_file

from repair.errors import UserError
from repair.model.hf.names import STACKED, leaves_of, tensor_names
from repair.model.hf.weights import read_json, tensors_of
from repair.model.llama import LlamaConfig
from repair.model.lora import init_adapters
from repair.model.sharding import place_params

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
# Ours is x @ a @ b; theirs are the weights of two linear layers, [out, in].
_HALVES = {"a": "lora_A", "b": "lora_B"}


def save_peft(
    folder, config: LlamaConfig, params, base: str = "", dtype: str | None = None
) -> None:
    """Write the adapters alone.

    Args:
      folder: Created if missing; an adapter that it holds is replaced.
      config: The model's.
      params: As from `Model.init_params`, of one process.
      base: Folder or Hub name of the model that the adapters were trained on.
      dtype: Type to store, such as "bfloat16"; by default the parameters' own.

    Raises:
      UserError: The model has no adapters, or the folder cannot be written.
    """
    if "lora" not in params:
        raise UserError(
            "the model has no adapters (lora_rank is 0); export its weights instead."
        )
    folder = pathlib.Path(folder)
    tensors, modules = {}, set()
    for (*where, half), leaf in leaves_of(params["lora"]).items():
        array = np.asarray(jax.device_get(leaf))
        names = tensor_names(config, (*where, "kernel"))
        layers = array if where[0] == STACKED else [array]
        for name, layer in zip(names, layers, strict=True):
            modules.add(name.split(".")[-2])
            # The writer copies memory as it lies: it would scramble a transposed view.
            stored = np.ascontiguousarray(layer.T)
            tensors[_key(name, half)] = stored.astype(dtype or stored.dtype)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.lora_rank,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
        save_file(tensors, folder / ADAPTER, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"Cannot write adapters to {folder} ({error}); choose another folder."
        ) from error


def is_peft(source) -> bool:
    """Return True for a folder of adapters."""
    return (pathlib.Path(source) / CONFIG).is_file()


def read_peft(folder) -> dict:
    """Return the fields of LlamaConfig that a folder of adapters decides.

    Raises:
      UserError: The folder holds no adapters, or of a kind that is not supported.
    """
    path = pathlib.Path(folder) / CONFIG
    settings = read_json(path)
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    plain = {"use_rslora": False, "use_dora": False, "bias": "none"}
    odd = [f"{k}={settings[k]!r}" for k, v in plain.items() if settings.get(k, v) != v]
    if settings.get("peft_type") != "LORA" or odd:
        kind = ", ".join(odd) or f"peft_type={settings.get('peft_type')!r}"
        raise UserError(f"{path}: {kind}; only plain LORA adapters are supported")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise UserError(f"{path}: r={rank!r}, lora_alpha={alpha!r}; expected numbers")
    return {"lora_rank": rank, "lora_alpha": float(alpha)}


def load_peft(folder, config: LlamaConfig, mesh=None) -> dict:
    """Return {"lora"}: the adapters of a folder.

    Args:
      folder: As `save_peft` or PEFT writes it, with adapters on every linear layer.
      config: The model's, with the fields of `read_peft`.
      mesh: Mesh of the parameters; by default they are on the default device.

    Raises:
      UserError: A file is missing or torn, or the adapters are of another model.
    """
    path = pathlib.Path(folder) / ADAPTER
    tensors = tensors_of(path)
    tree = jax.eval_shape(lambda key: init_adapters(config, key), jax.random.key(0))

    def read(where, leaf):
        *above, half = (entry.key for entry in where[1:])
        names = [_key(n, half) for n in tensor_names(config, (*above, "kernel"))]
        stacked = above[0] == STACKED
        shape = leaf.shape[1:] if stacked else leaf.shape
        out = np.empty((len(names), *shape), leaf.dtype)
        for place, name in zip(out, names, strict=True):
            stored = tensors.pop(name, None)
            if stored is None or stored.shape[::-1] != shape:
                found = "is missing" if stored is None else f"has shape {stored.shape}"
                raise UserError(
                    f"{path}: {name} {found}, expected {shape[::-1]}; the adapters"
                    " belong to another model or leave out some of its linear layers"
                )
            stored.read_into(place, (slice(None), slice(None)), flip=True)
        return out if stacked else out[0]

    found = jax.tree_util.tree_map_with_path(read, tree)
    if tensors:
        raise UserError(
            f"{path} holds {len(tensors)} tensors that this model has no place for,"
            f" such as {min(tensors)}"
        )
    return jax.device_put(found) if mesh is None else place_params(mesh, found)


def _key(name: str, half: str) -> str:
    """Return PEFT's name of one half of the adapter of a tensor."""
    return f"base_model.model.{name.removesuffix('.weight')}.{_HALVES[half]}.weight"

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
from repair.model.llama import LlamaConfig

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
# Ours is x @ a @ b; theirs are the weights of two linear layers, [out, in].
_HALVES = {"a": "lora_A", "b": "lora_B"}


def save_peft(folder, config: LlamaConfig, params, base: str = "") -> None:
    """Write the adapters alone.

    Args:
      folder: Created if missing; an adapter that it holds is replaced.
      config: The model's.
      params: As from `Model.init_params`, of one process.
      base: Folder or Hub name of the model that the adapters were trained on.

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
            module = name.removesuffix(".weight")
            modules.add(module.rsplit(".", 1)[1])
            key = f"base_model.model.{module}.{_HALVES[half]}.weight"
            # The writer copies memory as it lies: it would scramble a transposed view.
            tensors[key] = np.ascontiguousarray(layer.T)
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

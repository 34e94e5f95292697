"""Low-rank adapters, and the split of a parameter tree into trained and frozen parts.

A tree is {"params": ..., "lora": ...}. Splitting moves whole collections: gradients,
the optimizer and checkpoints hold the trained part only, and the policy shares the
frozen part with its reference.

Source: Hu et al. 2021 (arXiv 2106.09685): kernel + alpha / rank * a @ b.
"""

import jax.numpy as jnp

from repair.model.api import Model
from repair.model.llama import LlamaConfig

MODES = ("full", "lora")


def split(params: dict, mode: str) -> tuple[dict, dict]:
    """Return (trainable, frozen) collections; `join` is the inverse.

    Args:
      params: As from `Model.init_params`.
      mode: "full" trains every weight, adapters included; "lora" the adapters only.

    Raises:
      ValueError: Another mode, or "lora" for a tree without adapters.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is none of {MODES}")
    if mode == "full":
        return dict(params), {}
    if "lora" not in params:
        raise ValueError("mode='lora' needs adapters: set the model's lora_rank")
    frozen = {name: tree for name, tree in params.items() if name != "lora"}
    return {"lora": params["lora"]}, frozen


def join(trainable: dict, frozen: dict) -> dict:
    """Return the whole tree of the two parts of `split`."""
    return {**frozen, **trainable}


def init_adapters(config: LlamaConfig, key) -> dict:
    """Return {"lora"}: fresh adapters, which change no output. For use under jit."""
    return {"lora": Model(config).init_params(key)["lora"]}


def merge_kernel(config: LlamaConfig, kernel, a, b):
    """Return kernel + alpha / rank * a @ b, in the kernel's type."""
    # Accelerators round the operands of float32 products by default.
    delta = jnp.matmul(a, b, precision="float32")
    merged = kernel.astype(jnp.float32) + config.lora_alpha / config.lora_rank * delta
    return merged.astype(kernel.dtype)

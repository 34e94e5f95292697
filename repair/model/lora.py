"""Low-rank adapters as subtrees: which part of a parameter tree is trained.

A tree is {"params": ..., "lora": ...}. Splitting and joining move whole collections,
so that a gradient, an optimizer or a checkpoint sees the trained half only and the
policy and its reference can share the frozen one.

Source: Hu et al. 2021 (arXiv 2106.09685): kernel + alpha / rank * a @ b.
"""

import jax.numpy as jnp

from repair.model.llama import Llama, LlamaConfig

MODES = ("full", "lora")


def split(params: dict, mode: str) -> tuple[dict, dict]:
    """(trainable, frozen) collections; `join` undoes it.

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
    """The tree that `split` parted."""
    return {**frozen, **trainable}


def init_adapters(config: LlamaConfig, key) -> dict:
    """{"lora"}: fresh adapters, which change no output. For use under `jax.jit`."""
    token_BT = jnp.zeros((1, 1), jnp.int32)
    fresh = Llama(config).init(key, token_BT, token_BT, token_BT, None)
    return {"lora": fresh["lora"]}


def merge_adapters(config: LlamaConfig, params: dict) -> dict:
    """{"params"} with each adapter added to its kernel, in the kernel's type.

    A tree without adapters comes back as it is. For use under a config whose
    lora_rank is 0. Stacked layers (leading axis L) are merged alike.
    """
    if "lora" not in params:
        return {"params": params["params"]}

    def add(base: dict, adapters: dict) -> dict:
        if "kernel" in base:
            kernel = merge_kernel(config, base["kernel"], adapters["a"], adapters["b"])
            return {**base, "kernel": kernel}
        return {
            name: add(tree, adapters[name]) if name in adapters else tree
            for name, tree in base.items()
        }

    return {"params": add(params["params"], params["lora"])}


def merge_kernel(config: LlamaConfig, kernel, a, b):
    """A kernel with alpha / rank * a @ b added, in its type; leading axes are kept."""
    # Accelerators round the operands of float32 products by default.
    delta = jnp.matmul(a, b, precision="float32")
    merged = kernel.astype(jnp.float32) + config.lora_alpha / config.lora_rank * delta
    return merged.astype(kernel.dtype)

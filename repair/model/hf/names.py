"""Names of the tensors of a Hugging Face checkpoint, by leaf of our parameters.

Linear weights are [out, in] there and [in, out] here. Nothing else differs, the rotary
layout included (first half with second half).
"""

import jax
import numpy as np

from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.model.lora import merge_kernel

# Path under a layer's subtree -> name under model.layers.{i}.
LAYER_NAMES = {
    ("attention_norm", "scale"): "input_layernorm.weight",
    ("attention", "q", "kernel"): "self_attn.q_proj.weight",
    ("attention", "q", "bias"): "self_attn.q_proj.bias",
    ("attention", "q_norm", "scale"): "self_attn.q_norm.weight",
    ("attention", "k", "kernel"): "self_attn.k_proj.weight",
    ("attention", "k", "bias"): "self_attn.k_proj.bias",
    ("attention", "k_norm", "scale"): "self_attn.k_norm.weight",
    ("attention", "v", "kernel"): "self_attn.v_proj.weight",
    ("attention", "v", "bias"): "self_attn.v_proj.bias",
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
STACKED = "layers"  # subtree of a scanned model; else there is one for each layer


def leaves_of(tree) -> dict:
    """Return leaves by path, a tuple of keys, in tree order."""
    return {
        tuple(entry.key for entry in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def expected_params(config: LlamaConfig) -> dict:
    """Return {"params"} with the shape and type of every leaf."""
    tree = jax.eval_shape(Model(config).init_params, jax.random.key(0))
    return {"params": tree["params"]}


def tensor_names(config: LlamaConfig, path) -> list[str]:
    """Return the tensors of a leaf: one, or for a stacked leaf one for each layer."""
    if path in TOP_NAMES:
        return [TOP_NAMES[path]]
    name = LAYER_NAMES[path[1:]]
    if path[0] == STACKED:
        return [f"model.layers.{i}.{name}" for i in range(config.layers)]
    return [f"model.layers.{path[0].removeprefix('layers_')}.{name}"]


def is_flipped(path) -> bool:
    """Return True if the tensor of this leaf is stored transposed."""
    return path[-1] == "kernel"


def merged_tensors(config: LlamaConfig, params):
    """Yield (name, numpy array) of every tensor, adapters merged, as transformers'."""
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

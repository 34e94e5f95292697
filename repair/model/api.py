"""The network as the rest of `repair` uses it: pure functions over pytrees."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from repair.model import kv_cache as kv
from repair.model.llama import Llama, LlamaConfig
from repair.model.sharding import over_vocabulary


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder's functions; hashable, since it holds no arrays.

    Parameters are the plain dict {"params": ..., "lora": ...}, the latter with adapters
    only.

    Attributes:
      config: Shape and numerics.
      mesh: Mesh to shard activations over, or None.
    """

    config: LlamaConfig
    mesh: Mesh | None = None

    def init_params(self, key) -> dict:
        """Return fresh parameters, a function of the key."""
        tokens_BT = jnp.zeros((1, 1), jnp.int32)
        return dict(self._llama().init(key, tokens_BT, tokens_BT, tokens_BT, None))

    def forward(
        self, params, tokens_BT, cache=None, positions_BT=None, segments_BT=None
    ):
        """Return (logits_BTV in float32, the cache after these tokens).

        Args:
          params: As from `init_params`.
          tokens_BT: Token ids.
          cache: From `init_cache`, or None to attend within this call only.
          positions_BT: Position of each token in its sequence, by default 0..T-1. With
            a cache, position p is written to slot p; those at or past S mark padding
            and are dropped.
          segments_BT: Without a cache, the segment of each token, which attends within
            it, or `packed.Branches`; by default a row is one. With a cache, None or
            `kv_cache.Pieces`.
        """
        hidden_BTD, cache = self.hidden(
            params, tokens_BT, cache, positions_BT, segments_BT
        )
        return self.logits(params, hidden_BTD), cache

    def hidden(
        self, params, tokens_BT, cache=None, positions_BT=None, segments_BT=None
    ):
        """Return (hidden_BTD, cache): `forward` without the output head."""
        if positions_BT is None:
            positions_BT = jnp.broadcast_to(
                jnp.arange(tokens_BT.shape[1]), tokens_BT.shape
            )
        if segments_BT is None:
            segments_BT = jnp.zeros_like(tokens_BT)
        return self._llama().apply(
            params, tokens_BT, positions_BT, segments_BT, cache, method=Llama.hidden
        )

    def logits(self, params, hidden_D):
        """Apply the output head alone: float32 logits over V for any leading axes."""
        return self._llama().apply(params, hidden_D, method=Llama.logits)

    def head(self, params):
        """Return `logits` with its weights gathered once, for calls in a loop."""
        name, leaf, axis = "head", "kernel", 1
        if self.config.tie_embeddings:
            name, leaf, axis = "embed", "embedding", 0
        tree = params["params"]
        weights = over_vocabulary(self.mesh, tree[name][leaf], axis)
        held = params | {"params": tree | {name: {leaf: weights}}}
        return functools.partial(self.logits, held)

    def init_cache(self, batch: int, length: int, dtype=None):
        """Return an empty cache of B=batch rows and S=length slots.

        It has {"k": BKHS, "v": BKSH} per layer: a tuple of L dicts, which XLA updates
        in place, or under scan_layers one dict with a leading axis L.
        """
        c = self.config
        dtype = jnp.dtype(dtype or c.dtype)
        shape = (batch, length, c.kv_heads, c.head_size, dtype)
        if c.scan_layers:
            return kv.empty((c.layers,), *shape)
        return tuple(kv.empty((), *shape) for _ in range(c.layers))

    def _llama(self) -> Llama:
        return Llama(self.config, self.mesh)


def unstack(params):
    """Return parameters of a model with scan_layers in the layout without it."""

    def split_layers(tree):
        tree = dict(tree)
        layers = tree.pop("layers")
        for i in range(len(jax.tree.leaves(layers)[0])):
            tree[f"layers_{i}"] = jax.tree.map(lambda x, i=i: x[i], layers)
        return tree

    return {name: split_layers(tree) for name, tree in params.items()}


def count_params(params) -> int:
    """Return the number of scalars in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

"""What the rest of `repair` sees of the network: pure functions over pytrees."""

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
    """A decoder's functions. Free of arrays, hence hashable.

    Parameters are the plain dict {"params": ..., "lora": ...}; "lora" is there
    when the config has adapters.

    Attributes:
      config: Shape and numerics.
      mesh: Where it runs, if its activations are to be spread over several devices.
    """

    config: LlamaConfig
    mesh: Mesh | None = None

    def init_params(self, key) -> dict:
        """Fresh parameters, the same for the same key."""
        tokens_BT = jnp.zeros((1, 1), jnp.int32)
        init = self._llama().init
        return dict(init(key, tokens_BT, tokens_BT, tokens_BT, None))

    def forward(
        self, params, tokens_BT, cache=None, positions_BT=None, segments_BT=None
    ):
        """Logits of every token, and the cache after it.

        Args:
          params: As from `init_params`.
          tokens_BT: Token ids.
          cache: From `init_cache`, or None to attend within this call only.
          positions_BT: Position of every token in its sequence, by default 0..T-1.
            With a cache, position p is written to slot p; positions at or past S
            mark padding and are not written.
          segments_BT: Without a cache: tokens see only their own segment. By
            default a row is one segment. With a cache: a `cache.Items` if the tokens
            of all rows come as one row.

        Returns:
          (logits_BTV float32, cache).
        """
        return self._apply(
            Llama.__call__, params, tokens_BT, cache, positions_BT, segments_BT
        )

    def hidden(
        self, params, tokens_BT, cache=None, positions_BT=None, segments_BT=None
    ):
        """As `forward`, but stops before the output head: (hidden_BTD, cache)."""
        return self._apply(
            Llama.hidden, params, tokens_BT, cache, positions_BT, segments_BT
        )

    def logits(self, params, hidden_D):
        """The output head alone: float32 logits over V for any leading axes."""
        return self._llama().apply(params, hidden_D, method=Llama.logits)

    def head(self, params):
        """`logits` with its weights put together from their parts, once.

        For calls in a loop, which would otherwise fetch the parts at every turn.
        """
        name, leaf, axis = ("head", "kernel", 1)
        if self.config.tie_embeddings:
            name, leaf, axis = ("embed", "embedding", 0)
        tree = params["params"]
        weights = over_vocabulary(self.mesh, tree[name][leaf], axis)
        held = params | {"params": tree | {name: {leaf: weights}}}
        return functools.partial(self.logits, held)

    def init_cache(self, batch: int, length: int, dtype=None):
        """An empty cache of B=batch rows and S=length slots.

        Returns:
          Per layer {"k": BKHS, "v": BKSH}: a tuple of L such dicts, which XLA
          updates in place, or under scan_layers one dict with a leading axis L.
        """
        c = self.config
        dtype = jnp.dtype(dtype or c.dtype)
        shape = (batch, length, c.kv_heads, c.head_size, dtype)
        if c.scan_layers:
            return kv.empty((c.layers,), *shape)
        return tuple(kv.empty((), *shape) for _ in range(c.layers))

    def _llama(self) -> Llama:
        return Llama(self.config, self.mesh)

    def _apply(self, method, params, tokens_BT, cache, positions_BT, segments_BT):
        if positions_BT is None:
            positions_BT = jnp.broadcast_to(
                jnp.arange(tokens_BT.shape[1]), tokens_BT.shape
            )
        if segments_BT is None:
            segments_BT = jnp.zeros_like(tokens_BT)
        return self._llama().apply(
            params, tokens_BT, positions_BT, segments_BT, cache, method=method
        )


def unstack(params):
    """Parameters of a model with scan_layers as one without it has them."""

    def apart(tree):
        layers = tree["layers"]
        count = len(jax.tree.leaves(layers)[0])
        rest = {name: leaf for name, leaf in tree.items() if name != "layers"}
        return rest | {
            f"layers_{i}": jax.tree.map(lambda x, i=i: x[i], layers)
            for i in range(count)
        }

    return {name: apart(tree) for name, tree in params.items()}


def count_params(params) -> int:
    """Number of scalars in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

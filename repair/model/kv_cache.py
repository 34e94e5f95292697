"""The keys and values of past tokens: an explicit pytree, and attention over it.

One layer's cache is {"k": BKHS, "v": BKSH} (axis letters: see llama.py), so that both
matmuls of a decoded token read memory in order. A slot's index is its token's position:
each row fills at its own pace.
"""

import dataclasses

import jax
import jax.numpy as jnp

# Large enough to vanish in a softmax, small enough not to overflow in bfloat16.
MASKED = -1e30
# Most scores, and most bytes of keys and values, that a CPU works on at once: about the
# sizes of its caches.
CPU_SCORES, CPU_BYTES = 1 << 20, 4 << 20


def empty(lead, batch, length, kv_heads, head_size, dtype) -> dict:
    """Return one layer's cache of zeros, with leading axes `lead` (L when stacked)."""
    return {
        "k": jnp.zeros((*lead, batch, kv_heads, head_size, length), dtype),
        "v": jnp.zeros((*lead, batch, kv_heads, length, head_size), dtype),
    }


def slots(cache) -> int:
    """Return S of any cache: one layer's, a tuple of layers' or a stacked one."""
    return (cache if isinstance(cache, dict) else cache[0])["k"].shape[-1]


def resize(cache, S: int):
    """Cut or pad the slots of every row to S."""

    def fit(x, axis):
        widths = [(0, 0, 0)] * x.ndim
        widths[axis] = (0, S - x.shape[axis], 0)  # below 0 cuts
        return jax.lax.pad(x, jnp.zeros((), x.dtype), widths)

    def layer(c):
        return {"k": fit(c["k"], c["k"].ndim - 1), "v": fit(c["v"], c["v"].ndim - 2)}

    return layer(cache) if isinstance(cache, dict) else tuple(map(layer, cache))


def take_rows(cache, index_B):
    """Return the rows index_B of every layer, in that order."""
    return jax.tree.map(lambda x: jnp.take(x, index_B, axis=x.ndim - 4), cache)


def copy_row(cache, source, from_row, to_row):
    """Copy row `from_row` of `source`, which may have fewer slots, to row `to_row`."""

    def copy(x, y):
        axis = x.ndim - 4
        row = jax.lax.dynamic_slice_in_dim(y, from_row, 1, axis)
        start = [0] * x.ndim
        start[axis] = to_row
        return jax.lax.dynamic_update_slice(x, row, start)

    return jax.tree.map(copy, cache, source)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pieces:
    """The layout of a ragged prefill: one row of T tokens, cut into equal pieces.

    Rows of the cache get different numbers of new tokens without padding to the
    longest. Tokens that fill up a piece have positions at or past S.

    Attributes:
      rows: int32 (pieces,), the cache's row of each piece; B for a piece of padding.
    """

    rows: jax.Array

    def attend(self, q_1TNH, k_1TKH, v_1TKH, cache, positions_1T):
        """Write keys and values, then attend: (1T(N*H), cache)."""
        pieces = self.rows.shape[0]
        size = positions_1T.shape[1] // pieces
        rows_1T = jnp.repeat(self.rows, size, total_repeat_length=pieces * size)[None]
        cache = write(cache, k_1TKH, v_1TKH, positions_1T, rows_1T)
        q = q_1TNH.reshape(pieces, size, *q_1TNH.shape[2:])
        mine = take_rows(cache, jnp.minimum(self.rows, cache["v"].shape[0] - 1))
        out = attend(q, mine, positions_1T.reshape(pieces, size))
        return out.reshape(1, pieces * size, -1), cache


def write(cache, k_BTKH, v_BTKH, positions_BT, rows_BT=None) -> dict:
    """Write one layer's keys and values at each row's own positions.

    A token belongs to its row of the call unless rows_BT names another. Positions at or
    past S, which mark padding, are dropped.
    """
    rows = jnp.arange(k_BTKH.shape[0])[:, None] if rows_BT is None else rows_BT
    k, v = (new.astype(cache["k"].dtype) for new in (k_BTKH, v_BTKH))
    return {
        "k": cache["k"].at[rows, :, :, positions_BT].set(k, mode="drop"),
        "v": cache["v"].at[rows, :, positions_BT].set(v, mode="drop"),
    }


def attend(q_BTNH, cache, positions_BT):
    """Attend from each query to all slots up to its own position: BT(N*H)."""
    B, T, N, _ = q_BTNH.shape
    scores_per_row = N * T * slots(cache)
    bytes_per_row = sum(x.nbytes for x in cache.values()) // B
    # At least two rows of one token each: fewer do not keep the cores busy.
    tile = max(2, CPU_BYTES // bytes_per_row)
    tile = max(1, min(tile, CPU_SCORES // scores_per_row))
    while B % tile:
        tile -= 1
    if tile == B:
        return _attend(q_BTNH, cache, positions_BT)

    # A CPU takes longer to move all rows' scores, keys and values through memory than
    # to compute with them, so there a few rows go at a time.
    def on_cpu(*args):
        tiles = jax.tree.map(lambda x: x.reshape(B // tile, tile, *x.shape[1:]), args)
        return jax.lax.map(lambda rows: _attend(*rows), tiles).reshape(B, T, -1)

    return jax.lax.platform_dependent(
        q_BTNH, cache, positions_BT, cpu=on_cpu, default=_attend
    )


def _attend(q_BTNH, cache, positions_BT):
    B, T, N, H = q_BTNH.shape
    k_BKHS, v_BKSH = (cache[name].astype(q_BTNH.dtype) for name in ("k", "v"))
    K, S = v_BKSH.shape[1:3]
    G = N // K
    q_BKGTH = (q_BTNH * H**-0.5).reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4)
    # Groups and tokens are rows of one matmul for each key-value head.
    scores = jnp.matmul(
        q_BKGTH.reshape(B, K, G * T, H), k_BKHS, preferred_element_type=jnp.float32
    )
    visible_BTS = positions_BT[:, :, None] >= jnp.arange(S)[None, None]
    scores = jnp.where(
        visible_BTS[:, None, None], scores.reshape(B, K, G, T, S), MASKED
    )
    # Division after the matmul saves a pass over the scores.
    weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    total_BKGT = jnp.sum(weights, axis=-1)
    out = jnp.matmul(
        weights.reshape(B, K, G * T, S).astype(v_BKSH.dtype),
        v_BKSH,
        preferred_element_type=jnp.float32,
    )
    out_BKGTH = out.reshape(B, K, G, T, H) / total_BKGT[..., None]
    out_BTNH = out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, N * H)
    return out_BTNH.astype(q_BTNH.dtype)

"""The keys and values of past tokens: an explicit pytree, and attention over it.

One layer's cache is {"k": BKHS, "v": BKSH} (axis letters: see llama.py). Both
matmuls of a decoded token then read it in the order in which it lies in memory. A
slot's index is its token's position, so each row fills at its own pace.
"""

import dataclasses

import jax
import jax.numpy as jnp

# Large enough to vanish in a softmax, small enough not to overflow in bfloat16.
MASKED = -1e30
# Scores attended at once on CPU, about what stays in a core's cache.
CPU_TILE = 1 << 20


def empty(lead, batch, length, kv_heads, head_size, dtype) -> dict:
    """Zeros: one layer's cache with the leading axes `lead` (L when stacked)."""
    return {
        "k": jnp.zeros((*lead, batch, kv_heads, head_size, length), dtype),
        "v": jnp.zeros((*lead, batch, kv_heads, length, head_size), dtype),
    }


def slots(cache) -> int:
    """S of any cache: one layer's, a tuple of layers' or a stacked one."""
    return (cache if isinstance(cache, dict) else cache[0])["k"].shape[-1]


def resize(cache, S: int):
    """Cuts or pads the slots of every row to S."""

    def fit(x, axis):
        x = jax.lax.slice_in_dim(x, 0, min(S, x.shape[axis]), axis=axis)
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, S - x.shape[axis])
        return jnp.pad(x, widths)

    def layer(c):
        return {"k": fit(c["k"], c["k"].ndim - 1), "v": fit(c["v"], c["v"].ndim - 2)}

    return layer(cache) if isinstance(cache, dict) else tuple(map(layer, cache))


def take_rows(cache, index_B):
    """The rows index_B of every layer, in that order."""
    return jax.tree.map(lambda x: jnp.take(x, index_B, axis=x.ndim - 4), cache)


def copy_row(cache, source, from_row, to_row):
    """Row `from_row` of `source` over the first slots of row `to_row`.

    Slots beyond those of `source`, which may be shorter, keep what they hold.
    """

    def copy(x, y):
        axis = x.ndim - 4
        row = jax.lax.dynamic_slice_in_dim(y, from_row, 1, axis)
        start = [0] * x.ndim
        start[axis] = to_row
        return jax.lax.dynamic_update_slice(x, row, start)

    return jax.tree.map(copy, cache, source)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Items:
    """Where the tokens of a call belong that come as one row: pieces of equal length.

    Rows get different numbers of new tokens; laid out so, next to none are computed
    for nothing. Tokens that fill up a piece have positions at or past S.

    Attributes:
      rows_I: int32, the row of the cache of each piece; B for a piece of padding.
    """

    rows_I: jax.Array

    def attend(self, q_1NNH, k_1NKH, v_1NKH, cache, positions_1N):
        """Writes keys and values, then as `attend`: (1N(N*H), cache)."""
        pieces = self.rows_I.shape[0]
        size = positions_1N.shape[1] // pieces
        rows_1N = jnp.repeat(self.rows_I, size, total_repeat_length=pieces * size)[None]
        cache = write(cache, k_1NKH, v_1NKH, positions_1N, rows_1N)
        q_IQNH = q_1NNH.reshape(pieces, size, *q_1NNH.shape[2:])
        mine = take_rows(cache, jnp.minimum(self.rows_I, cache["v"].shape[0] - 1))
        out = attend(q_IQNH, mine, positions_1N.reshape(pieces, size))
        return out.reshape(1, pieces * size, -1), cache


def write(cache, k_BTKH, v_BTKH, positions_BT, rows_BT=None) -> dict:
    """Writes one layer's keys and values at each row's own positions.

    Rows are those of the call unless rows_BT says where each token belongs. Positions
    at or past S are dropped, which is how callers mark padding: such tokens leave no
    trace in the cache.
    """
    rows = jnp.arange(k_BTKH.shape[0])[:, None] if rows_BT is None else rows_BT
    k, v = (new.astype(cache["k"].dtype) for new in (k_BTKH, v_BTKH))
    return {
        "k": cache["k"].at[rows, :, :, positions_BT].set(k, mode="drop"),
        "v": cache["v"].at[rows, :, positions_BT].set(v, mode="drop"),
    }


def attend(q_BTNH, cache, positions_BT):
    """Attention of this call's queries to every slot up to their own position.

    Keys and values are not repeated for the groups; softmax in float32.

    Returns:
      BT(N*H), in the queries' type.
    """
    B, T, N, _ = q_BTNH.shape
    scores_per_row = N * T * slots(cache)
    tile = max(1, CPU_TILE // scores_per_row)
    while B % tile:
        tile -= 1
    if tile == B:
        return _attend(q_BTNH, cache, positions_BT)

    # A CPU spends more time on writing all rows' scores to memory and reading
    # them back than on computing them, so there a few rows go at a time.
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
    # Dividing after the matmul saves a pass over the scores.
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

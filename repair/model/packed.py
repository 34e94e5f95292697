"""Attention over packed rows, without a cache."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from repair.model import kv_cache as kv


class Branches(NamedTuple):
    """Segments of rows in which some continue a segment before them, each BT.

    Attributes:
      segments: Segment of each token.
      parents: Segment that the token attends to besides its own, which its positions
        go on from; its own where there is none.
    """

    segments: jax.Array
    parents: jax.Array


def attend_packed(q_BTNH, k_BTKH, v_BTKH, segments_BT, query_block: int):
    """Attend causally within segments or `Branches`, in blocks of queries: BT(N*H).

    A block that ends at t meets the keys before t only, so about half of the T * T
    scores are never computed.
    """
    B, T, N, H = q_BTNH.shape
    K = k_BTKH.shape[2]
    G = N // K
    # Heads before time, and the queries of a group as rows of one matrix: batched
    # matmuls that repeat no keys or values.
    q_BKGTH = (q_BTNH * H**-0.5).reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4)
    k_BKHT = k_BTKH.transpose(0, 2, 3, 1)
    v_BKTH = v_BTKH.transpose(0, 2, 1, 3)
    parents_BT = None
    if isinstance(segments_BT, Branches):
        segments_BT, parents_BT = segments_BT
    steps = jnp.arange(T)
    outs = []
    for start in range(0, T, query_block):
        end = min(start + query_block, T)
        causal = (steps[start:end, None] >= steps[None, :end])[None]
        met = segments_BT[:, None, :end]
        same = segments_BT[:, start:end, None] == met
        if parents_BT is not None:
            same |= parents_BT[:, start:end, None] == met
        q = q_BKGTH[:, :, :, start:end].reshape(B, K, -1, H)
        scores = jnp.matmul(q, k_BKHT[..., :end], preferred_element_type=jnp.float32)
        # Added, not selected with where: jax hoists the mask out of a scan over layers,
        # and would hold a selection's mask broadcast over all heads.
        bias = jnp.where(causal & same, 0.0, kv.MASKED)[:, None, None]
        scores = scores.reshape(B, K, G, end - start, end) + bias
        weights = jax.nn.softmax(scores, axis=-1).astype(v_BKTH.dtype)
        out = weights.reshape(B, K, -1, end) @ v_BKTH[:, :, :end]
        outs.append(out.reshape(B, K, G, end - start, H))
    out_BKGTH = outs[0] if len(outs) == 1 else jnp.concatenate(outs, axis=3)
    return out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, N * H)

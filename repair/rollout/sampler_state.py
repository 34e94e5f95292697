"""A sampler's rows, and what is done to them on the device besides decoding."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from repair.model import kv_cache as kv
from repair.rollout.decode import Sampled
from repair.rollout.ragged_prefill import Blocks


@dataclasses.dataclass(frozen=True)
class SamplerState:
    """Rows in the midst of their episodes.

    Attributes:
      cache: As from `Model.init_cache`, B rows.
      logits_BV: float32, logits of the token after the last extended one; stale
        for rows that have decoded since.
      length_B: int32 on the host, tokens of each row that are in the cache; those of
        before a command until it has ended and is collected.
      sampled: What the last decode has sampled, on the device.
      going_B: bool on the host, rows whose command goes on; None until the last decode
        is collected.
    """

    cache: Any
    logits_BV: jax.Array
    length_B: np.ndarray
    sampled: Sampled | None = None
    going_B: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """B, a row bucket."""
        return len(self.length_B)

    @property
    def slots(self) -> int:
        """S, a length bucket."""
        return kv.slots(self.cache)


def start(model, cache_dtype, B: int, S: int):
    """An empty cache, and logits that nobody has asked for yet."""
    cache = model.init_cache(B, S, cache_dtype)
    return cache, jnp.zeros((B, model.config.vocab_size), jnp.float32)


def select(cache, arrays, index_B):
    """Rows of a cache, and of anything else that has them in front."""
    arrays = jax.tree.map(lambda x_B: x_B[index_B], arrays)
    return kv.take_rows(cache, index_B), arrays


def insert(arrays, source, from_B, to_B, count):
    """Copies rows `from_B` of source, (cache, logits), to rows `to_B`: `count` of them.

    One after the other, so that nothing is written but the rows that change.
    """

    def copy(i, arrays):
        cache, logits_BV = arrays
        cache = kv.copy_row(cache, source[0], from_B[i], to_B[i])
        return cache, logits_BV.at[to_B[i]].set(source[1][from_B[i]])

    return jax.lax.fori_loop(0, count, copy, arrays)


def extend(model, params, cache, logits_BV, blocks: Blocks):
    """Processes known tokens block by block; the head runs at rows' ends only.

    Returns:
      (cache, logits): logits_BV, with those of the rows that got tokens anew.
    """
    B, S = logits_BV.shape[0], kv.slots(cache)

    def block(m, carry):
        cache, last_BD, fresh_B = carry
        tokens_N, positions_N, rows_I, ends_N = (x[m] for x in blocks[:-1])
        positions_N = jnp.where(positions_N < 0, S, positions_N)  # not written
        hidden_1ND, cache = model.hidden(
            params, tokens_N[None], cache, positions_N[None], kv.Pieces(rows_I)
        )
        last_BD = last_BD.at[ends_N].set(hidden_1ND[0], mode="drop")
        return cache, last_BD, fresh_B.at[ends_N].set(True, mode="drop")

    dtype = jnp.dtype(model.config.dtype)
    carry = cache, jnp.zeros((B, model.config.width), dtype), jnp.zeros(B, bool)
    cache, last_BD, fresh_B = jax.lax.fori_loop(0, blocks.count, block, carry)
    fresh_BV = model.logits(params, last_BD)
    return cache, jnp.where(fresh_B[:, None], fresh_BV, logits_BV)

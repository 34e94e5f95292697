"""The rows of a sampler, and the device programs that change them, but for decode."""

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
      logits_BV: float32, logits after the last extended token; stale for rows that have
        decoded since.
      length_B: int32 on the host, tokens of each row in the cache. A command counts
        once it has ended and is collected.
      sampled: Result of the last decode, on the device.
      going_B: bool on the host, rows whose command goes on; None while a decode is
        under way.
    """

    cache: Any
    logits_BV: jax.Array
    length_B: np.ndarray
    sampled: Sampled
    going_B: np.ndarray | None

    @property
    def rows(self) -> int:
        """B, a row bucket."""
        return len(self.length_B)

    @property
    def slots(self) -> int:
        """S, a length bucket."""
        return kv.slots(self.cache)


def empty_rows(model, cache_dtype, max_new: int, B: int, S: int):
    """Return an empty cache, and zeros for logits and sampled commands."""
    sampled = Sampled(
        tokens=jnp.zeros((B, max_new), jnp.int32),
        log_probs=jnp.zeros((B, max_new), jnp.float32),
        counts=jnp.zeros(B, jnp.int32),
        ended=jnp.ones(B, bool),
    )
    logits_BV = jnp.zeros((B, model.config.vocab_size), jnp.float32)
    return model.init_cache(B, S, cache_dtype), (logits_BV, sampled)


def select(cache, arrays, index_B):
    """Return rows of a cache, and of a tree of arrays that have them in front."""
    arrays = jax.tree.map(lambda x_B: x_B[index_B], arrays)
    return kv.take_rows(cache, index_B), arrays


def insert(arrays, source, from_B, to_B, count):
    """Copy `count` rows `from_B` of source, (cache, logits), to rows `to_B`.

    One after the other, so that only the rows that change are written.
    """

    def copy(i, arrays):
        cache, logits_BV = arrays
        cache = kv.copy_row(cache, source[0], from_B[i], to_B[i])
        return cache, logits_BV.at[to_B[i]].set(source[1][from_B[i]])

    return jax.lax.fori_loop(0, count, copy, arrays)


def extend(model, params, cache, logits_BV, blocks: Blocks):
    """Process known tokens block by block; the head runs at rows' ends only.

    Returns:
      (cache, logits): logits_BV, with new ones for the rows that got tokens.
    """
    B, S = logits_BV.shape[0], kv.slots(cache)

    def block(m, carry):
        cache, last_BD, fresh_B = carry
        tokens_T, positions_T, rows_I, ends_T = (x[m] for x in blocks[:-1])
        positions_T = jnp.where(positions_T < 0, S, positions_T)  # not written
        hidden_1TD, cache = model.hidden(
            params, tokens_T[None], cache, positions_T[None], kv.Pieces(rows_I)
        )
        last_BD = last_BD.at[ends_T].set(hidden_1TD[0], mode="drop")
        return cache, last_BD, fresh_B.at[ends_T].set(True, mode="drop")

    dtype = jnp.dtype(model.config.dtype)
    carry = cache, jnp.zeros((B, model.config.width), dtype), jnp.zeros(B, bool)
    cache, last_BD, fresh_B = jax.lax.fori_loop(0, blocks.count, block, carry)
    fresh_BV = model.logits(params, last_BD)
    return cache, jnp.where(fresh_B[:, None], fresh_BV, logits_BV)

"""One token for each row from its logits."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from repair.errors import MOST, MOST_TEMPERATURE, expect, expect_between
from repair.model.kv_cache import MASKED


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The distribution that tokens are drawn from.

    Attributes:
      temperature: Logits are divided by it; 0 is greedy.
      top_k: Keep the k likeliest tokens (all that tie with the k-th); 0 for all.
      top_p: Of these keep the likeliest that together reach this probability (Holtzman
        et al. 2020, arXiv 1904.09751); 1 for all.

    Raises:
      FieldError: A value is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        expect_between(self, 0, MOST_TEMPERATURE, "temperature")
        expect_between(self, 0, MOST, "top_k")
        share = 0 < self.top_p <= 1
        expect(share, "top_p", self.top_p, "above 0 and at most 1")

    def traced(self) -> "TracedSampling":
        """Return the form that goes through jit."""
        if self.temperature == 0:
            return TracedSampling(np.float32(1.0), None, 0, True)
        top_p = np.float32(self.top_p) if self.top_p < 1 else None
        return TracedSampling(np.float32(self.temperature), top_p, self.top_k, False)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("temperature", "top_p"),
    meta_fields=("top_k", "greedy"),
)
@dataclasses.dataclass(frozen=True)
class TracedSampling:
    """A `Sampling` as a pytree, so that another temperature compiles nothing.

    Attributes:
      temperature: Above 0.
      top_p: None to keep all.
      top_k: Static.
      greedy: Static; take the likeliest token.
    """

    temperature: jax.Array
    top_p: jax.Array | None
    top_k: int
    greedy: bool


def keep(scaled_BV, top_k: int, top_p):
    """Return the tokens that may be drawn, bool BV, given logits over the temperature.

    `top_k` and `top_p` are as in `Sampling`, but None stands for a top_p of 1.
    """
    kept_BV = jnp.ones_like(scaled_BV, bool)
    if 0 < top_k < scaled_BV.shape[-1]:
        least_B1 = jax.lax.top_k(scaled_BV, top_k)[0][:, -1:]
        kept_BV &= scaled_BV >= least_B1
        scaled_BV = jnp.where(kept_BV, scaled_BV, MASKED)
    if top_p is not None:
        probs_BV = jax.nn.softmax(scaled_BV)
        sorted_BV = -jnp.sort(-probs_BV, axis=-1)
        before_BV = jnp.cumsum(sorted_BV, axis=-1) - sorted_BV
        least_B1 = jnp.min(
            jnp.where(before_BV < top_p, sorted_BV, 2.0), axis=-1, keepdims=True
        )
        kept_BV &= probs_BV >= least_B1
    return kept_BV


def draw(sampling: TracedSampling, keys_B, step_B, logits_BV):
    """Draw one token a row with the typed PRNG key `fold_in(key, step)`.

    The step is the token's index in the row's command.

    Returns:
      (token_B int32, log_prob_B float32), log-probs of the distribution drawn from.
    """
    scaled_BV = logits_BV / sampling.temperature
    if sampling.top_k > 0 or sampling.top_p is not None:
        kept_BV = keep(scaled_BV, sampling.top_k, sampling.top_p)
        scaled_BV = jnp.where(kept_BV, scaled_BV, MASKED)
    log_probs_BV = jax.nn.log_softmax(scaled_BV)
    if sampling.greedy:
        token_B = jnp.argmax(log_probs_BV, axis=-1)
    else:
        token_B = _categorical(keys_B, step_B, jnp.exp(log_probs_BV))
    log_prob_B = jnp.take_along_axis(log_probs_BV, token_B[:, None], axis=-1)[:, 0]
    return token_B.astype(jnp.int32), log_prob_B


def _categorical(keys_B, step_B, probs_BV):
    """Sample by inverting the running sum at one uniform number a row.

    A random number for every entry, as `jax.random.categorical` draws them, costs
    as much as a layer of a small model. First a block of about sqrt(V) entries is
    chosen, then one of its entries; an entry of probability 0 never is.
    """
    B, V = probs_BV.shape
    keys_B = jax.vmap(jax.random.fold_in)(keys_B, step_B)
    uniform_B = jax.vmap(jax.random.uniform)(keys_B)
    size = math.isqrt(V - 1) + 1
    padded = jnp.pad(probs_BV, ((0, 0), (0, size * size - V)))
    blocks = padded.reshape(B, size, size)
    block_sums = jnp.sum(blocks, axis=-1)
    block_B, rest_B = _invert(block_sums, uniform_B * jnp.sum(block_sums, axis=-1))
    entries = jnp.take_along_axis(blocks, block_B[:, None, None], axis=1)[:, 0]
    entry_B, _ = _invert(entries, rest_B)
    return block_B * size + entry_B


def _invert(weights, target_B):
    """Find the first entry of positive weight whose running sum passes the target.

    Returns:
      Its index, and the part of the target that lies within it.
    """
    sums = jnp.cumsum(weights, axis=-1)
    sums = jnp.where(weights > 0, sums, 0.0)
    # Rounding may lift the target to the total, which nothing passes.
    target_B = jnp.minimum(target_B, jnp.nextafter(jnp.max(sums, axis=-1), 0.0))
    index_B = jnp.argmax(sums > target_B[:, None], axis=-1)
    before = jnp.take_along_axis(sums - weights, index_B[:, None], axis=-1)[:, 0]
    return index_B, target_B - before

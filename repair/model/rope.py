"""Rotary positions (Su et al. 2021, arXiv 2104.09864), with Llama 3's long contexts.

Pairs are (i, i + H/2), as in the checkpoints of Hugging Face.
"""

import dataclasses
import math

import jax.numpy as jnp

from repair.errors import expect, expect_between


@dataclasses.dataclass(frozen=True)
class Rope:
    """Frequencies of the rotation.

    Attributes:
      theta: Base of the frequencies.
      factor: Divisor of low frequencies, as in Llama 3.1 ("llama3" in config.json); 1
        for none.
      low: Frequencies of less than `low` turns in the original context are divided by
        the whole factor.
      high: Those of more than `high` turns stay; between, the divisor is interpolated.
      original: Context length of the first training, in tokens.
    """

    theta: float = 10_000.0
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __post_init__(self):
        expect_between(self, 1, 10**12, "theta", "original", above=True)
        expect_between(self, 1, 10**6, "factor")
        expect_between(self, 0, 10**6, "low", "high", above=True)
        expect(self.low < self.high, "low", self.low, f"below high={self.high}")

    def frequencies(self, head_size: int):
        """Return radians per token of each pair, float32 (H/2)."""
        exponents = jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size
        frequencies = self.theta**-exponents
        if self.factor == 1.0:
            return frequencies
        turns = self.original * frequencies / (2 * math.pi)
        keep = jnp.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)
        return frequencies * (keep + (1 - keep) / self.factor)


def rope_tables(positions_BT, head_size: int, rope: Rope):
    """Return cosine and sine of the rotary angles, each float32 BT(H/2)."""
    frequencies = rope.frequencies(head_size)[None, None]
    angles = positions_BT[..., None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BTNH, cos, sin):
    """Rotate pairs (i, i + H/2) of every head by the angles of its position."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[:, :, None, :], sin[:, :, None, :]
    out = jnp.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
    return out.astype(x_BTNH.dtype)

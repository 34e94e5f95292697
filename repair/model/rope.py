"""Rotary positions (Su et al. 2021, arXiv 2104.09864), with Llama 3's long contexts.

Rotary halves are laid out as in the Hugging Face checkpoints: pairs are (i, i + H/2).
"""

import dataclasses
import math

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Rope:
    """Frequencies of the rotation.

    Attributes:
      theta: Their base.
      factor: Above 1, low frequencies are divided by it, as in Llama 3.1 ("llama3" in
        Hugging Face's config.json); 1 for none of it.
      low: Wave lengths over original / low are divided by the whole factor.
      high: Those under original / high by nothing; between, by something between.
      original: Tokens of the context that the frequencies were first trained for.
    """

    theta: float = 10_000.0
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __post_init__(self):
        if self.factor < 1 or not self.low < self.high:
            raise ValueError(
                f"rope factor={self.factor}, low={self.low}, high={self.high} must hold"
                " factor >= 1 and low < high"
            )

    def frequencies(self, head_size: int):
        """Radians per token of each pair, (H/2) float32."""
        exponents = jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size
        frequencies = self.theta**-exponents
        if self.factor == 1.0:
            return frequencies
        turns = self.original * frequencies / (2 * math.pi)  # over the old context
        keep = jnp.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)
        return frequencies * (keep + (1 - keep) / self.factor)


def rope_tables(positions_BT, head_size: int, rope: Rope):
    """Cosine and sine of the rotary angles, each BT(H/2), float32."""
    frequencies = rope.frequencies(head_size)[None, None]
    angles = positions_BT[..., None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BTNH, cos, sin):
    """Rotates pairs (i, i + H/2) of every head by the angles of its position."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[:, :, None, :], sin[:, :, None, :]
    out = jnp.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
    return out.astype(x_BTNH.dtype)

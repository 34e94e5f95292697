"""Losses over packed batches, and every masked sum there is.

All sums run over the policy's tokens only and are divided by a denominator that
the caller fixes, so that micro-batches of one batch add up to it exactly.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from repair.errors import expect, expect_between
from repair.model.api import Model
from repair.model.packed import Branches
from repair.text.packing import Batch

RATIOS = ("token", "sequence")
_MOST = 10**6  # of weights and bounds
# Log ratios end here before the exponential: e^90 is infinite in float32, and the
# gradient of an infinity that a minimum passes over is nan.
_MOST_LOG_RATIO = 20.0


@dataclasses.dataclass(frozen=True)
class PolicyLossConfig:
    """The clipped policy gradient (Schulman et al. 2017, arXiv 1707.06347).

    Attributes:
      ratio: Ratio of the policy to the one that sampled, which is clipped: "token" for
        that of each token, "sequence" for the geometric mean over the episode's
        commands, whose gradient is still each token's own (GSPO-token, Zheng et al.
        2025, arXiv 2507.18071; a mean strays less, so choose smaller clips).
      importance_cap: Above 0, tokens are weighed by the ratio of the trainer's
        probability to the sampler's, up to this cap, and the clipped ratio starts at
        the trainer's (Yao et al. 2025, "truncated importance sampling"); 0 trusts the
        sampler.
      clip_low: Ratios below 1 - clip_low get no further push down.
      clip_high: Ratios above 1 + clip_high get no further push up.
      kl_coef: Weight of the KL to the reference policy.
      entropy_coef: Weight of the entropy bonus.
    """

    ratio: str = "token"
    importance_cap: float = 0.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coef: float = 0.01
    entropy_coef: float = 0.0

    def __post_init__(self):
        known = ", ".join(RATIOS)
        expect(self.ratio in RATIOS, "ratio", self.ratio, f"one of {known}")
        expect_between(self, 0, _MOST, "importance_cap", "kl_coef", "entropy_coef")
        expect_between(self, 0, 1, "clip_low", above=True)
        expect_between(self, 0, _MOST, "clip_high", above=True)


def masked_sum(x, mask):
    """Return the sum of x weighted by mask; x may be nan where mask is 0."""
    # Both the value and its gradient must ignore garbage, hence the inner where.
    return jnp.sum(jnp.where(mask != 0, x, 0.0) * mask)


class TokenStats(NamedTuple):
    """Statistics of every token given those before it, BT float32, 0 at t = 0.

    Attributes:
      log_probs: Log-prob of the token.
      entropy: Entropy of its distribution, in nats.
      hits: 1 where the token was the likeliest.
    """

    log_probs: jax.Array
    entropy: jax.Array
    hits: jax.Array


def token_stats(
    head,
    hidden_BTD,
    tokens_BT,
    temperature=1.0,
    chunk: int = 0,
    scored_BA=None,
    sources_BA=None,
) -> TokenStats:
    """Put activations through the head and compare with the tokens.

    The one place where outputs and tokens are shifted against one another: the
    output at t - 1 predicts the token at t, or that at another source.

    Args:
      head: Function from activations with any leading axes to logits.
      hidden_BTD: Activations after the last layer.
      tokens_BT: The tokens.
      temperature: Logits are divided by it.
      chunk: Tokens of each row whose logits exist at once, forward and backward, a
        divisor of T; 0 for all.
      scored_BA: Indices of the tokens to compare, T for none; others get zeros. None
        for all.
      sources_BA: Indices of the outputs that predict them; for `scored_BA` only.
    """

    def compare(hidden_BTD, next_BT):
        logits_BTV = head(hidden_BTD).astype(jnp.float32) / temperature
        log_probs = jax.nn.log_softmax(logits_BTV)
        picked = jnp.take_along_axis(log_probs, next_BT[..., None], axis=-1)[..., 0]
        entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
        hits = jnp.argmax(logits_BTV, axis=-1) == next_BT
        return picked, entropy, hits.astype(jnp.float32)

    if scored_BA is None:
        args = hidden_BTD, jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))
    else:
        if 0 < chunk < scored_BA.shape[1]:
            filling = (0, 0), (0, -scored_BA.shape[1] % chunk)
            last = tokens_BT.shape[1]
            scored_BA = jnp.pad(scored_BA, filling, constant_values=last)
            sources_BA = jnp.pad(sources_BA, filling)
        picked_BAD = jnp.take_along_axis(hidden_BTD, sources_BA[..., None], axis=1)
        args = picked_BAD, jnp.take_along_axis(tokens_BT, scored_BA, 1, mode="clip")
    B, T = args[1].shape
    if 0 < chunk < T:
        # Chunks in front for the loop; what is within is computed anew backwards.
        parts = jax.tree.map(
            lambda x: x.reshape(x.shape[0], T // chunk, chunk, *x.shape[2:]).swapaxes(
                0, 1
            ),
            args,
        )
        found = jax.lax.map(lambda part: jax.checkpoint(compare)(*part), parts)
        found = [x.swapaxes(0, 1).reshape(B, T) for x in found]
    else:
        found = compare(*args)
    if scored_BA is None:
        return TokenStats(*(jnp.pad(x[:, :-1], ((0, 0), (1, 0))) for x in found))
    at = jnp.arange(B)[:, None], scored_BA
    zeros = jnp.zeros(tokens_BT.shape, jnp.float32)
    return TokenStats(*(zeros.at[at].set(x, mode="drop") for x in found))


def batch_stats(
    model: Model, params, batch: Batch, temperature=1.0, chunk: int = 0
) -> TokenStats:
    """Return the token statistics of a batch; see `token_stats`."""
    segments = batch.segments
    if batch.parents is not None:
        segments = Branches(segments, batch.parents)
    hidden_BTD, _ = model.hidden(params, batch.tokens, None, batch.positions, segments)
    shared = batch.tokens, temperature, chunk, batch.scored, batch.sources
    return token_stats(model.head(params), hidden_BTD, *shared)


def kl_to_reference(log_probs, ref_log_probs):
    """Return a per-token estimate of KL(policy || reference) from samples.

    The estimator k3, ratio - 1 - log ratio (Schulman, "Approximating KL divergence").
    Where the reference is e^20 times as sure of a token, it stays there.
    """
    delta = jnp.maximum(log_probs - ref_log_probs, -_MOST_LOG_RATIO)
    return jnp.expm1(-delta) + delta


class LossInputs(NamedTuple):
    """Constants of the policy loss for some rows, each BT.

    Attributes:
      old: Log-probs of the policy that sampled.
      advantages: Advantage of the token's turn.
      mask: Weight of the token in all sums, 0 on tokens that nobody sampled; whatever
        the other arrays hold there is ignored.
      reference: Log-probs of the reference policy; None without a KL.
      importance: Importance weights of the surrogate; None for none.
      segments: Number of the token's episode in its row, from 0 to T; the ratio of
        sequences needs it.
    """

    old: jax.Array
    advantages: jax.Array
    mask: jax.Array
    reference: jax.Array | None = None
    importance: jax.Array | None = None
    segments: jax.Array | None = None


def segment_means(x_BT, mask_BT, segments_BT):
    """Return for each token the mean of x over its segment, weighted by mask, BT."""

    def row(x_T, mask_T, segments_T):
        # Segments count from 1, with 0 for padding.
        sums = [
            jax.ops.segment_sum(each_T, segments_T, num_segments=len(x_T) + 1)
            for each_T in (jnp.where(mask_T != 0, x_T, 0.0) * mask_T, mask_T)
        ]
        return (sums[0] / jnp.where(sums[1] == 0, 1.0, sums[1]))[segments_T]

    return jax.vmap(row)(x_BT, mask_BT, segments_BT)


def _ratios(log_probs, given: LossInputs, kind: str):
    """Return the ratio of each token, with the gradient of its own log-prob."""
    live = given.mask != 0
    log_ratio = jnp.where(live, log_probs - given.old, 0.0)
    if kind == "token":
        return jnp.exp(jnp.minimum(log_ratio, _MOST_LOG_RATIO))
    # The value is the sequence's. Had it the sequence's gradient too, all tokens would
    # be pulled at by the mean advantage of the episode's turns.
    mean = segment_means(log_ratio, given.mask, given.segments)
    own = jnp.where(live, log_probs, 0.0)
    value = jnp.exp(jnp.minimum(jax.lax.stop_gradient(mean), _MOST_LOG_RATIO))
    return value * jnp.exp(own - jax.lax.stop_gradient(own))


def policy_loss(
    stats: TokenStats, given: LossInputs, denominator, config: PolicyLossConfig
):
    """Return (loss, sums): clipped surrogate minus KL and entropy terms.

    The loss is divided by the denominator, a scalar; the sums are of metrics, weighted
    by the mask.
    """
    mask, live = given.mask, given.mask != 0
    ratio = _ratios(stats.log_probs, given, config.ratio)
    clipped = jnp.clip(ratio, 1 - config.clip_low, 1 + config.clip_high)
    advantages = jnp.where(live, given.advantages, 0.0)
    surrogate = jnp.minimum(ratio * advantages, clipped * advantages)
    if given.importance is not None:
        surrogate *= jnp.where(live, given.importance, 0.0)
    loss = -masked_sum(surrogate, mask)
    clips = (ratio * advantages > clipped * advantages).astype(jnp.float32)
    sums = {
        "clip_fraction": masked_sum(clips, mask),
        "entropy": masked_sum(stats.entropy, mask),
    }
    if given.reference is not None:
        # Masked before the exponential: garbage there must not reach the gradient.
        safe = [jnp.where(live, x, 0.0) for x in (stats.log_probs, given.reference)]
        sums["kl"] = masked_sum(kl_to_reference(*safe), mask)
        loss += config.kl_coef * sums["kl"]
    loss -= config.entropy_coef * sums["entropy"]
    return loss / denominator, sums


def importance_weights(trainer, sampler, cap: float):
    """Return min(trainer / sampler, cap) of probabilities; arguments are logs."""
    ratio = jnp.exp(jnp.minimum(trainer - sampler, jnp.log(cap)))
    return jax.lax.stop_gradient(ratio)

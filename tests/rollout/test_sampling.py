"""Draws follow the distribution, and only the tokens that are kept are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.rollout.sampling import Sampling, _categorical, draw, keep
from tests.rollout.nucleus import nucleus


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_sampling_follows_the_distribution():
    """51 tokens do not fill the 8 x 8 blocks, and two of them are impossible."""
    rng = np.random.default_rng(0)
    logits_V = rng.normal(size=51) * 2
    logits_V[[10, 50]] = -np.inf
    probs_V = np.exp(logits_V) / np.exp(logits_V).sum()
    count = 4000
    draws = _categorical(
        keys(count), np.zeros(count, int), jnp.tile(jnp.float32(probs_V), (count, 1))
    )
    observed = np.bincount(np.asarray(draws), minlength=51)
    assert observed[10] == observed[50] == 0
    expected = probs_V[probs_V > 0] * count
    chi2 = ((observed[probs_V > 0] - expected) ** 2 / expected).sum()
    assert chi2 < 90  # 48 degrees of freedom: one seed in 4,000 would exceed it


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (3, 1.0), (0, 0.5), (5, 0.8)])
def test_only_kept_tokens_are_drawn_with_their_share(top_k, top_p):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(200, 51)), jnp.float32) * 3
    sampling = Sampling(0.7, top_k, top_p).traced()
    kept = keep(logits / 0.7, sampling.top_k, sampling.top_p)
    np.testing.assert_array_equal(kept, nucleus(logits / 0.7, top_k, top_p))
    token, log_prob = draw(sampling, keys(200), np.zeros(200, int), logits)
    assert np.take_along_axis(np.asarray(kept), token[:, None], 1).all()
    scaled = np.where(kept, logits / 0.7, -np.inf)
    expected = np.take_along_axis(jax.nn.log_softmax(scaled), token[:, None], 1)[:, 0]
    np.testing.assert_allclose(log_prob, expected, atol=1e-5)


def test_greedy_takes_the_likeliest_with_the_models_own_log_prob():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(20, 51)), jnp.float32)
    sampling = Sampling(0.0, top_k=3, top_p=0.5).traced()
    token, log_prob = draw(sampling, keys(20), np.zeros(20, int), logits)
    np.testing.assert_array_equal(token, logits.argmax(axis=-1))
    expected = jax.nn.log_softmax(logits).max(axis=-1)
    np.testing.assert_allclose(log_prob, expected, atol=1e-6)


@pytest.mark.parametrize(
    "fields", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_impossible_distributions_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Sampling(**fields)

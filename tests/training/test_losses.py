"""Losses: hand-computed values, finite differences, masks and microbatches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.training import losses
from repair.training.losses import (
    LossInputs,
    PolicyLossConfig,
    TokenStats,
    policy_loss,
    token_stats,
)

CONFIG = PolicyLossConfig(clip_low=0.2, clip_high=0.3, kl_coef=0.1, entropy_coef=0.05)
jitted = jax.jit(policy_loss, static_argnames="config")


def run(batch, denominator, config, loss=jitted):
    """Return the loss of arrays by name."""
    stats = TokenStats(batch["log_probs"], batch["entropy"], None)
    names = LossInputs._fields
    given = {name: batch[name] for name in names if name in batch}
    return loss(stats, LossInputs(**given), denominator, config)


def by_hand(new, old, advantages, mask=1.0, entropy=0.0, **others):
    """Arrays by name; numbers stand for all tokens."""
    arrays = {"advantages": advantages, "mask": mask, "entropy": entropy}
    full = {name: np.broadcast_to(x, np.shape(new)) for name, x in arrays.items()}
    return {"log_probs": new, "old": old, **full, **others}


def random_batch(shape=(3, 5), seed=0):
    rng = np.random.default_rng(seed)
    draw = functools.partial(rng.normal, size=shape)
    log_probs = -np.abs(draw()) - 0.1
    return {
        "log_probs": log_probs,
        "old": log_probs + 0.3 * draw(),
        "reference": log_probs + 0.3 * draw(),
        "entropy": np.abs(draw()),
        "advantages": draw(),
        "mask": (rng.random(shape) < 0.6).astype(np.float32),
    }


def test_masked_sum():
    x = jnp.array([1.0, jnp.nan, 4.0, jnp.inf])
    assert losses.masked_sum(x, jnp.array([1.0, 0, 1, 0])) == 5
    assert losses.masked_sum(x, jnp.array([3.0, 0, 1, 0])) == 7
    assert losses.masked_sum(x, jnp.zeros(4)) == 0
    gradient = jax.grad(losses.masked_sum)(x, jnp.array([3.0, 0, 1, 0]))
    assert jnp.all(gradient == jnp.array([3.0, 0, 1, 0]))


def test_policy_loss_by_hand():
    # Ratios 1, 2, 2, 1/2, 1/2 with clipping to [0.8, 1.3]; the last is masked.
    old = np.log([0.5, 0.2, 0.2, 0.4, 0.4])
    new = np.log([0.5, 0.4, 0.4, 0.2, 0.2])
    advantages = np.array([2.0, 1.0, -1.0, -1.0, 5.0])
    mask = np.array([1.0, 1, 1, 1, 0])
    entropy = np.array([0.0, 0.4, 0.4, 0.0, 9.0])
    loss, metrics = run(
        by_hand(new, old, advantages, mask, entropy, reference=new), 4.0, CONFIG
    )
    expected = -(2.0 + 1.3 - 2.0 - 0.8) / 4 - 0.05 * 0.8 / 4
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metrics["clip_fraction"] == 2
    assert metrics["entropy"] == pytest.approx(0.8)
    assert metrics["kl"] == pytest.approx(0, abs=1e-6)


def test_kl_by_hand():
    new, ref = np.log([0.5]), np.log([0.25])
    config = PolicyLossConfig(kl_coef=2.0)
    loss, metrics = run(by_hand(new, new, 0.0, reference=ref), 1.0, config)
    assert metrics["kl"] == pytest.approx(-0.5 + np.log(2), rel=1e-5)
    assert loss == pytest.approx(2 * (-0.5 + np.log(2)), rel=1e-5)


def test_mean_gradient_of_the_kl_is_that_of_its_reverse():
    """Over the policy's own samples, KL(reference || policy) pulls in the same way."""
    policy, ref = jnp.array([0.3, -0.2, 0.9]), jnp.array([-0.5, 0.4, 0.1])

    def expected(logits):
        sampling = jax.lax.stop_gradient(jax.nn.softmax(logits))
        log_probs, ref_log_probs = map(jax.nn.log_softmax, (logits, ref))
        return jnp.sum(sampling * losses.kl_to_reference(log_probs, ref_log_probs))

    def kl(p, q):
        p, q = jax.nn.log_softmax(p), jax.nn.log_softmax(q)
        return jnp.sum(jnp.exp(p) * (p - q))

    np.testing.assert_allclose(
        jax.grad(expected)(policy), jax.grad(kl, 1)(ref, policy), atol=1e-6
    )


def check_gradient(batch, config):
    """Of the loss by each log-prob, against finite differences."""

    @jax.jit
    def value(log_probs):
        arrays = batch | {"log_probs": log_probs}
        return run(arrays, 7.0, config, policy_loss)[0]

    with jax.enable_x64(True):
        x = jnp.asarray(batch["log_probs"], jnp.float64)
        gradient = jax.grad(value)(x)
        for index in np.ndindex(x.shape):
            step = np.zeros(x.shape)
            step[index] = 1e-6
            difference = (value(x + step) - value(x - step)) / 2e-6
            assert gradient[index] == pytest.approx(float(difference), abs=1e-7)


def test_gradient_equals_finite_differences():
    config = PolicyLossConfig(clip_low=0.2, clip_high=0.3, kl_coef=0.1)
    check_gradient(random_batch((4, 6), seed=1), config)


def clipped_sum(ratios, batch, config):
    """Sum the clipped surrogate of ratios, token by token."""
    total = 0.0
    for place in np.ndindex(ratios.shape):
        if batch["mask"][place]:
            advantage, ratio = batch["advantages"][place], ratios[place]
            bounded = min(max(ratio, 1 - config.clip_low), 1 + config.clip_high)
            total += min(ratio * advantage, bounded * advantage)
    return total


def sequence_ratios(log_probs, batch):
    """Return s of every token by its definition, one episode after the other."""
    ratios = np.ones(log_probs.shape)
    for r, segments in enumerate(batch["segments"]):
        for episode in set(segments.tolist()) - {0}:
            sampled = [
                t
                for t, s in enumerate(segments)
                if s == episode and batch["mask"][r, t]
            ]
            product = 1.0
            for t in sampled:
                product *= np.exp(log_probs[r, t] - batch["old"][r, t])
            ratios[r, segments == episode] = product ** (1 / max(len(sampled), 1))
    return ratios


SEQUENCE = PolicyLossConfig(
    ratio="sequence", clip_low=0.05, clip_high=0.05, kl_coef=0.0
)


def packed_batch(seed):
    """Rows of up to three episodes, one of them without a sampled token."""
    batch = random_batch((3, 14), seed) | {"reference": None}
    rows = [
        [1] * 5 + [2] * 3 + [3] * 4 + [0] * 2,
        [1] * 9 + [2] * 5,
        [1] * 4 + [0] * 10,
    ]
    batch["segments"] = np.array(rows)
    batch["mask"][batch["segments"] == 0] = 0
    batch["mask"][1, 9:] = 0
    return batch


@pytest.mark.parametrize("seed", range(4))
def test_ratio_of_sequences_against_its_definition(seed):
    """Values by a slow loop; gradients by differences of GSPO-token's objective."""
    batch = packed_batch(seed)
    at = batch["log_probs"]
    value = sequence_ratios(at, batch)
    loss, _ = run(batch, 7.0, SEQUENCE)
    assert loss == pytest.approx(-clipped_sum(value, batch, SEQUENCE) / 7, rel=1e-5)

    def of(log_probs):
        return run(batch | {"log_probs": log_probs}, 7.0, SEQUENCE, policy_loss)[0]

    gradient = jax.grad(of)(jnp.asarray(at))
    moved = 0
    for place in np.ndindex(at.shape):
        ends = []
        for step in (1e-6, -1e-6):
            # s is held; the token moves by its own probability over what it was.
            ratios = value.copy()
            ratios[place] *= np.exp(step)
            ends.append(-clipped_sum(ratios, batch, SEQUENCE) / 7)
        difference = (ends[0] - ends[1]) / 2e-6
        assert gradient[place] == pytest.approx(difference, abs=1e-5)
        moved += difference != 0
    # Some tokens are clipped and some are not, or this tests half of it.
    assert 0 < moved < batch["mask"].sum()


def test_tokens_of_a_sequence_keep_the_advantage_of_their_turn():
    advantages = np.array([[1.0] * 2 + [-1.0] * 6])
    batch = by_hand(np.full((1, 8), -1.0), np.full((1, 8), -1.0), advantages)
    batch["segments"] = np.ones((1, 8), int)

    def of(log_probs):
        return run(batch | {"log_probs": log_probs}, 1.0, SEQUENCE, policy_loss)[0]

    np.testing.assert_allclose(jax.grad(of)(batch["log_probs"]), -advantages)
    # Twice as likely as a whole, whichever token it is that changed.
    batch["old"] = batch["log_probs"] - np.log(2) * np.array([[8.0] + [0.0] * 7])
    wide = PolicyLossConfig(ratio="sequence", clip_low=0.9, clip_high=9, kl_coef=0.0)
    assert run(batch, 1.0, wide)[0] == pytest.approx(2 * (6 - 2), rel=1e-5)


@pytest.mark.parametrize("ratio", losses.RATIOS)
@pytest.mark.parametrize("off", [90.0, -90.0, 800.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_one_token_far_off_leaves_loss_and_gradient_finite(ratio, off, advantage):
    new = jnp.array([[-0.5, -1.0, -0.7]], jnp.float32)
    far = np.array([[0.0, off, 0.0]], np.float32)
    batch = by_hand(new, new - far, advantage, reference=new - far)
    trainer_BT, sampler_BT = new, new - far
    batch["importance"] = losses.importance_weights(trainer_BT, sampler_BT, 2.0)
    batch["segments"] = np.ones((1, 3), int)
    config = PolicyLossConfig(ratio=ratio, kl_coef=0.1)

    def of(log_probs):
        return run(batch | {"log_probs": log_probs}, 3.0, config, policy_loss)[0]

    loss, gradient = jax.value_and_grad(of)(new)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    # The others are pulled at all the same.
    assert np.all(np.asarray(gradient)[0, [0, 2]] != 0) or ratio == "sequence"


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ratio", losses.RATIOS)
def test_masked_entries_are_inert(garbage, ratio):
    config = dataclasses.replace(CONFIG, ratio=ratio)
    clean = random_batch(seed=2)
    live = clean["mask"] != 0
    dirty = {
        k: v if k == "mask" else np.where(live, v, garbage) for k, v in clean.items()
    }
    segments = np.broadcast_to([1, 1, 1, 2, 2], live.shape)

    @jax.jit
    def value(log_probs, entropy, batch):
        batch = batch | {"log_probs": log_probs, "entropy": entropy}
        return run(batch | {"segments": segments}, 9.0, config, policy_loss)

    both = jax.value_and_grad(value, (0, 1), has_aux=True)
    (loss, metrics), gradients = both(dirty["log_probs"], dirty["entropy"], dirty)
    (want, want_metrics), _ = both(clean["log_probs"], clean["entropy"], clean)
    assert loss == want and metrics == want_metrics
    for gradient in gradients:
        assert np.all(np.asarray(gradient)[~live] == 0)
        assert np.all(np.asarray(gradient)[live] != 0)


def test_microbatches_add_up_to_the_whole():
    batch = random_batch((6, 7), seed=3)
    whole, metrics = run(batch, 20.0, CONFIG)
    parts = [
        run({k: v[i : i + 2] for k, v in batch.items()}, 20.0, CONFIG)
        for i in (0, 2, 4)
    ]
    assert sum(p[0] for p in parts) == pytest.approx(float(whole), rel=1e-5)
    for name, value in metrics.items():
        assert sum(p[1][name] for p in parts) == pytest.approx(float(value), rel=1e-5)


def test_no_reference_no_kl():
    batch = random_batch() | {"reference": None}
    _, metrics = run(batch, 1.0, PolicyLossConfig(kl_coef=0.0))
    assert "kl" not in metrics


def test_targets_are_the_next_tokens_by_hand():
    probs_TV = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]
    logits = jnp.log(jnp.array([probs_TV])) + 3.0
    tokens = jnp.array([[2, 0, 1]])
    want = np.log([1.0, 0.5, 0.8])[None]
    found = token_stats(lambda x: x, logits, tokens)
    np.testing.assert_allclose(found.log_probs, want, rtol=1e-5)
    assert found.hits.tolist() == [[0, 1, 1]]
    halved = token_stats(lambda x: x, 2 * logits, tokens, temperature=2.0)
    np.testing.assert_allclose(halved.log_probs, want, rtol=1e-5)


def test_chunks_of_tokens_change_neither_values_nor_gradients():
    """And the logits of all tokens at once never exist."""
    rng = np.random.default_rng(0)
    B, T, D, V = 2, 12, 5, 16
    hidden = jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(D, V)), jnp.float32)
    tokens = jnp.asarray(rng.integers(0, V, (B, T)))
    pull = [jnp.asarray(rng.normal(size=(B, T)), jnp.float32) for _ in range(2)]

    def value(hidden, weights, chunk):
        stats = token_stats(lambda h: h @ weights, hidden, tokens, 0.7, chunk)
        total = (stats.log_probs * pull[0] + stats.entropy * pull[1]).sum()
        return total, stats

    grad = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
    compiled = jax.jit(grad, static_argnums=2)
    whole = compiled(hidden, weights, 0)
    for chunk in (1, 4, 6):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5),
            compiled(hidden, weights, chunk),
            whole,
        )
    for chunk, there in ((0, True), (4, False)):
        text = str(jax.make_jaxpr(lambda *a, c=chunk: grad(*a, c))(hidden, weights))
        assert (f"{B},{T},{V}]" in text) == there


def test_half_precision_logits_are_summed_in_float32():
    logits = jax.random.normal(jax.random.key(0), (2, 5, 11), jnp.bfloat16)
    tokens = jax.random.randint(jax.random.key(1), (2, 5), 0, 11)
    got = token_stats(lambda x: x, logits, tokens)
    want = token_stats(lambda x: x.astype(jnp.float32), logits, tokens)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_array_equal(a, b)


def test_entropy_and_log_probs_against_softmax():
    logits = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
    tokens = np.random.default_rng(1).integers(0, 6, (2, 4))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    log_probs, entropy, _ = token_stats(lambda x: x, logits, tokens)
    for b, t in np.ndindex(2, 3):
        want = np.log(p[b, t, tokens[b, t + 1]])
        assert log_probs[b, t + 1] == pytest.approx(want, rel=1e-4)
        want = -(p[b, t] * np.log(p[b, t])).sum()
        assert entropy[b, t + 1] == pytest.approx(want, rel=1e-4)
    assert not log_probs[:, 0].any() and not entropy[:, 0].any()


def test_importance_weights_are_capped_and_weigh_the_surrogate():
    trainer, sampler = np.log([0.5, 0.2, 0.9]), np.log([0.5, 0.4, 0.1])
    weights = losses.importance_weights(trainer, sampler, 2.0)
    np.testing.assert_allclose(weights, [1.0, 0.5, 2.0], rtol=1e-6)
    gradient = jax.grad(lambda x: losses.importance_weights(x, sampler, 2.0).sum())
    assert not gradient(jnp.asarray(trainer)).any()
    config = PolicyLossConfig(kl_coef=0.0)
    loss, _ = run(by_hand(trainer, trainer, 1.0, importance=weights), 1.0, config)
    assert loss == pytest.approx(-3.5)


def test_an_impossible_loss_is_refused():
    with pytest.raises(ValueError, match="importance_cap"):
        PolicyLossConfig(importance_cap=-1.0)
    with pytest.raises(ValueError, match="ratio is 'turn', expected one of token, seq"):
        PolicyLossConfig(ratio="turn")

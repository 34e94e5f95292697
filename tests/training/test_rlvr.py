"""Reinforcement learning: who is compared, what is summed, where it moves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from repair.env.environment import StepResult
from repair.rollout.rollout import Rollout
from repair.text.episodes import Episode
from repair.training import rlvr
from repair.training.batches import make_batches
from repair.training.losses import PolicyLossConfig, token_stats
from repair.training.optimizer import init_state
from repair.training.rlvr import Scores, Setup
from repair.training.rlvr_config import RlvrConfig
from repair.training.rollout_metrics import rollout_metrics
from tests.dummies import check_batch, unpacked

CONFIG = RlvrConfig(problems=2, samples=2, rows=2, row_length=40)
LENGTH = 32
SGD = optax.sgd(0.1)
no_kl = dataclasses.replace(CONFIG, loss=PolicyLossConfig(kl_coef=0.0))


def token_log_probs(logits, tokens):
    return token_stats(lambda x: x, logits, tokens).log_probs


@pytest.fixture(scope="module")
def play(model, params):
    """From (bug, sample, rewards, seed) to a rollout with the policy's log-probs."""
    score = jax.jit(lambda p, t: token_log_probs(model.forward(p, t)[0], t))

    def log_probs(tokens, params=params):
        padded = np.zeros((1, LENGTH), np.int32)
        padded[0, : len(tokens)] = tokens
        return np.asarray(score(params, padded))[0, : len(tokens)]

    def build(bug, sample, rewards, seed=0):
        rng = np.random.default_rng((seed, sample))
        prompt = np.random.default_rng(seed).integers(0, 300, 8).tolist()
        pieces, ids = [(prompt, -1)], list(prompt)
        for turn in range(len(rewards)):
            length = 2 + (sample + turn) % 3
            pieces.append((rng.integers(0, 300, length).tolist(), turn))
            if turn + 1 < len(rewards):
                pieces.append((rng.integers(0, 300, 3).tolist(), -1))
        ids = [i for piece, _ in pieces for i in piece]
        scores, start, episode = log_probs(ids), 0, Episode()
        for piece, turn in pieces:
            span = slice(start, start + len(piece))
            start = span.stop
            episode.append(piece, turn, scores[span] if turn >= 0 else None)
        results = [
            StepResult("", r, False, None, False, False) for r in (0.0, *rewards)
        ]
        results[-1] = dataclasses.replace(results[-1], done=True, status="max_turns")
        initial, *steps = results
        commands = ["x"] * len(rewards)
        return Rollout(bug, sample, episode, initial, steps, commands, "")

    build.log_probs = log_probs
    return build


def learn(model, params, rollouts, config=no_kl, reference=None, optimizer=SGD):
    state = init_state(jax.tree.map(jnp.copy, params), optimizer)
    reference = params if reference is None else reference
    setup = Setup(model, config, optimizer)
    return rlvr.update(setup, state, {}, reference, rollouts)


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def experience(play, bugs):
    """Two bugs with signal, of one, two and three turns."""
    return [
        play(bugs[0], 0, [1.0], 0),
        play(bugs[0], 1, [-0.5, -0.5, 0.0], 0),
        play(bugs[0], 2, [0.0, 1.0], 0),
        play(bugs[1], 0, [0.0, -0.5], 1),
        play(bugs[1], 1, [1.0, 0.0], 1),
        play(bugs[1], 2, [-0.5, -1.0], 1),
    ]


@pytest.fixture(scope="module")
def silent(play, bugs):
    """Return a bug whose samples all earn the same."""
    return [play(bugs[2], sample, [-0.5], 2) for sample in range(2)]


def test_batches_hold_the_groups_with_signal(experience, silent):
    batches, metrics = make_batches(experience + silent, CONFIG)
    expected = sum(sum(r.episode.mask) for r in experience)
    assert sum(float(b.mask.sum()) for b in batches) == expected
    assert metrics["zero_variance_groups"] == pytest.approx(1 / 3)
    for batch in batches:
        check_batch(batch)
        assert batch.tokens.shape == (2, 40)
    kept = {tuple(r.episode.ids) for r in experience}
    assert kept == {ids for batch in batches for ids in unpacked(batch, "tokens")}


def test_advantages_are_of_the_turn_among_samples_of_the_bug(play, bugs):
    first = [play(bugs[0], 0, [1.0], 0), play(bugs[0], 1, [0.0], 0)]
    second = [play(bugs[1], 0, [-0.5, 1.0], 1), play(bugs[1], 1, [0.0, 0.0], 1)]
    mixed = [first[0], second[0], first[1], second[1]]
    batches, _ = make_batches(mixed, CONFIG)
    found = {}
    for batch in batches:
        found |= unpacked(batch, "advantages")
    wanted = [[1.0], [0.5, 1.0], [-1.0], [-0.5, -1.0]]
    for rollout, by_turn in zip(mixed, wanted, strict=True):
        episode = rollout.episode
        expected = [0 if e < 0 else by_turn[e] for e in episode.turns]
        np.testing.assert_allclose(found[tuple(episode.ids)], expected)


def test_rows_are_shuffled_by_seed_and_step(play, bugs):
    """And hold the same episodes in any order; by length no batch is the longest's."""
    group = [play(bugs[0], n, [0.0] * (1 + n % 3) + [n % 2], 0) for n in range(24)]
    config = dataclasses.replace(CONFIG, rows=1, row_length=32)

    def of(order):
        return [
            batch.tokens[0].tobytes() for batch in make_batches(group, config, order)[0]
        ]

    first = of((3, 5))
    assert len(first) > 8 and of((3, 5)) == first
    others = [of(order) for order in ((3, 6), (4, 5))]
    assert all(other != first for other in others)
    assert all(sorted(other) == sorted(first) for other in others)
    # The first of a plan holds the longest episode in every order of the input.
    firsts = {of((0, step))[0] for step in range(20)}
    assert len(firsts) > 5


def test_an_update_shuffles_by_its_own_seed_and_step(
    model, params, experience, monkeypatch
):
    orders = []

    def spy(rollouts, config, order):
        orders.append(order)
        return [], {}

    monkeypatch.setattr(rlvr, "make_batches", spy)
    state = init_state(jax.tree.map(jnp.copy, params), SGD)
    setup = Setup(model, no_kl, SGD, seed=7)
    for _ in range(2):
        state, _ = rlvr.update(setup, state, {}, params, experience)
    assert orders == [(7, 0), (7, 1)]


def test_bugs_are_never_compared_with_one_another(model, params, play, bugs):
    easy = [play(bugs[0], sample, [1.0], 0) for sample in range(2)]
    hard = [play(bugs[1], sample, [-0.5], 1) for sample in range(2)]
    batches, _ = make_batches(easy + hard, CONFIG)
    assert batches == []


def test_without_signal_no_bit_of_the_parameters_moves(model, params, silent):
    """Not even by the KL to a reference that is elsewhere."""
    reference = jax.tree.map(lambda x: x * 1.5, params)
    adam = optax.adamw(0.1, weight_decay=0.1)
    state, metrics = learn(model, params, silent, CONFIG, reference, adam)
    assert same(state.trainable, params)
    assert int(state.step) == 1
    assert metrics["zero_variance_groups"] == 1


@pytest.mark.slow
def test_a_group_without_signal_changes_nothing_beside_others(
    model, params, experience, silent
):
    config = dataclasses.replace(CONFIG, rows=4)
    reference = jax.tree.map(lambda x: x * 1.1, params)
    alone, _ = learn(model, params, experience, config, reference)
    beside, _ = learn(model, params, experience + silent, config, reference)
    assert same(alone.trainable, beside.trainable)
    assert not same(alone.trainable, params)


@pytest.mark.slow
def test_micro_batches_add_up(model, params, experience):
    reference = jax.tree.map(lambda x: x * 1.1, params)

    def of(rows):
        config = dataclasses.replace(CONFIG, rows=rows, row_length=LENGTH)
        batches, _ = make_batches(experience, config)
        state, metrics = learn(model, params, experience, config, reference)
        return len(batches), state.trainable, metrics

    many, few = of(1), of(8)
    assert many[0] > 2 and few[0] == 1
    for a, b in zip(jax.tree.leaves(many[1]), jax.tree.leaves(few[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert few[2]["kl"] > 0
    for name in ("policy_loss", "kl", "entropy", "gradient_norm"):
        np.testing.assert_allclose(many[2][name], few[2][name], rtol=1e-4, atol=1e-6)


def test_rewarded_commands_become_likelier_and_penalised_ones_rarer(
    model, params, play, bugs
):
    good, bad = play(bugs[0], 0, [1.0], 0), play(bugs[0], 1, [-0.5], 0)
    state, metrics = learn(model, params, [good, bad])
    assert metrics["log_prob_gap"] == pytest.approx(0, abs=1e-5)
    for rollout, sign in ((good, 1), (bad, -1)):
        mask = np.array(rollout.episode.mask) == 1
        before = play.log_probs(rollout.episode.ids)[mask].sum()
        after = play.log_probs(rollout.episode.ids, state.trainable)[mask].sum()
        assert sign * (after - before) > 1e-3


def test_the_policy_trained_is_the_one_that_sampled(model, params, play, bugs):
    """At another temperature the sampler reports log-probs of other odds."""
    config = dataclasses.replace(no_kl, temperature=0.5)
    score = jax.jit(lambda p, t: token_log_probs(model.forward(p, t)[0] / 0.5, t))
    rollouts = [play(bugs[0], 0, [1.0], 0), play(bugs[0], 1, [-0.5], 0)]
    for rollout in rollouts:
        episode = rollout.episode
        tokens = np.zeros((1, LENGTH), np.int32)
        tokens[0, : len(episode)] = episode.ids
        scores = np.asarray(score(params, tokens))[0, : len(episode)]
        episode.log_probs = np.where(episode.mask, scores, 0.0).tolist()
    _, metrics = learn(model, params, rollouts, config)
    assert metrics["log_prob_gap"] == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="temperature is 0.0"):
        dataclasses.replace(CONFIG, temperature=0.0)


def test_epochs_are_updates_but_one_step(model, params, experience):
    """The second update is off-policy; the step, a place in the data, counts once."""
    config = dataclasses.replace(no_kl, epochs=2)
    once, _ = learn(model, params, experience)
    twice, metrics = learn(model, params, experience, config)
    assert int(once.step) == int(twice.step) == 1
    assert not same(once.trainable, twice.trainable)
    # The gap is that of sampler and trainer, not of the policy and what it became.
    assert metrics["log_prob_gap"] < 1e-5


def test_episodes_that_never_began_are_left_out(model, params, play, bugs, experience):
    never = play(bugs[3], 0, [], 0)
    batches, _ = make_batches([never, *experience], CONFIG)
    expected = sum(sum(r.episode.mask) for r in experience)
    assert sum(float(b.mask.sum()) for b in batches) == expected
    figures = rollout_metrics([never, *experience])
    assert figures["turns"] == pytest.approx(12 / 7)
    state, _ = learn(model, params, [never, never])
    assert same(state.trainable, params) and int(state.step) == 1


def test_without_a_weight_the_reference_is_not_computed(model, params, experience):
    free, metrics = learn(model, params, experience, no_kl, reference={})
    assert "kl" not in metrics
    # The same update as by a weight of nearly nothing.
    loss = PolicyLossConfig(kl_coef=1e-12)
    weighed = dataclasses.replace(CONFIG, loss=loss)
    found, metrics = learn(model, params, experience, weighed)
    assert "kl" in metrics and same(free.trainable, found.trainable)


@pytest.mark.parametrize(
    "fields",
    [
        *({"minibatches": 0}, {"sampled_tokens": -1}),
        *({"curriculum": 1.5}, {"curriculum_steps": 0}),
    ],
)
def test_impossible_settings_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        dataclasses.replace(CONFIG, **fields)


@pytest.mark.slow
def test_minibatches_are_updates_of_their_own(model, params, experience):
    """Two halves, one after the other, and each divides by its own share."""
    halves = dataclasses.replace(no_kl, minibatches=2, rows=1)
    state, metrics = learn(model, params, experience, halves)
    batches, _ = make_batches(experience, halves)
    assert len(batches) >= 2 and int(state.step) == 1
    by_hand = jax.tree.map(jnp.copy, params)
    for part in (batches[::2], batches[1::2]):
        share = sum(float(batch.mask.sum()) for batch in part)
        grads = [
            rlvr.gradients(
                Setup(model, halves, SGD), by_hand, {}, b, Scores(), share, 1.0
            )[0]
            for b in part
        ]
        total = jax.tree.map(lambda *g: sum(g), *grads)
        by_hand = jax.tree.map(lambda p, g: p - 0.1 * g, by_hand, total)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        state.trainable,
        by_hand,
    )
    whole, _ = learn(model, params, experience, dataclasses.replace(no_kl, rows=1))
    assert not same(state.trainable, whole.trainable)
    assert metrics["gradient_norm"] > 0


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_importance_weights_make_good_what_the_sampler_got_wrong(
    model, params, play, bugs, shift
):
    """Had the sampler said less than the truth, tokens weigh more, up to the cap."""
    loss = PolicyLossConfig(kl_coef=0.0, importance_cap=1.5)
    config = dataclasses.replace(CONFIG, loss=loss)
    rollouts = [play(bugs[0], 0, [1.0], 0), play(bugs[0], 1, [-0.5], 0)]
    true, _ = learn(model, params, rollouts, no_kl)
    for rollout in rollouts:
        logs, mask = np.array(rollout.episode.log_probs), rollout.episode.mask
        rollout.episode.log_probs = np.where(mask, logs - shift, 0.0).tolist()
    found, _ = learn(model, params, rollouts, config)
    weight = min(np.exp(shift), 1.5)
    jax.tree.map(
        lambda p, a, b: np.testing.assert_allclose(b - p, weight * (a - p), atol=2e-5),
        params,
        true.trainable,
        found.trainable,
    )


@pytest.mark.parametrize(
    "loss",
    [
        PolicyLossConfig(kl_coef=0.0),
        PolicyLossConfig(kl_coef=0.0, importance_cap=2.0),
    ],
    ids=["plain", "importance"],
)
def test_what_is_told_of_the_policy_is_a_mean_whatever_the_loss(
    model, params, play, bugs, loss
):
    config = dataclasses.replace(CONFIG, loss=loss)
    rollouts = [play(bugs[0], 0, [1.0], 0), play(bugs[0], 1, [-0.5], 0)]
    _, told = learn(model, params, rollouts, config)
    for rollout in rollouts:  # off by 0.5, one way and the other
        logs, mask = np.array(rollout.episode.log_probs), rollout.episode.mask
        off = 0.5 * (-1.0) ** np.arange(len(logs))
        rollout.episode.log_probs = np.where(mask, logs + off, 0.0).tolist()
    _, gap = learn(model, params, rollouts, config)
    assert told["log_prob_gap"] == pytest.approx(0, abs=1e-5)
    assert gap["log_prob_gap"] == pytest.approx(0.5, abs=1e-5)
    _, usual = learn(model, params, rollouts, no_kl)
    assert told["entropy"] == pytest.approx(usual["entropy"], rel=1e-5)
    assert usual["entropy"] > 1  # of 300 tokens, by a model that knows nothing


class Logits:
    """A model whose parameters are its logits."""

    mesh = None

    def hidden(self, params, tokens, cache, positions, segments):
        return params["logits"], cache

    def head(self, params):
        return lambda hidden: hidden


LOSSES = [
    PolicyLossConfig(kl_coef=0.1),
    PolicyLossConfig(kl_coef=0.0, entropy_coef=0.2, clip_low=0.3, importance_cap=2.0),
]


def one_batch(experience, loss):
    """All episodes, as if a policy near ours had sampled: what `gradients` takes."""
    config = dataclasses.replace(CONFIG, loss=loss, rows=6)
    (batch,), _ = make_batches(experience, config)
    rng = np.random.default_rng(0)
    off = [rng.normal(0, 0.5, batch.tokens.shape).astype(np.float32) for _ in "abc"]
    batch = dataclasses.replace(batch, log_probs=batch.log_probs + off[0])
    reference = batch.log_probs + off[1] if loss.kl_coef else None
    before = batch.log_probs + off[2] if loss.importance_cap else None
    return config, batch, Scores(reference, before), float(batch.mask.sum())


@pytest.mark.parametrize(
    "loss",
    [*LOSSES, PolicyLossConfig(ratio="sequence")],
    ids=["kl", "importance", "sequence"],
)
def test_what_the_environment_wrote_gets_no_gradient(experience, loss):
    """Only outputs that a sampled token was drawn from are pulled at, every one."""
    loss = dataclasses.replace(loss, clip_low=0.99, clip_high=1e3)
    config, batch, scores, denominator = one_batch(experience, loss)
    logits = jax.random.normal(jax.random.key(0), (*batch.tokens.shape, 300))
    grads, _ = rlvr.gradients(
        *(Setup(Logits(), config, SGD), {"logits": logits}, {}),
        *(batch, scores, denominator, 1.0),
    )
    pulled = np.abs(grads["logits"]).max(axis=-1) > 0
    sampled = np.zeros_like(pulled)
    scored = batch.scored < batch.tokens.shape[1]
    assert scored.sum() == sum(sum(r.episode.mask) for r in experience)
    rows = np.broadcast_to(np.arange(len(scored))[:, None], scored.shape)
    sampled[rows[scored], batch.sources[scored]] = True
    # First tokens of branches share the last output of their prefix.
    assert 0 < scored.sum() - sampled.sum() < len(experience)
    np.testing.assert_array_equal(pulled, sampled)


@pytest.mark.parametrize("loss", LOSSES, ids=["kl", "importance"])
def test_gradients_of_the_whole_loss_are_finite_differences(
    model, params, experience, loss
):
    """Along a random direction in each array of the model, by the loss alone."""
    config, batch, scores, denominator = one_batch(experience, loss)
    setup = Setup(model, config, SGD)

    def value_and_grads(params):
        grads, metrics = rlvr.gradients(
            setup, params, {}, batch, scores, denominator, 1.0
        )
        return float(metrics["policy_loss"]), grads

    _, grads = value_and_grads(params)
    leaves, tree = jax.tree.flatten(params)
    for place, grad in enumerate(jax.tree.leaves(grads)):
        way = np.asarray(grad) + np.random.default_rng(place).normal(
            0, np.std(grad), grad.shape
        )
        way *= 3e-4 / np.linalg.norm(way)

        def moved(sign, place=place, way=way):
            there = [*leaves[:place], leaves[place] + sign * way, *leaves[place + 1 :]]
            return value_and_grads(jax.tree.unflatten(tree, there))[0]

        slope = float(np.sum(np.asarray(grad, np.float64) * way))
        assert moved(1) - moved(-1) == pytest.approx(2 * slope, rel=0.02, abs=1e-6)

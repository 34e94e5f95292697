"""Supervised finetuning: the order of the data, and who gets a gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.errors import UserError
from repair.text.episodes import PROMPT, Episode
from repair.text.packing import pack, plan_rows
from repair.training import sft
from repair.training.losses import token_stats
from repair.training.optimizer import OptimizerConfig, init_state, make_optimizer
from repair.training.sft import SftConfig
from tests.dummies import check_batch

CONFIG = SftConfig(rows=2, row_length=40)


@functools.partial(jax.jit, static_argnums=0)
def loss(model, params, batch):
    count = (batch.mask == 1).sum()
    return sft.loss(model, params, batch, count.astype(jnp.float32))


def token_log_probs(logits, tokens):
    return token_stats(lambda x: x, logits, tokens).log_probs


def make_episodes(count, vocab=300, longest=20):
    rng = np.random.default_rng(count)
    episodes = []
    for length in rng.integers(8, longest + 1, count):
        episode = Episode()
        episode.append(rng.integers(0, vocab, 2), PROMPT)
        episode.append(rng.integers(0, vocab, length // 2 - 2))
        episode.append(rng.integers(0, vocab, 2), 0)
        episode.append(rng.integers(0, vocab, length - length // 2 - 4))
        episode.append(rng.integers(0, vocab, 2), 1)
        episodes.append(episode)
    return episodes


@pytest.fixture(scope="module")
def laid():
    return sft.lay_out(make_episodes(20), CONFIG)


class Logits:
    """A model whose parameters are its logits."""

    mesh = None

    def hidden(self, params, tokens, cache, positions, segments):
        return params, cache

    def head(self, params):
        return lambda hidden: hidden


def test_an_epoch_holds_each_row_once_in_an_order_of_its_own(laid):
    per_epoch = len(laid.rows) // CONFIG.rows
    assert per_epoch >= 3
    plain = pack(laid.episodes, laid.rows, CONFIG.row_length).tokens
    known = {row.tobytes(): i for i, row in enumerate(plain)}

    def order(epoch, seed):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        batches = [sft.batch_at(laid, CONFIG, seed, step) for step in steps]
        return [known[row.tobytes()] for batch in batches for row in batch.tokens]

    orders = [order(epoch, seed) for epoch in range(2) for seed in range(2)]
    for seen in orders:
        assert len(set(seen)) == len(seen) == per_epoch * CONFIG.rows
    assert len({tuple(seen) for seen in orders}) == 4


def test_a_batch_is_a_function_of_seed_and_step(laid):
    late = sft.batch_at(laid, CONFIG, 3, 7)
    for step in (7, 0, 7):
        batch = sft.batch_at(laid, CONFIG, 3, step)
    check_batch(batch)
    for field in dataclasses.fields(batch):
        np.testing.assert_array_equal(
            getattr(batch, field.name), getattr(late, field.name)
        )


def test_what_does_not_fit_is_left_out_and_counted():
    episodes = make_episodes(12)
    short = dataclasses.replace(CONFIG, row_length=15, rows=1)
    laid = sft.lay_out(episodes, short)
    too_long = sum(len(e) > 15 for e in episodes)
    assert 0 < too_long == laid.left_out < 12
    assert len(laid.episodes) == 12 - too_long
    with pytest.raises(UserError, match="fewer than a batch of 99"):
        sft.lay_out(episodes, dataclasses.replace(CONFIG, rows=99))


@pytest.mark.parametrize("state_weight", [0.0, 0.25])
def test_packed_loss_is_that_of_each_episode_alone(model, params, state_weight):
    config = dataclasses.replace(CONFIG, state_weight=state_weight)
    laid = sft.lay_out(make_episodes(20), config)
    batch = sft.batch_at(laid, config, 0, 1)
    value, metrics = loss(model, params, batch)
    total, count = 0.0, 0
    forward = jax.jit(
        lambda tokens: token_log_probs(model.forward(params, tokens)[0], tokens)
    )
    seen = 0
    for index in range(len(laid.episodes)):
        episode = laid.episodes[index]
        if not any(_holds(row, episode.ids) for row in batch.tokens):
            continue
        seen += 1
        tokens = np.zeros((1, 24), np.int32)
        tokens[0, : len(episode)] = episode.ids
        log_probs = np.asarray(forward(tokens))[0, : len(episode)]
        mask = np.array(episode.mask)
        weights = np.where(mask == 1, 1.0, state_weight)
        weights[:2] = 0  # the prompt
        total -= (weights * log_probs).sum()
        count += mask.sum()
    assert seen == sum(int(row.max()) for row in batch.segments) > 2
    np.testing.assert_allclose(value, total / count, rtol=1e-5)
    if not state_weight:
        np.testing.assert_allclose(metrics["command_loss"], value, rtol=1e-6)


@pytest.mark.parametrize("state_weight", [0.0, 0.25])
def test_shared_prompts_give_the_same_loss_with_fewer_tokens(
    model, params, state_weight
):
    rng, episodes = np.random.default_rng(0), []
    for _ in range(4):  # programs
        prompt = rng.integers(0, 300, 6)
        for length in rng.integers(3, 6, 3):
            episode = Episode()
            episode.append(prompt, PROMPT)
            episode.append(rng.integers(0, 300, length))
            episode.append(rng.integers(0, 300, 3), 0)
            episodes.append(episode)
    found = {}
    for shared in (False, True):
        config = dataclasses.replace(
            CONFIG, rows=1, share_prompts=shared, state_weight=state_weight
        )
        laid = sft.lay_out(episodes, config)
        config = dataclasses.replace(config, rows=len(laid.rows))
        batch = sft.batch_at(laid, config, 0, 0)
        found[shared] = (loss(model, params, batch), (batch.segments > 0).sum())
    (plain, tokens), (branched, fewer) = found[False], found[True]
    assert fewer <= tokens - 4 * 6  # each prompt once in its row, at most one row twice
    np.testing.assert_allclose(branched[0], plain[0], rtol=1e-5)
    for name, value in plain[1].items():
        np.testing.assert_allclose(branched[1][name], value, rtol=1e-5)


def _holds(row, ids):
    spans = np.lib.stride_tricks.sliding_window_view(row, len(ids))
    return (spans == ids).all(axis=1).any()


def test_how_episodes_are_packed_does_not_change_the_loss(model, params):
    episodes = make_episodes(6)
    rows = plan_rows([len(e) for e in episodes], 40)
    together = pack(episodes, rows, 40)
    apart = pack(episodes, [[i] for i in range(6)], 40)
    assert len(rows) < 6
    packed, _ = loss(model, params, together)
    alone, _ = loss(model, params, apart)
    np.testing.assert_allclose(packed, alone, rtol=1e-6)


@pytest.mark.parametrize("state_weight", [0.0, 0.25])
def test_only_outputs_before_a_weighed_token_get_a_gradient(laid, state_weight):
    config = dataclasses.replace(CONFIG, state_weight=state_weight)
    batch = sft.batch_at(sft.lay_out(make_episodes(20), config), config, 0, 0)
    logits = jax.random.normal(jax.random.key(0), (*batch.tokens.shape, 300))
    grads = jax.grad(lambda x: loss(Logits(), x, batch)[0])(logits)
    pulled = np.abs(grads).max(axis=-1) > 0
    commands = sft.batch_at(laid, CONFIG, 0, 0).mask == 1
    weighed = commands
    if state_weight:
        weighed = (batch.segments > 0) & (batch.positions > 1)  # 0 and 1: prompt
    expected = np.zeros_like(weighed)
    expected[:, :-1] = weighed[:, 1:]
    np.testing.assert_array_equal(pulled, expected)
    # One unit of pull for each command token, state_weight for each of a state.
    count = commands.sum()
    own = np.take_along_axis(
        np.asarray(grads)[:, :-1], batch.tokens[:, 1:, None], axis=-1
    )[..., 0]
    probs = np.exp(np.asarray(token_log_probs(logits, batch.tokens)))[:, 1:]
    weights = np.where(commands, 1.0, state_weight) * weighed
    np.testing.assert_allclose(own, -weights[:, 1:] * (1 - probs) / count, atol=1e-6)


def test_metrics_are_of_the_commands_whatever_the_states_weigh(laid):
    plain = sft.batch_at(laid, CONFIG, 0, 0)
    logits = jax.random.normal(jax.random.key(0), (*plain.tokens.shape, 300))
    _, expected = loss(Logits(), logits, plain)
    config = dataclasses.replace(CONFIG, state_weight=0.5)
    weighed = sft.batch_at(sft.lay_out(make_episodes(20), config), config, 0, 0)
    value, found = loss(Logits(), logits, weighed)
    assert value > expected["loss"]
    for name in ("command_loss", "command_accuracy"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    # At 1 a state's token could not be told from a command's.
    for weight in (1.0, -0.1):
        with pytest.raises(ValueError, match="state_weight"):
            dataclasses.replace(CONFIG, state_weight=weight)


@pytest.mark.parametrize(
    "name", [pytest.param("adamw", marks=pytest.mark.slow), "muon"]
)
def test_a_few_updates_on_one_batch_lower_its_loss(laid, model, params, name):
    peak = {"adam_learning_rate": 0.01} if name == "muon" else {}
    settings = OptimizerConfig(name, learning_rate=0.01, warmup=1, **peak)
    optimizer = make_optimizer(settings)
    copy = jax.tree.map(jnp.copy, params)
    state = init_state(copy, optimizer)
    batch = sft.batch_at(laid, CONFIG, 0, 0)
    values = []
    for _ in range(6):
        state, metrics = sft.update(model, state, {}, batch, optimizer)
        values.append(float(metrics["loss"]))
    assert int(state.step) == 6
    assert values[-1] < 0.9 * values[0]
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), params, state.trainable)
    assert all(jax.tree.leaves(moved))

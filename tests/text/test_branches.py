"""Groups packed as branches against whole episodes, one a row, all logits computed."""

import dataclasses
import functools
import types

import jax
import numpy as np
import pytest

from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.text.branches import pieces, plan_branches, shared_prefixes
from repair.text.episodes import PROMPT, Episode
from repair.text.packing import capacity, pack
from repair.training import rlvr, sft
from repair.training.losses import PolicyLossConfig, batch_stats
from repair.training.rlvr_config import RlvrConfig

SHAPE = {"vocab_size": 31, "width": 16, "mlp_width": 24, "layers": 1, "heads": 2}
MODEL = Model(LlamaConfig(**SHAPE, kv_heads=1, head_size=8, query_block=16))
LENGTH, ROWS, ROOM = 64, 12, 48  # the same shapes in all tests: few compilations
init_params = jax.jit(MODEL.init_params)


def groups_of_episodes(seed: int, answers_only: bool = False):
    """Return (episodes, keys, advantages): groups of 1 to 4, of 1 to 3 turns."""
    rng = np.random.default_rng(seed)
    episodes, keys, advantages = [], [], []

    def ids(most):
        return rng.integers(0, SHAPE["vocab_size"], rng.integers(1, most))

    for key in range(rng.integers(1, 4)):
        prompt, state = ids(16), ids(6)
        for _ in range(rng.integers(1, 5)):
            episode = Episode()
            episode.append(prompt, turn=PROMPT)
            episode.append(state)
            turns = 1 if answers_only else rng.integers(1, 4)
            for turn in range(turns):
                command = ids(8)
                episode.append(command, turn, rng.normal(-2, 0.3, len(command)))
                if turn + 1 < turns:
                    episode.append(ids(5))
            episodes.append(episode)
            keys.append(key)
            advantages.append(rng.normal(size=turns))
    order = rng.permutation(len(episodes))
    return [[x[i] for i in order] for x in (episodes, keys, advantages)]


def masks(episodes):
    return [episode.mask for episode in episodes]


def packed_both_ways(seed: int, answers_only: bool = False):
    """Return (episodes, rows, prefixes, batch, plain batch)."""
    episodes, keys, advantages = groups_of_episodes(seed, answers_only)
    prefixes = shared_prefixes(episodes, keys, masks(episodes))
    rows = plan_branches([len(e) for e in episodes], prefixes, LENGTH)
    assert capacity(rows, [e.mask for e in episodes], LENGTH) <= ROOM
    filled = rows + [[]] * (ROWS - len(rows))
    batch = pack(episodes, filled, LENGTH, None, advantages, ROOM, prefixes)
    alone = [[i] for i in range(len(episodes))]
    alone += [[]] * (ROWS - len(alone))
    plain = pack(episodes, alone, LENGTH, advantages=advantages)
    return episodes, rows, prefixes, batch, plain


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("seed", range(6))
def test_every_token_of_an_episode_has_one_place(seed):
    episodes, rows, prefixes, batch, plain = packed_both_ways(seed)
    assert sorted(i for row in rows for i in row) == list(range(len(episodes)))
    for r, row in enumerate(rows):
        start, begun = 0, {}
        for index, begin, end, group in pieces(episodes, row, prefixes):
            span = r, slice(start, start + end - begin)
            for name in ("tokens", "positions", "mask", "log_probs", "advantages"):
                whole = getattr(plain, name)[index, begin:end]
                np.testing.assert_array_equal(getattr(batch, name)[span], whole, name)
            parent = batch.parents[r, start]
            assert parent == begun.get(group, batch.segments[r, start])
            begun.setdefault(group, batch.segments[r, start])
            start += end - begin
        assert not batch.segments[r, start:].any()
    # No prefix stands twice in a row, and groups of several share.
    together = sum(len(e) for e in episodes) - (batch.segments > 0).sum()
    saved = 0
    for row in rows:
        here = [prefixes.groups[i] for i in row]
        saved += sum(prefixes.lengths[g] * (here.count(g) - 1) for g in set(here))
    assert together == saved


@pytest.mark.parametrize("seed", range(6))
def test_loss_and_gradients_of_branches_are_those_of_whole_episodes(seed):
    _, _, _, batch, plain = packed_both_ways(seed, answers_only=seed % 2 == 1)
    params = init_params(jax.random.key(seed))
    reference = init_params(jax.random.key(99))
    loss = PolicyLossConfig(
        ratio="sequence" if seed >= 3 else "token",
        kl_coef=0.1,
        entropy_coef=0.01,
        importance_cap=2.0,
    )
    config = RlvrConfig(loss=loss, row_length=LENGTH)
    found = []
    for each, chunk in ((plain, 0), (batch, 0), (batch, 16)):
        setup = rlvr.Setup(MODEL, config, None, chunk)
        scores = rlvr._score(setup, each, reference, params)
        args = params, {}, each, scores, float(plain.mask.sum()), 0.7
        found.append(rlvr.gradients(setup, *args))
    for other in found[1:]:
        jax.tree.map(assert_close, found[0], other)
    assert abs(found[0][1]["policy_loss"]) > 1e-4


@pytest.mark.parametrize("seed", range(6))
def test_log_probs_of_branches_are_those_of_whole_episodes(seed):
    episodes, rows, prefixes, batch, plain = packed_both_ways(seed)
    params = init_params(jax.random.key(seed))
    found = rlvr.log_probs(MODEL, params, batch, 1.3)
    whole = rlvr.log_probs(MODEL, params, plain, 1.3)
    for r, row in enumerate(rows):
        start = 0
        for index, begin, end, _ in pieces(episodes, row, prefixes):
            ours = np.asarray(found[r, start : start + end - begin])
            mask = plain.mask[index, begin:end]
            want = np.asarray(whole[index, begin:end]) * mask
            np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-5)
            start += end - begin


def test_a_branch_sees_its_prefix_and_no_other_branch():
    episodes, keys = [], ["bug"] * 2
    for command in ([5, 6, 7], [8, 9, 10]):
        episode = Episode()
        episode.append([1, 2, 3, 4], turn=PROMPT)
        episode.append(command, 0, [-1.0] * 3)
        episodes.append(episode)
    prefixes = shared_prefixes(episodes, keys, masks(episodes))
    assert prefixes.lengths == [4]
    batch = pack(episodes, [[0, 1]], 12, scored=6, prefixes=prefixes)
    assert batch.segments[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0]
    assert batch.parents[0].tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 0, 0]
    assert batch.scored[0].tolist() == [4, 5, 6, 7, 8, 9]
    assert batch.sources[0].tolist() == [3, 4, 5, 3, 7, 8]
    params = init_params(jax.random.key(0))
    before = batch_stats(MODEL, params, batch).log_probs[0]

    def changed(at):
        tokens = batch.tokens.copy()
        tokens[0, at] = 20
        other = dataclasses.replace(batch, tokens=tokens)
        return np.asarray(batch_stats(MODEL, params, other).log_probs[0] != before)

    assert changed(5)[7:].sum() == 0 and changed(5)[5:7].all()
    assert changed(2)[4:10].all()


def test_a_group_larger_than_a_row_repeats_its_prefix():
    lengths, prefixes = (
        [40, 40, 30],
        types.SimpleNamespace(groups=[0] * 3, lengths=[20]),
    )
    assert plan_branches(lengths, prefixes, 64) == [[0, 1], [2]]
    with pytest.raises(ValueError, match="episode 1 has 65 tokens, a row 64"):
        plan_branches([40, 65], types.SimpleNamespace(groups=[0, 0], lengths=[20]), 64)


def test_prefixes_end_where_ids_differ_and_before_the_first_command():
    def episode(prompt, command):
        made = Episode()
        made.append(prompt, turn=PROMPT)
        made.append(command, 0)
        return made

    episodes = [
        episode([1, 2, 3], [4]),
        episode([1, 2, 9], [4]),
        episode([1, 2], [3, 4]),
        episode([7, 7], []),
    ]
    found = shared_prefixes(episodes, ["a", "a", "b", "c"], masks(episodes))
    assert found.groups == [0, 0, 1, 2]
    assert found.lengths == [2, 2, 1]  # a branch has one token at least


@pytest.mark.parametrize("chunk", [0, 32])
@pytest.mark.parametrize("seed", range(4))
def test_the_gathered_head_gives_the_loss_and_gradients_of_all_logits(seed, chunk):
    episodes, _, _ = groups_of_episodes(seed)
    rng = np.random.default_rng(seed)
    weights = [rng.choice([0.0, 0.2, 1.0], len(e), p=[0.6, 0.2, 0.2]) for e in episodes]
    rows = [[i] for i in range(len(episodes))]
    rows += [[]] * (ROWS - len(rows))
    plain = pack(episodes, rows, LENGTH, weights)
    assert 0 < capacity(rows, weights, LENGTH) <= ROOM < LENGTH
    some = pack(episodes, rows, LENGTH, weights, scored=ROOM)
    params = init_params(jax.random.key(seed))

    jax.tree.map(
        assert_close, sft_loss(params, plain, 0), sft_loss(params, some, chunk)
    )


@functools.partial(jax.jit, static_argnums=2)
@functools.partial(jax.value_and_grad, has_aux=True)
def sft_loss(params, batch, chunk):
    return sft.loss(MODEL, params, batch, 7.0, chunk)

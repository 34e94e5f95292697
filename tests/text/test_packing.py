"""Packing neither cuts, loses nor mixes episodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repair.text.episodes import Episode
from repair.text.packing import pack, plan_rows
from tests.dummies import check_batch


def episode_of(length, seed=0):
    """Tokens of two turns between the environment's, each with its own log-prob."""
    rng = np.random.default_rng((seed, length))
    episode = Episode()
    third = length // 3
    episode.append(rng.integers(1, 99, length - 2 * third))
    for turn in range(2):
        ids = rng.integers(1, 99, third)
        episode.append(ids[: third // 2], turn, -rng.random(third // 2))
        episode.append(ids[third // 2 :])
    return episode


def test_rows_are_over_95_percent_full():
    lengths = np.random.default_rng(0).integers(150, 451, 3000).tolist()
    rows = plan_rows(lengths, 1024)
    assert sum(lengths) / (1024 * len(rows)) > 0.95
    assert rows == plan_rows(lengths, 1024)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=40), st.integers(20, 30))
def test_every_episode_lies_whole_in_one_row(lengths, row_length):
    rows = plan_rows(lengths, row_length)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    sums = sorted(sum(lengths[i] for i in row) for row in rows)
    assert all(0 < total <= row_length for total in sums)
    # No two rows would fit in one.
    assert len(sums) < 2 or sums[0] + sums[1] > row_length


def test_an_episode_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="episode 1 has 9 tokens, a row 8"):
        plan_rows([3, 9], 8)


def test_pack_lays_out_by_hand():
    first, second = Episode(), Episode()
    first.append([5, 6])
    first.append([7], 0, [-1.0])
    first.append([8])
    first.append([9], 1, [-2.0])
    second.append([3])
    second.append([4], 0, [-3.0])
    batch = pack(
        [first, second],
        [[1, 0], [], [1]],
        8,
        advantages=[np.array([0.5, -0.25]), np.array([2.0])],
    )
    check_batch(batch)
    empty = [0] * 8
    rows = {
        "tokens": [3, 4, 5, 6, 7, 8, 9, 0],
        "segments": [1, 1, 2, 2, 2, 2, 2, 0],
        "positions": [0, 1, 0, 1, 2, 3, 4, 0],
        "mask": [0, 1, 0, 0, 1, 0, 1, 0],
        "log_probs": [0, -3, 0, 0, -1, 0, -2, 0],
        "advantages": [0, 2, 0, 0, 0.5, 0, -0.25, 0],
    }
    for name, row in rows.items():
        alone = [*row[:2], *[0] * 6]
        np.testing.assert_array_equal(getattr(batch, name), [row, empty, alone], name)
    assert batch.real_share == 9 / 24


def test_weights_take_the_place_of_the_mask():
    episode = episode_of(9)
    weights = np.linspace(0, 1, 9, dtype=np.float32)
    batch = pack([episode], [[0]], 10, weights=[weights])
    np.testing.assert_array_equal(batch.mask[0], [*weights, 0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(3, 20), min_size=1, max_size=20))
def test_packed_episodes_come_back_whole(lengths):
    episodes = [episode_of(length, i) for i, length in enumerate(lengths)]
    advantages = [np.array([i + 0.5, -i - 0.25]) for i in range(len(lengths))]
    rows = plan_rows(lengths, 24)
    batch = pack(episodes, rows, 24, advantages=advantages)
    check_batch(batch)
    for r, members in enumerate(rows):
        for segment, index in enumerate(members, 1):
            here, episode = batch.segments[r] == segment, episodes[index]
            assert batch.tokens[r, here].tolist() == episode.ids
            assert batch.positions[r, here].tolist() == list(range(len(episode)))
            assert batch.mask[r, here].tolist() == episode.mask
            np.testing.assert_allclose(batch.log_probs[r, here], episode.log_probs)
            expected = [0 if e < 0 else advantages[index][e] for e in episode.turns]
            np.testing.assert_allclose(batch.advantages[r, here], expected)
    assert batch.real_share == pytest.approx(sum(lengths) / batch.tokens.size)

"""Advantages: hand-computed cases, and bias measured on a bandit."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repair.errors import UserError
from repair.training.advantages import ESTIMATORS, AdvantageConfig, turn_advantages


def advantages_of(rewards, groups=None, **options):
    groups = [0] * len(rewards) if groups is None else groups
    rewards = [np.array(r, float) for r in rewards]
    return turn_advantages(rewards, groups, AdvantageConfig(**options))


def test_turn_by_hand():
    # Returns-to-go: [1], [.5, 1], [-1, -.5, -.5].
    values, active, stats = advantages_of([[1], [-0.5, 1], [-0.5, 0, -0.5]])
    np.testing.assert_allclose(values[0], [1 - (0.5 - 1) / 2])
    np.testing.assert_allclose(values[1], [0.5 - (1 - 1) / 2, 1 - -0.5])
    # The last turn has no living peer: the others' whole returns stand in.
    np.testing.assert_allclose(
        values[2], [-1 - (1 + 0.5) / 2, -0.5 - 1, -0.5 - (1 + 0.5) / 2]
    )
    assert active.all()
    assert stats["zero_variance_groups"] == 0


def test_grpo_by_hand_one_number_for_all_turns():
    values, _, _ = advantages_of([[1], [-0.5, 1.5], [0, -1]], estimator="grpo")
    std = np.sqrt(((2 / 3) ** 2 * 2 + (4 / 3) ** 2) / 3)
    np.testing.assert_allclose(values[0], [2 / 3 / std], rtol=1e-5)
    np.testing.assert_allclose(values[1], [2 / 3 / std] * 2, rtol=1e-5)
    np.testing.assert_allclose(values[2], [-4 / 3 / std] * 2, rtol=1e-5)


def test_the_others_by_hand():
    rewards = [[1], [-0.5, 1.5], [0, -1]]  # returns 1, 1, -1
    values, _, _ = advantages_of(rewards, estimator="rloo")
    expected = [[1 - 0], [1 - 0] * 2, [-1 - 1] * 2]
    for value, want in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, want)
    # Turn 0 of the living: 1, -0.5, 0; turn 1: 1.5, -1.
    first = (np.array([1, -0.5, 0]) - 1 / 6) / np.std([1, -0.5, 0])
    values, _, _ = advantages_of(rewards, estimator="per_turn")
    np.testing.assert_allclose([v[0] for v in values], first, rtol=1e-4)
    np.testing.assert_allclose([values[1][1], values[2][1]], [1, -1], rtol=1e-4)


def test_reinforce_looks_at_the_whole_batch_by_hand():
    rewards = [[1], [-0.5, 1.5], [0, -1], [0.4]]  # returns 1, 1, -1, 0.4
    values, active, stats = advantages_of(rewards, [1, 1, 2, 3], estimator="reinforce")
    np.testing.assert_allclose(values[0], [1 - 0.4 / 3])
    np.testing.assert_allclose(values[1], [1 - 0.4 / 3, 1.5 - 0.4 / 3])
    np.testing.assert_allclose(values[2], [-1 - 0.8, -1 - 0.8])
    # A group of one, or whose samples are alike, has signal beside the others.
    assert active.all() and stats["zero_variance_groups"] == 0


def test_groups_do_not_mix_and_keep_their_places():
    first, second = [[1], [0, 0]], [[0, -0.5], [1], [0]]
    mixed = [second[0], first[0], second[1], first[1], second[2]]
    values, _, _ = advantages_of(mixed, ["b", "a", "b", "a", "b"])
    alone, _, _ = advantages_of(first)
    others, _, _ = advantages_of(second)
    expected = [others[0], alone[0], others[1], alone[1], others[2]]
    for value, want in zip(values, expected, strict=True):
        np.testing.assert_array_equal(value, want)


@pytest.mark.parametrize("estimator", sorted(set(ESTIMATORS) - {"reinforce"}))
def test_group_without_variance_is_silent(estimator):
    # 0.1 three times: the mean of the others differs from it by rounding only.
    rewards = [[0.1], [0, 0.1], [0.1], [1], [0]]
    if estimator == "per_turn":  # which looks at each turn by itself
        rewards[1] = [0.1, 0]
    values, active, stats = advantages_of(rewards, [7, 7, 7, 8, 8], estimator=estimator)
    assert active.tolist() == [False, False, False, True, True]
    assert all(np.all(v == 0) for v in values[:3])
    assert stats["zero_variance_groups"] == 0.5


@pytest.mark.parametrize("estimator", sorted(set(ESTIMATORS) - {"reinforce"}))
def test_a_lone_sample_is_silent(estimator):
    values, active, _ = advantages_of([[1, 1]], estimator=estimator)
    assert not active.any() and np.all(values[0] == 0)


def test_penalties_of_a_failed_group_stay_small_or_are_gated():
    failed = [[0, -0.5], [0, 0], [0, 0], [0, 0]]
    plain, _, _ = advantages_of(failed)
    divided, _, _ = advantages_of(failed, estimator="grpo")
    gated, active, stats = advantages_of(failed, outcome_gate=True)
    assert np.abs(plain[0]).max() == 0.5
    assert np.abs(divided[0]).max() > 1.5
    assert not active.any() and all(np.all(v == 0) for v in gated)
    assert stats["gated_groups"] == 1 and stats["zero_variance_groups"] == 0
    _, active, _ = advantages_of([[0, 1], [-0.5, 0]], outcome_gate=True)
    assert active.all()


@given(
    st.lists(
        st.lists(st.sampled_from([-0.5, 0, 0.25, 1]), min_size=1, max_size=5),
        min_size=2,
        max_size=6,
    ),
    st.lists(st.sampled_from([-0.5, 0, 1]), min_size=1, max_size=5),
)
def test_own_future_never_moves_own_baseline(rewards, future):
    """G_e - A_e is the baseline; another future of the sample leaves it alone."""
    baselines = []
    for own in (rewards[0], rewards[0][:1] + future):
        values, active, _ = advantages_of([own, *rewards[1:]])
        returns = np.cumsum(own[::-1])[::-1]
        if not active[0]:
            return  # Silenced: advantages are zero whatever the baseline.
        baselines.append(returns - values[0])
    shared = min(map(len, baselines))
    np.testing.assert_allclose(baselines[0][:shared], baselines[1][:shared])


# A two-turn bandit. Turn 0: go on with probability P, else stop for STOP. Turn 1,
# if reached: arm a with probability Q, else arm b. One logit for each decision.
P, Q = 0.6, 0.3
STOP, GO, ARM_A, ARM_B = 0.4, -0.1, 1.0, 0.2
TRUTH = np.array(
    [
        P * (1 - P) * (GO + Q * ARM_A + (1 - Q) * ARM_B - STOP),
        P * Q * (1 - Q) * (ARM_A - ARM_B),
    ]
)


def play(groups, size, seed):
    """Rewards, scores d log pi / d logit per turn, and group ids."""
    rng = np.random.default_rng(seed)
    rewards, scores = [], []
    for go, a in rng.random((groups * size, 2)) < (P, Q):
        rewards.append([GO, ARM_A if a else ARM_B] if go else [STOP])
        scores.append([1 - P, (1 - Q) if a else -Q] if go else [-P])
    return rewards, scores, np.repeat(np.arange(groups), size)


def deviation(values, scores, ids):
    """Return the standard errors between the mean gradient and the truth, per logit."""
    gradient = np.zeros((len(scores), 2))
    for row, score, value in zip(gradient, scores, values, strict=True):
        row[: len(score)] = np.multiply(score, value)
    size = np.bincount(ids)[0]
    means = gradient.reshape(-1, size, 2).mean(1)  # Only groups are independent.
    return (means.mean(0) - TRUTH) / (means.std(0) / np.sqrt(len(means)))


@pytest.mark.parametrize("estimator", ["turn", "rloo", "reinforce"])
@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_unbiased_on_the_bandit(estimator, size):
    rewards, scores, ids = play(groups=12_000 // size, size=size, seed=size)
    values, _, _ = advantages_of(rewards, ids, estimator=estimator)
    assert np.abs(deviation(values, scores, ids)).max() < 3


@pytest.mark.parametrize("estimator", ["grpo", "per_turn"])
def test_biased_on_the_bandit(estimator):
    """Not in length, which a learning rate makes good, but in direction."""
    rewards, scores, ids = play(groups=6000, size=4, seed=0)
    values, _, _ = advantages_of(rewards, ids, estimator=estimator)
    gradient = np.zeros((len(scores), 2))
    for row, score, value in zip(gradient, scores, values, strict=True):
        row[: len(score)] = np.multiply(score, value)
    groups = gradient.reshape(-1, 4, 2).mean(1)
    # Across the true direction the gradient should be 0.
    across = groups @ (np.array([-TRUTH[1], TRUTH[0]]) / np.linalg.norm(TRUTH))
    assert np.abs(across.mean()) > 10 * across.std() / np.sqrt(len(across))


# A second bandit, with a state. Turn 0: give up, miss or solve. Turn 1, after a miss
# and after solving, each with a logit of its own: stop, or go on. All rewards differ.
LOGITS = np.array([0.3, -0.4, 0.2, 0.5, -0.8])  # three of turn 0, then two of turn 1
FIRST = (-0.3, 0.1, 1.0)
SECOND = {1: (-0.6, 0.7), 2: (0.05, -0.45)}  # by state: rewards of stop and go on


def outcomes(logits):
    """Yield (probability, scores a turn, rewards) of all five episodes."""
    first = np.exp(logits[:3]) / np.exp(logits[:3]).sum()
    for action in range(3):
        score = np.zeros(5)
        score[:3] = np.eye(3)[action] - first
        if action == 0:
            yield first[0], [score], [FIRST[0]]
            continue
        stop = 1 / (1 + np.exp(-logits[2 + action]))
        for second, probability in enumerate((stop, 1 - stop)):
            other = np.zeros(5)
            other[2 + action] = (1 - second) - stop
            rewards = [FIRST[action], SECOND[action][second]]
            yield first[action] * probability, [score, other], rewards


def expected_return(logits):
    return sum(p * sum(rewards) for p, _, rewards in outcomes(logits))


def expected_gradient(estimator, size):
    """Return the mean gradient over all outcomes of a group: nothing is sampled."""
    total = np.zeros(5)
    config = AdvantageConfig(estimator=estimator)
    for group in itertools.product(list(outcomes(LOGITS)), repeat=size):
        rewards = [episode[2] for episode in group]
        values, _, _ = turn_advantages(rewards, [0] * size, config)
        for (_, scores, _), own in zip(group, values, strict=True):
            gradient = np.dot(own, scores) / size
            total += np.prod([episode[0] for episode in group]) * gradient
    return total


def true_gradient():
    steps = 1e-6 * np.eye(5)
    return np.array(
        [expected_return(LOGITS + h) - expected_return(LOGITS - h) for h in steps]
    ) / (2e-6)


@pytest.mark.parametrize("estimator", ["turn", "rloo"])
@pytest.mark.parametrize("size", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_unbiased_on_a_bandit_with_a_state_to_the_last_digit(estimator, size):
    assert abs(sum(p for p, *_ in outcomes(LOGITS)) - 1) < 1e-12
    found = expected_gradient(estimator, size)
    np.testing.assert_allclose(found, true_gradient(), atol=1e-8)


def test_the_exact_bandit_sees_bias():
    for estimator in ("grpo", "per_turn"):
        found = expected_gradient(estimator, 3)
        truth = true_gradient()
        cosine = found @ truth / np.linalg.norm(found) / np.linalg.norm(truth)
        assert cosine < 0.999


def test_bad_input():
    with pytest.raises(
        UserError, match="is 'trun', expected one of grpo, per_turn, reinforce,"
    ):
        AdvantageConfig(estimator="trun")
    with pytest.raises(ValueError):
        advantages_of([[]])
    with pytest.raises(ValueError):
        advantages_of([[1], [0]], [0])

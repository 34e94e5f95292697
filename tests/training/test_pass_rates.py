"""Pass rates against brute force."""

import itertools

import numpy as np
import pytest

from repair.training.pass_rates import mean_interval, pass_at_k, wilson

_Z95 = 1.959964


@pytest.mark.parametrize("count", [1, 4, 7])
def test_pass_at_k_counts_all_choices_of_k(count):
    for right in range(count + 1):
        samples = [True] * right + [False] * (count - right)
        for k in range(1, count + 1):
            choices = list(itertools.combinations(samples, k))
            want = sum(map(any, choices)) / len(choices)
            assert pass_at_k(count, right, k) == pytest.approx(want)


@pytest.mark.parametrize("arguments", [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_pass_at_k_refuses_nonsense(arguments):
    with pytest.raises(ValueError):
        pass_at_k(*arguments)


@pytest.mark.parametrize("count", [1, 10, 200])
def test_wilson_holds_the_rates_that_the_score_test_keeps(count):
    rates = np.linspace(0, 1, 20_001)[1:-1]
    for successes in {0, 1, count // 3, count}:
        gap = np.abs(successes / count - rates)
        kept = rates[gap <= _Z95 * np.sqrt(rates * (1 - rates) / count)]
        low, high = wilson(successes, count)
        assert low == pytest.approx(kept.min(), abs=1e-4)
        assert high == pytest.approx(kept.max(), abs=1e-4)


def test_wilson_refuses_nonsense():
    for successes, count in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError):
            wilson(successes, count)


def test_mean_interval_covers_the_truth():
    """Pass@2 of 4 over problems of unlike difficulty, drawn again and again."""
    rng = np.random.default_rng(0)
    draws, problems = 400, 100
    rates = rng.choice([0.05, 0.3, 0.9], (draws, problems))
    truth = np.mean([1 - (1 - p) ** 2 for p in (0.05, 0.3, 0.9)])
    right = rng.binomial(4, rates)
    held = 0
    for row in right:
        figure = mean_interval([pass_at_k(4, int(c), 2) for c in row])
        assert figure["low"] <= figure["mean"] <= figure["high"]
        held += figure["low"] <= truth <= figure["high"]
    assert 0.92 <= held / draws <= 0.98


def test_mean_interval_of_zeros_and_ones_is_wilsons():
    figure = mean_interval([True, False, True, True])
    low, high = wilson(3, 4)
    assert figure == {"mean": 0.75, "low": low, "high": high}
    assert mean_interval([0.0] * 50)["high"] > 0.05
    low, high = wilson(0.5, 1)
    assert mean_interval([0.5]) == {"mean": 0.5, "low": low, "high": high}

"""Pass rates against brute force."""

import itertools

import numpy as np
import pytest

from repair.training.pass_rates import (
    cluster_intervals,
    difference_intervals,
    pass_at_k,
    wilson,
)

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


def interval(values, clusters=None):
    clusters = range(len(values)) if clusters is None else clusters
    return cluster_intervals({"rate": values}, clusters)["rate"]


def coverage(truth, figures):
    for figure in figures:
        assert 0 <= figure["low"] <= figure["mean"] <= figure["high"] <= 1
    held = [figure["low"] <= truth <= figure["high"] for figure in figures]
    return np.mean(held)


def test_intervals_cover_the_truth():
    """Pass@2 of 4 over problems of unlike difficulty, drawn again and again."""
    rng = np.random.default_rng(0)
    rates = rng.choice([0.05, 0.3, 0.9], (100, 40))
    truth = np.mean([1 - (1 - p) ** 2 for p in (0.05, 0.3, 0.9)])
    right = rng.binomial(4, rates)
    found = [interval([pass_at_k(4, int(c), 2) for c in row]) for row in right]
    assert coverage(truth, found) >= 0.9


@pytest.mark.parametrize("skew", [(0.5, 0.5), (0.3, 1.7)])
def test_variants_of_a_program_are_one_cluster(skew):
    """Twenty variants of each of 20 programs, which stand or fall together."""
    rng = np.random.default_rng(1)
    truth, clusters = skew[0] / sum(skew), np.repeat(np.arange(20), 20)
    draws = rng.random((100, 400)) < np.repeat(rng.beta(*skew, (100, 20)), 20, axis=1)
    assert 0.9 <= coverage(truth, [interval(row, clusters) for row in draws]) <= 0.99
    # As if they were 400 programs: what the clusters are for.
    assert coverage(truth, [interval(row) for row in draws]) < 0.7


def test_zeros_and_ones_of_one_bug_a_program_are_wilsons():
    figure = interval([True, False, True, True])
    low, high = wilson(3, 4)
    assert figure == {"mean": 0.75, "low": low, "high": high}


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_where_all_programs_agree_the_interval_counts_programs(value):
    low, high = wilson(8 * value, 8)
    clusters = np.repeat(np.arange(8), 20)
    assert interval([value] * 160, clusters) == {
        "mean": value,
        "low": low,
        "high": high,
    }
    low, high = wilson(0.25, 1)
    alone = interval([0.0, 0.5, 0.0, 0.5], "aaaa")
    assert alone == {"mean": 0.25, "low": low, "high": high}


def test_the_bootstrap_is_that_of_all_resamples():
    """Three programs of unlike sizes have 27 resamples, so the ends are known."""
    values, clusters = [1, 1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 2, 2]
    sums, sizes = np.array([3, 0, 1]), np.array([3, 2, 2])
    drawn = np.array(list(itertools.product(range(3), repeat=3)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    figure = interval(values, clusters)
    assert figure["mean"] == 4 / 7
    for end in (figure["low"], figure["high"]):
        assert np.abs(means - end).min() < 1e-9
    # Of three programs little is known: the widest of all resamples.
    assert (figure["low"], figure["high"]) == (0.0, 1.0)


def test_an_interval_depends_on_neither_order_nor_names():
    rng = np.random.default_rng(2)
    values, clusters = rng.random(60), np.repeat(np.arange(12), 5)
    once = interval(values, clusters)
    assert once == interval(values, [f"program {n}" for n in clusters])
    # Shifted and mirrored rates have shifted and mirrored intervals, but for chance.
    mirrored = interval(1 - values, clusters)
    assert mirrored["low"] == pytest.approx(1 - once["high"], abs=0.01)
    assert mirrored["high"] == pytest.approx(1 - once["low"], abs=0.01)


def test_paired_differences_cover_the_truth():
    """Two policies on the same bugs; the second is better by a known amount."""
    rng, held, width = np.random.default_rng(3), 0, []
    clusters = np.repeat(np.arange(30), 5)
    for _ in range(100):
        ease = np.repeat(rng.random(30), 5)
        first = rng.random(150) < 0.8 * ease
        second = first | (rng.random(150) < 0.2)
        gap = second.astype(float) - first
        figure = difference_intervals({"gap": gap}, clusters)["gap"]
        held += figure["low"] <= 0.2 * (1 - 0.4) <= figure["high"]
        width.append(figure["high"] - figure["low"])
    assert held >= 90
    # Far narrower than the two rates by themselves.
    alone = interval(first, clusters)
    assert np.mean(width) < (alone["high"] - alone["low"]) * 0.8


def test_two_that_agree_everywhere_may_still_differ_somewhere():
    figure = difference_intervals({"gap": [0.0] * 40}, np.repeat(np.arange(10), 4))
    bound = wilson(0, 10)[1]
    assert figure["gap"] == {"mean": 0.0, "low": -bound, "high": bound}

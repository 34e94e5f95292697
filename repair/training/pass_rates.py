"""Pass rates and their intervals."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy import special

_Z95 = 1.959964  # two-sided 95% quantile of the normal distribution
_RESAMPLES, _CHUNK = 10_000, 1_000  # of the bootstrap, and how many at once


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95% score interval of a proportion (Wilson 1927).

    Unlike the plain normal interval it has sensible bounds at 0 and 1.
    """
    if count <= 0 or not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} are no proportion")
    share = successes / count
    scale = 1 + _Z95**2 / count
    centre = (share + _Z95**2 / (2 * count)) / scale
    spread = share * (1 - share) / count + _Z95**2 / (4 * count**2)
    half = _Z95 * math.sqrt(spread) / scale
    return max(centre - half, 0.0), min(centre + half, 1.0)


def pass_at_k(count: int, right: int, k: int) -> float:
    """Return the unbiased estimate of pass@k, that one of k samples is right.

    1 - C(count - right, k) / C(count, k) (Chen et al. 2021, arXiv 2107.03374).

    Args:
      count: Samples drawn, at least k.
      right: Samples that were right.
      k: Samples that one may try.
    """
    if not 1 <= k <= count or not 0 <= right <= count:
        raise ValueError(f"no pass@{k} from {right} right of {count}")
    return 1.0 - math.comb(count - right, k) / math.comb(count, k)


def cluster_intervals(
    rates: Mapping[str, Sequence[float]], clusters: Sequence[Hashable]
) -> dict[str, dict[str, float]]:
    """Return means over bugs with their 95% intervals: {"mean", "low", "high"} each.

    The bugs of one program are one cluster: they stand or fall together, so the
    interval is a bootstrap over programs (Davison and Hinkley 1997, chapter 2), BCa
    (Efron 1987) with the quantiles of Student's t, since programs may be few. Zeros and
    ones of one bug a program get Wilson's interval, which needs no resampling. Where
    all programs agree, as at 0 and 1, resampling shows no spread: Wilson's over the
    programs, since nothing on [0, 1] spreads wider than zeros and ones.

    Args:
      rates: By name, a value in [0, 1] for each bug.
      clusters: The cluster of each bug.
    """
    groups = _Clusters(clusters)
    found = {}
    for name, values in rates.items():
        values = np.asarray(values, np.float64)
        mean, plain = float(values.mean()), np.isin(values, (0.0, 1.0)).all()
        if groups.agree(values) or (plain and groups.count == len(values)):
            low, high = wilson(mean * groups.count, groups.count)
        else:
            low, high = groups.interval(values)
        found[name] = {"mean": mean, "low": low, "high": high}
    return found


def difference_intervals(
    differences: Mapping[str, Sequence[float]], clusters: Sequence[Hashable]
) -> dict[str, dict[str, float]]:
    """Return mean differences with their 95% intervals, as `cluster_intervals` does.

    Where all programs agree, the interval is as wide as it takes for a program that
    disagrees to have escaped so many draws: Wilson's bound at 0.

    Args:
      differences: By name, a paired difference in [-1, 1] for each bug.
      clusters: The cluster of each bug.
    """
    groups = _Clusters(clusters)
    found = {}
    for name, values in differences.items():
        values = np.asarray(values, np.float64)
        mean = float(values.mean())
        if groups.agree(values):
            half = wilson(0, groups.count)[1]
            low, high = max(mean - half, -1.0), min(mean + half, 1.0)
        else:
            low, high = groups.interval(values)
        found[name] = {"mean": mean, "low": low, "high": high}
    return found


class _Clusters:
    """Clusters of bugs.

    Attributes:
      count: Number of clusters.
    """

    def __init__(self, clusters: Sequence[Hashable]):
        places: dict[Hashable, int] = {}
        self._places = [places.setdefault(name, len(places)) for name in clusters]
        self.count = len(places)
        self._sizes = np.bincount(self._places).astype(np.float64)

    def agree(self, values: np.ndarray) -> bool:
        """Return True if the means of all clusters are the same."""
        means = self._sums(values) / self._sizes
        return bool(np.ptp(means) < 1e-12)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Return the BCa interval of the mean over bugs."""
        sums, sizes, count = self._sums(values), self._sizes, self.count
        rng, resampled = np.random.default_rng(0), []
        for _ in range(_RESAMPLES // _CHUNK):
            drawn = rng.integers(count, size=(_CHUNK, count))
            resampled.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
        means = np.concatenate(resampled)
        mean = sums.sum() / sizes.sum()
        # Bias: the share of resamples below the mean, of equal ones a half.
        below = np.mean(means < mean) + np.mean(means == mean) / 2
        bias = special.ndtri(np.clip(below, 1 / _RESAMPLES, 1 - 1 / _RESAMPLES))
        # Acceleration: the skewness of the mean without each of the clusters.
        without = (sums.sum() - sums) / (sizes.sum() - sizes)
        gaps = without.mean() - without
        skew = np.sum(gaps**3) / (6 * np.sum(gaps**2) ** 1.5)
        wide = math.sqrt(count / (count - 1)) * special.stdtrit(count - 1, 0.975)
        at = bias + np.array([-wide, wide])
        at /= np.maximum(1 - skew * at, 1e-9)  # beyond its pole all resamples
        low, high = np.quantile(means, special.ndtr(bias + at))
        return float(min(low, mean)), float(max(high, mean))

    def _sums(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._places, values)

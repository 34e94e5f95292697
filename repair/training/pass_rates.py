"""Pass rates and their intervals."""

import math
from collections.abc import Sequence

import numpy as np

_Z95 = 1.959964  # two-sided 95% quantile of the normal distribution


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


def mean_interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean over problems with its 95% interval: {"mean", "low", "high"}.

    Zeros and ones get Wilson's interval, and so does a lone value, whose spread is
    unknown: no distribution on [0, 1] spreads wider than zeros and ones. Other
    values, such as pass@k estimates, get the normal interval, kept in [0, 1].
    """
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if len(values) == 1 or np.isin(values, (0.0, 1.0)).all():
        low, high = wilson(float(values.sum()), len(values))
    else:
        half = _Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))
        low, high = max(mean - half, 0.0), min(mean + half, 1.0)
    return {"mean": mean, "low": low, "high": high}

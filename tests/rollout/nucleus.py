"""Top-k and top-p, written the slow obvious way."""

import numpy as np


def nucleus(logits, top_k, top_p):
    """Return the tokens that are left, one row at a time, the obvious way."""
    kept = []
    for row in np.asarray(logits, np.float64):
        order = sorted(range(len(row)), key=lambda i: -row[i])
        if top_k:
            order = [i for i in order if row[i] >= row[order[top_k - 1]]]
        weights = np.exp(row[order] - row.max())
        weights /= weights.sum()
        total, chosen = 0.0, []
        for i, weight in zip(order, weights, strict=True):
            if total >= top_p:
                break
            chosen.append(i)
            total += weight
        kept.append(np.isin(np.arange(len(row)), chosen))
    return np.array(kept)

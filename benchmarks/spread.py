"""Figures of several seeds: their mean, their spread, and one way to print them."""

import statistics


def spread(values: list[float]) -> dict:
    """Each seed's value, their mean and sample standard deviation."""
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"seeds": values, "mean": statistics.mean(values), "std": std}


def cell(figure: dict | None) -> str:
    """A figure as text, "-" where there is none."""
    if figure is None:
        return "-"
    seeds = " ".join(f"{value:.1f}" for value in figure["seeds"])
    return f"{figure['mean']:.1f} +- {figure['std']:.1f} ({seeds})"

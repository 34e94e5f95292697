"""Tools of studies: parts to run, figures of several seeds, and their table."""

import argparse
import pathlib
import statistics
import subprocess
import sys

from repair.training.metrics import read_metrics


def run_module(name: str, *arguments: str) -> None:
    """Run a module as a command; an error of it ends the study."""
    subprocess.run([sys.executable, "-m", name, *arguments], check=True)


def rlvr_steps(workdir: pathlib.Path) -> list[dict]:
    """Return the metrics of a run's steps of RLVR."""
    return [r for r in read_metrics(workdir / "metrics.jsonl") if r["stage"] == "rlvr"]


def groups_with_signal(steps: list[dict]) -> float:
    """Return the mean share of groups whose rewards differ, in percent."""
    return 100 * statistics.mean(1 - step["zero_variance_groups"] for step in steps)


def chosen(
    parser: argparse.ArgumentParser, part: str, everything: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Return the parts that --part selects: NAME/SEED, all of a NAME, or "" for all."""
    wanted = [
        (name, seed)
        for name, seed in everything
        if part in ("", name, f"{name}/{seed}")
    ]
    if not wanted:
        names = ", ".join(dict.fromkeys(name for name, _ in everything))
        seeds = ", ".join(dict.fromkeys(str(seed) for _, seed in everything))
        parser.error(
            f"--part is {part!r}; give NAME or NAME/SEED, with a name of {names} and a"
            f" seed of {seeds}"
        )
    return wanted


def spread(values: list[float]) -> dict:
    """Return each seed's value, their mean and sample standard deviation."""
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"seeds": values, "mean": statistics.mean(values), "std": std}


def cell(figure: dict | None) -> str:
    """Format a figure, "-" where there is none."""
    if figure is None:
        return "-"
    seeds = " ".join(f"{value:.1f}" for value in figure["seeds"])
    return f"{figure['mean']:.1f} +- {figure['std']:.1f} ({seeds})"


def print_table(rows: dict[str, dict[str, dict]], columns) -> None:
    """Print a figure for each row and column, "-" where there is none."""
    cells = [["", *columns]]
    cells += [
        [name, *(cell(row.get(c)) for c in columns)] for name, row in rows.items()
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        pairs = zip(others, widths[1:], strict=True)
        padded = "  ".join(text.rjust(width) for text, width in pairs)
        print(f"{first.ljust(widths[0])}  {padded}")

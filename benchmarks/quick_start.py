"""The quick start over several seeds: minutes, and pass@1 after each stage.

python -m benchmarks.quick_start [--seeds=3] [--folder=runs/quick_start]

Runs `repair.train` on configs/tiny.py once a seed, each in a workdir of its own, which
is resumed if it is there; prints one table and writes FOLDER/table.json. Exits 1 unless
the mean of pass@1 is above 50% after SFT and at least 10 points higher after RLVR, with
every run within 20 minutes.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

from experiments.studies import print_table, spread

SFT_BAR, GAIN_BAR, MINUTES_BAR = 0.50, 0.10, 20.0
STAGES = ("init", "sft", "rlvr")


def run(seed: int, folder: pathlib.Path) -> dict:
    """Run one seed; return its results, with the minutes of all its starts together."""
    workdir = folder / f"seed{seed}"
    results, clock = workdir / "results.json", folder / f"seed{seed}.minutes"
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "repair.train", "--config=configs/tiny.py"),
        *(f"--config.seed={seed}", f"--workdir={workdir}"),
    ]
    minutes = float(clock.read_text()) if clock.exists() else 0.0
    if not (results.exists() and "rlvr" in json.loads(results.read_text())["stages"]):
        started = time.perf_counter()
        try:
            subprocess.run(command, check=True)
        finally:
            minutes += (time.perf_counter() - started) / 60
            clock.write_text(f"{minutes}\n")
    return json.loads(results.read_text()) | {"minutes": minutes}


def table(runs: list[dict]) -> dict:
    """Return by stage and figure the seeds' values, mean and standard deviation."""
    rows = {}
    for stage in STAGES:
        for name in ("pass@1", "pass@4", "malformed"):
            figures = [run["stages"][stage][name] for run in runs]
            values = [f["mean"] if isinstance(f, dict) else f for f in figures]
            rows[f"{stage} {name}"] = spread([100 * value for value in values])
    rows["minutes"] = spread([run["minutes"] for run in runs])
    return rows


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    folder = pathlib.Path("runs/quick_start")
    parser.add_argument("--folder", type=pathlib.Path, default=folder)
    args = parser.parse_args()
    rows = table([run(seed, args.folder) for seed in range(args.seeds)])
    print_table(
        {name: {"mean +- std (seeds)": row} for name, row in rows.items()},
        ["mean +- std (seeds)"],
    )
    (args.folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n")
    sft, rlvr = (rows[f"{stage} pass@1"]["mean"] / 100 for stage in ("sft", "rlvr"))
    slowest = max(rows["minutes"]["seeds"])
    good = sft > SFT_BAR and rlvr - sft >= GAIN_BAR and slowest <= MINUTES_BAR
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""The effect of each choice in configs/tiny.py, measured alone after half the SFT.

python -m experiments.levers [--steps=600] [--seed=0] [--folder=runs/levers] [NAME ...]

Every lever is one run of `repair.train` (SFT and evaluation only) with the choice
undone, compared with a run of the config; existing runs are not repeated.
Prints one table and writes FOLDER/table.json. Exits 1 if a choice that is undone gives
clearly better repairs than the config: then the config is wrong.
"""

import argparse
import json
import pathlib
import statistics
import sys

from experiments.studies import run_module

LEVERS = {
    "as in the config": [],
    "edit order as in the paper": ["demos.order=reversed"],
    "no loss on states": ["sft.state_weight=0.0"],
    "AdamW, 0.003": [
        "sft.optimizer.name=adamw",
        "sft.optimizer.learning_rate=0.003",
        "sft.optimizer.adam_learning_rate=0.001",
    ],
    "twice the learning rate": ["sft.optimizer.learning_rate=0.01"],
    "half the learning rate": ["sft.optimizer.learning_rate=0.0025"],
    "up to 3 corruptions": ["demos.max_corruptions=3"],
    "vocabulary of 512": ["model.vocab_size=512"],
}
_LAST = 100  # steps that the loss is averaged over


def run(name: str, folder: pathlib.Path, steps: int, seed: int) -> dict:
    """Run one lever; return its figures."""
    workdir = folder / name.replace(" ", "_").replace(",", "")
    if not (workdir / "results.json").exists() or "sft" not in _stages(workdir):
        overrides = [f"sft.steps={steps}", f"seed={seed}", *LEVERS[name]]
        run_module(
            *("repair.train", "--config=configs/tiny.py", f"--workdir={workdir}"),
            "--config.stages=('sft', 'eval')",
            *(f"--config.{override}" for override in overrides),
        )
    figures = _stages(workdir)["sft"]
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    steps_seen = [json.loads(line) for line in lines]
    losses = [each["command_loss"] for each in steps_seen if each["stage"] == "sft"]
    return {
        "command_loss": statistics.mean(losses[-_LAST:]),
        "malformed": figures["malformed"],
        "pass@1": figures["pass@1"],
        "pass@4": figures["pass@4"],
    }


def _stages(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "results.json").read_text())["stages"]


def main() -> int:
    """Print the table; return 1 if an undone choice is better beyond its interval."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    folder = pathlib.Path("runs/levers")
    parser.add_argument("--folder", type=pathlib.Path, default=folder)
    args = parser.parse_args()
    if unknown := set(args.names) - LEVERS.keys():
        parser.error(f"no lever {sorted(unknown)}; choose from {list(LEVERS)}")
    base, *others = LEVERS
    names = [base, *(name for name in others if name in (args.names or others))]
    found = {name: run(name, args.folder, args.steps, args.seed) for name in names}
    print(f"{'undone':30} {'loss':>6} {'malformed':>10} {'pass@1':>22} {'pass@4':>8}")
    for name, row in found.items():
        first = "{mean:.1%} ({low:.1%} to {high:.1%})".format(**row["pass@1"])
        print(
            f"{name:30} {row['command_loss']:6.3f} {row['malformed']:10.1%}"
            f" {first:>22} {row['pass@4']['mean']:8.1%}"
        )
    (args.folder / "table.json").write_text(json.dumps(found, indent=2) + "\n")
    best = found[base]["pass@1"]["high"]
    return 0 if all(row["pass@1"]["low"] <= best for row in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The paper's claims at laptop scale: tool turns against words, at equal cost.

python -m experiments.claims [--part=MODE/SEED] [--tokens=100000] [--folder=runs/claims]

Trains configs/tiny.py in each mode ("coe": the editor, "direct": the whole program,
"cot": thought, then the program) with three seeds: SFT on equally many tokens of
demonstrations, then RLVR up to equally many sampled tokens; then evaluates both stages
on the test split and on families of tasks that training has never seen. --part runs one
of the nine parts, each under an hour on 2 cores; without it all missing parts run. A
killed part resumes. Prints tables of the parts that are there, and writes
FOLDER/claims.json and, per mode, curves in FOLDER/curves.png.

The claims (arXiv 2507.05065), each answered from the table:

  1. tools beat words   coe's pass@1 after RLVR is above both others', over the seeds,
                        on the test split and, asked apart, on families that training
                        has never seen
  2. faster experience  coe's verified rewards a second are above both others', by
                        `experiments.experience`, which plays them side by side
  3. denser rewards     coe's share of groups with signal is above both others'

They are answered once all nine parts are there. A claim that fails is an answer too, so
the exit code is 0.
"""

import argparse
import json
import pathlib

from experiments.studies import (
    chosen,
    groups_with_signal,
    print_table,
    rlvr_steps,
    run_module,
    spread,
)

MODES = ("coe", "direct", "cot")
SEEDS = (0, 1, 2)
HELD = "generated/heldout"
STAGES = ("init", "sft", "rlvr")
SMOOTH = 8  # steps of the moving mean of a curve


def run(mode: str, seed: int, tokens: int, folder: pathlib.Path) -> None:
    """Run or resume one part."""
    workdir = folder / f"{mode}{seed}"
    config = "configs/tiny.py" + ("" if mode == "coe" else f":{mode}")
    run_module(
        *("repair.train", f"--config={config}"),
        *(f"--workdir={workdir}", f"--config.seed={seed}"),
        *(f"--config.rlvr.sampled_tokens={tokens}", "--config.checkpoint_every=20"),
    )
    for stage in ("sft", "rlvr"):
        out = workdir / "held" / stage
        if not (out / "results.json").exists():
            run_module(
                *("repair.evaluate", f"--tasks={HELD}"),
                *(f"--checkpoint={workdir}/checkpoints/{stage}", "--count=128"),
                f"--out={out}",
            )


def finished(mode: str, seed: int, folder: pathlib.Path) -> bool:
    """Return True if a part has ended."""
    return (folder / f"{mode}{seed}" / "held" / "rlvr" / "results.json").exists()


def figures(mode: str, seed: int, folder: pathlib.Path) -> dict[str, float]:
    """Return the figures of a finished part, by name."""
    workdir = folder / f"{mode}{seed}"
    stages = json.loads((workdir / "results.json").read_text())["stages"]
    found = {}
    for stage in STAGES:
        for name in ("pass@1", "pass@4"):
            found[f"{stage} {name}"] = 100 * stages[stage][name]["mean"]
    for stage in ("sft", "rlvr"):
        results = json.loads((workdir / "held" / stage / "results.json").read_text())
        (held,) = results["stages"].values()
        for name in ("pass@1", "pass@4"):
            found[f"held out {stage} {name}"] = 100 * held[name]["mean"]
    rows = rlvr_steps(workdir)
    found["sampled tokens"] = sum(row["sampled_tokens"] for row in rows)
    found["steps of RLVR"] = len(rows)
    # 64: problems times samples of configs/tiny.py.
    turns = sum(64 * row["turns"] for row in rows)
    found["verified rewards a thousand tokens"] = 1e3 * turns / found["sampled tokens"]
    found["groups with signal"] = groups_with_signal(rows)
    solved = 0.0
    for turn in range(1, 11):
        solved += 100 * stages["rlvr"]["by_turn"].get(str(turn), 0.0)
        found[f"passed by turn {turn}"] = solved
    return found


def table(parts: dict[str, list[dict]]) -> dict[str, dict]:
    """Return, by figure and mode, the values, their mean and standard deviation."""
    names = dict.fromkeys(name for runs in parts.values() for r in runs for name in r)
    return {
        name: {
            mode: spread([run[name] for run in runs])
            for mode, runs in parts.items()
            if runs
        }
        for name in names
    }


def claims(rows: dict[str, dict], speed: dict | None) -> dict[str, bool]:
    """Return the paper's claims with True or False; speed only if it was measured."""
    tests = {
        "tools beat words": "rlvr pass@1",
        "tools beat words on new families": "held out rlvr pass@1",
        "denser rewards": "groups with signal",
    }
    found = {
        claim: all(
            rows[name]["coe"]["mean"] > rows[name][other]["mean"] for other in MODES[1:]
        )
        for claim, name in tests.items()
    }
    if speed:
        rates = speed["verified rewards a second"]
        best = max(rates[other]["mean"] for other in MODES[1:])
        found["faster experience"] = rates["coe"]["mean"] > best
    return found


def curves(folder: pathlib.Path, parts: list[tuple[str, int]]) -> None:
    """Plot solved episodes over the tokens sampled so far, a line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    styles = {"coe": ("#0072b2", "-"), "direct": ("#d55e00", "--")}
    styles["cot"] = ("#009e73", ":")
    for mode, seed in parts:
        rows = rlvr_steps(folder / f"{mode}{seed}")
        x = np.cumsum([row["sampled_tokens"] for row in rows])[SMOOTH - 1 :]
        mean = np.ones(SMOOTH) / SMOOTH
        y = np.convolve([100 * row["solved"] for row in rows], mean, "valid")
        colour, line = styles[mode]
        axes.plot(x, y, line, color=colour, label=mode if seed == 0 else None)
    axes.set(xlabel="sampled tokens", ylabel=f"solved, %, mean of {SMOOTH} steps")
    axes.legend(frameon=False)
    figure.savefig(folder / "curves.png", dpi=150)


def main() -> None:
    """Run the chosen parts that are missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", default="", help="MODE/SEED, such as coe/0")
    parser.add_argument("--tokens", type=int, default=100_000, help="of RLVR")
    folder = pathlib.Path("runs/claims")
    parser.add_argument("--folder", type=pathlib.Path, default=folder)
    args = parser.parse_args()
    everything = [(mode, seed) for mode in MODES for seed in SEEDS]
    wanted = chosen(parser, args.part, everything)
    args.folder.mkdir(parents=True, exist_ok=True)
    for mode, seed in wanted:
        if not finished(mode, seed, args.folder):
            run(mode, seed, args.tokens, args.folder)
    there = [part for part in everything if finished(*part, args.folder)]
    parts = {
        mode: [figures(mode, seed, args.folder) for m, seed in there if m == mode]
        for mode in MODES
    }
    rows = table(parts)
    print_table(rows, MODES)
    curves(args.folder, there)
    whole = len(there) == len(everything)
    measured = args.folder / "experience.json"
    speed = json.loads(measured.read_text()) if measured.exists() else None
    found = claims(rows, speed) if whole else {}
    for claim, holds in found.items():
        print(f"{claim}: {'holds' if holds else 'does not hold'} here")
    text = json.dumps({"figures": rows, "claims": found}, indent=2)
    (args.folder / "claims.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

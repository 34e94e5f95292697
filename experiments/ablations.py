"""Ablations of RLVR: one choice at a time, over three seeds; estimators over five.

python -m experiments.ablations [--part=NAME[/SEED],...] [--tokens=50000]
    [--base=runs/claims] [--folder=runs/ablations]

Each variant of VARIANTS starts from the policy of configs/tiny.py after SFT, runs RLVR
with its one change until --tokens are sampled, and is evaluated on 256 bugs of the test
split: greedily (pass@1) and with four samples each at temperature 0.8 (sampled_pass@1,
the least noisy figure, and pass@4). All variants of a seed share its SFT: that of
BASE/coeSEED, where `experiments.claims --part=coe/SEED` has made it, or else one that
the first part makes in FOLDER/sftSEED. BASE may be a checkpoint too, which all seeds
then start from. "reversed" is another order of edits in the demonstrations and so has
an SFT of its own. --part runs one part, the seeds of a name,
or several of them; without it all missing parts are run. A killed part resumes.
Variants share seeds, bugs and starting weights: each is compared seed by seed with its
baseline, which is "default" unless BASELINES names another. Prints one table and writes
FOLDER/ablations.json, of the parts that are there. The estimators:

python -m experiments.ablations --part=turn,rloo
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
from repair.training.checkpoint import is_checkpoint

SEEDS = (0, 1, 2, 3, 4)
# Fields that each variant sets; docs/rlvr.md explains them.
VARIANTS = {
    "default": {},
    "exit_costs": {"rewards.exit_unsolved": -0.5},
    "end_on_solve": {"rewards.end_on_solve": True},
    "gate": {"rlvr.advantages.outcome_gate": True},
    "turn": {"rlvr.advantages.estimator": "turn"},
    "rloo": {"rlvr.advantages.estimator": "rloo"},
    "reinforce": {"rlvr.advantages.estimator": "reinforce"},
    "grpo": {"rlvr.advantages.estimator": "grpo"},
    "per_turn": {"rlvr.advantages.estimator": "per_turn"},
    "groups_8": {"rlvr.samples": 8, "rlvr.problems": 8},
    "groups_16": {"rlvr.samples": 16, "rlvr.problems": 4},
    "dense": {"rewards.dense": 0.5},
    "lr_half": {"rlvr.optimizer.learning_rate": 1.5e-4},
    "lr_x2": {"rlvr.optimizer.learning_rate": 6e-4},
    "keeps_solved": {"rewards.take_back": False},
    # Few bugs, so that each has a history when it comes again.
    "few_bugs": {"tasks.train_count": 96},
    "solve_rate": {"tasks.train_count": 96, "rlvr.curriculum_by": "solve_rate"},
    # With one update a step all ratios are 1, and their kind plays no part.
    "two_epochs": {"rlvr.epochs": 2},
    "sequence": {
        "rlvr.epochs": 2,
        "rlvr.loss.ratio": "sequence",
        "rlvr.loss.clip_low": 0.02,
        "rlvr.loss.clip_high": 0.02,
    },
    "reversed": {"demos.order": "reversed"},
}
# Variants that are compared with another than "default".
BASELINES = {
    "rloo": "turn",
    "sequence": "two_epochs",
    "solve_rate": "few_bugs",
}
FIVE_SEEDS = ("turn", "rloo")


def run(
    name: str, seed: int, tokens: int, base: pathlib.Path, folder: pathlib.Path
) -> None:
    """Run or resume one part."""
    workdir, changes = _workdir(name, seed, folder), VARIANTS[name]
    settings = {"seed": seed, "checkpoint_every": 20, "stages": ("rlvr",), **changes}
    settings["rlvr.sampled_tokens"] = tokens
    if _own_start(name):
        settings["stages"] = ("sft", "rlvr")
        start = workdir / "checkpoints" / "sft"
    else:
        settings["init_from"] = start = _after_sft(seed, base, folder)
    _train(workdir, settings)
    _evaluate(start, _before(name, seed, base, folder))
    _evaluate(workdir / "checkpoints" / "rlvr", workdir / "after")


def _train(workdir: pathlib.Path, settings: dict) -> None:
    settings = settings | {"sft.eval_every": 0, "rlvr.eval_every": 0}
    flags = [f"--config.{field}={value}" for field, value in settings.items()]
    run_module(
        "repair.train", "--config=configs/tiny.py", f"--workdir={workdir}", *flags
    )


def _after_sft(seed: int, base: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Return the checkpoint that the variants of a seed start from; make it if needed.

    A run that was killed on its way has a checkpoint too, but no results of its SFT.
    """
    if is_checkpoint(base):
        return base
    made = base / f"coe{seed}" / "checkpoints"
    if (made / "rlvr").is_dir():
        return made / "sft"
    workdir = folder / f"sft{seed}"
    if not (workdir / "done").exists():
        _train(workdir, {"seed": seed, "checkpoint_every": 100, "stages": ("sft",)})
        (workdir / "done").touch()
    return workdir / "checkpoints" / "sft"


def _own_start(name: str) -> bool:
    return any(field.startswith("demos.") for field in VARIANTS[name])


def _before(
    name: str, seed: int, base: pathlib.Path, folder: pathlib.Path
) -> pathlib.Path:
    """Return the folder with the evaluation of a part's start; most parts share one."""
    if _own_start(name):
        return _workdir(name, seed, folder) / "before"
    return folder / ("start" if is_checkpoint(base) else f"start{seed}")


def _evaluate(checkpoint: pathlib.Path, out: pathlib.Path) -> None:
    if not (out / "results.json").exists():
        flags = ("--tasks=generated/test", "--count=256", "--samples=4")
        run_module(
            "repair.evaluate", f"--checkpoint={checkpoint}", *flags, f"--out={out}"
        )


def _workdir(name: str, seed: int, folder: pathlib.Path) -> pathlib.Path:
    return folder / f"{name}_seed{seed}"


def finished(name: str, seed: int, folder: pathlib.Path) -> bool:
    """Return True if a part has ended."""
    return (_workdir(name, seed, folder) / "after" / "results.json").exists()


def figures(
    name: str, seed: int, base: pathlib.Path, folder: pathlib.Path
) -> dict[str, float]:
    """Return the figures of a finished part; in percent except for turns and tokens."""
    workdir = _workdir(name, seed, folder)
    found = _results(workdir / "after")
    start = _results(_before(name, seed, base, folder))
    own = {k: 100 * found[k]["mean"] for k in ("pass@1", "sampled_pass@1", "pass@4")}
    own["before"] = 100 * start["pass@1"]["mean"]
    own["malformed"], own["turns"] = 100 * found["malformed"], found["turns"]
    own["gave up"] = 100 * found["by_status"].get("exited_unsolved", 0) / found["bugs"]
    rows = rlvr_steps(workdir)
    own["steps"] = len(rows)
    own["thousand tokens"] = sum(row["sampled_tokens"] for row in rows) / 1e3
    return own | {"groups with signal": groups_with_signal(rows)}


def _results(folder: pathlib.Path) -> dict:
    stages = json.loads((folder / "results.json").read_text())["stages"]
    (found,) = stages.values()
    return found


def table(base: pathlib.Path, folder: pathlib.Path) -> dict[str, dict]:
    """Return each variant's figures over the seeds, and differences to baseline."""
    rows = {}
    for name in VARIANTS:
        baseline = BASELINES.get(name, "default")
        seeds = [seed for seed in SEEDS if finished(name, seed, folder)]
        runs = {seed: figures(name, seed, base, folder) for seed in seeds}
        if not runs:
            continue
        keys = runs[seeds[0]]
        rows[name] = {key: spread([run[key] for run in runs.values()]) for key in keys}
        both = [seed for seed in seeds if finished(baseline, seed, folder)]
        others = {seed: figures(baseline, seed, base, folder) for seed in both}
        for key in ("pass@1", "sampled_pass@1") if both else ():
            gains = [runs[seed][key] - others[seed][key] for seed in both]
            rows[name][f"{key} to baseline"] = spread(gains)
    return rows


def main() -> None:
    """Run the chosen parts that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", default="", help="as in rloo/0 or turn,rloo")
    parser.add_argument("--tokens", type=int, default=50_000, help="of each part")
    default = pathlib.Path("runs/claims")
    parser.add_argument("--base", type=pathlib.Path, default=default)
    default = pathlib.Path("runs/ablations")
    parser.add_argument("--folder", type=pathlib.Path, default=default)
    args = parser.parse_args()
    everything = [
        (name, seed)
        for seed in SEEDS
        for name in VARIANTS
        if seed < 3 or name in FIVE_SEEDS
    ]
    parts = [chosen(parser, part, everything) for part in args.part.split(",")]
    # Seed by seed, so that whenever it stops there is something to compare.
    wanted = [each for each in everything if any(each in part for part in parts)]
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, seed in wanted:
        if not finished(name, seed, args.folder):
            run(name, seed, args.tokens, args.base, args.folder)
    rows = table(args.base, args.folder)
    columns = [*("before", "pass@1", "sampled_pass@1", "pass@4"), "pass@1 to baseline"]
    columns += ["sampled_pass@1 to baseline", "malformed", "gave up", "turns", "steps"]
    print_table(rows, columns)
    text = json.dumps(rows, indent=2)
    (args.folder / "ablations.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

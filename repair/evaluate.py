"""Measure a checkpoint.

python -m repair.evaluate --checkpoint=runs/tiny/checkpoints/rlvr
    --tasks=generated/test --samples=4 --temperature=0.8
"""

import json
import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import MOST_SAMPLES
from repair.tasks import load_tasks
from repair.training.config import EvalConfig
from repair.training.evaluation import measure
from repair.training.metrics import results_table
from repair.training.policy import load_policy
from repair.training.weights import workdir_of


def main():
    """Run episodes of the tasks; print pass@1, pass@k, outcomes by status and turn."""
    args, console = flags.FLAGS, Console()
    settings = EvalConfig(args.samples, args.temperature)
    chosen = {
        name: getattr(args, name)
        for name in ("top_k", "top_p")
        if getattr(args, name) is not None
    }
    policy = load_policy(args.checkpoint, base=args.base, **chosen)
    with policy.verifier as verifier:
        console.print(verifier.level.line(), highlight=False)
        spec = args.tasks or "held-out tasks of the run"
        count = args.count or None
        if args.tasks:
            path = args.path or policy.config.tasks.path
            tasks = load_tasks(args.tasks, path=path, count=count, sandbox=verifier)
            told = tasks.line()
            console.print(told, highlight=False)
        else:
            tasks = policy.task_set.tasks()[1][:count]
            told = f"{len(tasks)} programs"
        name = spec.replace("/", "_").replace(" ", "_")
        out = pathlib.Path(
            args.out or workdir_of(args.checkpoint) / "evaluations" / name
        )
        figures = measure(
            policy,
            policy.task_set.bugs(tasks, verifier, policy.config.seed),
            settings,
            out / "trajectories.jsonl",
            f"evaluation ({spec})",
        )
    results = {"stages": {spec: figures}, "checkpoint": args.checkpoint, "tasks": told}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(results_table(results))
    for name in ("by_status", "by_turn", "by_corruptions", "malformed", "turns"):
        console.print(f"{name}: {json.dumps(figures[name])}", highlight=False)
    console.print(f"results and trajectories are in {out}", highlight=False)


def define() -> None:
    """Define the flags."""
    flags.DEFINE_string(
        "checkpoint", None, "WORKDIR/checkpoints/STAGE, a step below it, or best."
    )
    flags.DEFINE_string(
        "tasks", "", "generated/SPLIT, mbpp/SPLIT, a set or FILE.jsonl."
    )
    flags.DEFINE_string("path", "", "What mbpp/SPLIT or a set is read from.")
    flags.DEFINE_integer("count", 0, "At most so many tasks; 0 for all.", 0)
    flags.DEFINE_integer(
        "samples", 4, "Samples of a bug, the k of pass@k.", 0, MOST_SAMPLES
    )
    flags.DEFINE_float("temperature", 0.8, "Of the samples; pass@1 is greedy.", 0.0)
    flags.DEFINE_integer("top_k", None, "Of the samples; as trained if unset.")
    flags.DEFINE_float("top_p", None, "Of the samples; as trained if unset.")
    flags.DEFINE_string("base", "", "Base model of adapters, if it has moved.")
    flags.DEFINE_string("out", "", "Folder for results; by default in the workdir.")
    flags.mark_flags_as_required(["checkpoint"])


def command() -> None:
    """Run as an installed script, repair-evaluate."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

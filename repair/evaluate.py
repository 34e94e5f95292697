"""Measure a checkpoint.

python -m repair.evaluate --checkpoint=runs/tiny/checkpoints/rlvr
    --tasks=generated/test --samples=4 --temperature=0.8
"""

import dataclasses
import json
import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import TaskList, load_tasks
from repair.tasks.load import is_published
from repair.tasks.published.settings import SetSettings, make_set_bugs, settings_of
from repair.training.config import EvalConfig
from repair.training.evaluation import measure, unfit_line
from repair.training.metrics import results_table
from repair.training.policy import load_policy, workdir_of


def main():
    """Run episodes of the tasks; print pass@1, pass@k, outcomes by status and turn."""
    args, console = flags.FLAGS, Console()
    chosen = {
        name: getattr(args, name)
        for name in ("top_k", "top_p")
        if getattr(args, name) is not None
    }
    own = _set_settings(args)
    verifier = own and Sandbox(limits=own.limits)
    policy = load_policy(args.checkpoint, verifier=verifier, **chosen)
    with policy.verifier as verifier:
        console.print(verifier.level.line(), highlight=False)
        spec = args.tasks or "held-out tasks of the run"
        count = args.count or None
        if args.tasks:
            path = args.path or policy.config.tasks.path
            tasks = load_tasks(args.tasks, path=path, count=count, sandbox=verifier)
        else:
            tasks = TaskList(policy.task_set.tasks()[1][:count])
        if own:
            tasks, bugs = make_set_bugs(tasks, verifier, own)
        else:
            bugs = policy.task_set.bugs(tasks, verifier, policy.config.seed)
        told = tasks.line() if args.tasks else f"{len(tasks)} programs"
        console.print(told, highlight=False)
        name = spec.replace("/", "_").replace(" ", "_")
        out = pathlib.Path(
            args.out or workdir_of(args.checkpoint) / "evaluations" / name
        )
        figures = measure(
            policy,
            bugs,
            EvalConfig(args.samples, args.temperature),
            out / "trajectories.jsonl",
            f"evaluation ({spec})",
        )
    results = {"stages": {spec: figures}, "checkpoint": args.checkpoint, "tasks": told}
    results["set"] = tasks.record() | (dataclasses.asdict(own) if own else {})
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(results_table(results))
    if line := unfit_line(figures, policy.config.text.max_length):
        console.print(line, highlight=False)
    for name in ("by_status", "by_turn", "by_corruptions", "malformed", "turns"):
        console.print(f"{name}: {json.dumps(figures[name])}", highlight=False)
    console.print(f"results and trajectories are in {out}", highlight=False)


def _set_settings(args) -> SetSettings | None:
    """Return the settings of a published set; None for other tasks.

    Raises:
      UserError: A flag of the sets is given for other tasks, or out of range.
    """
    names = ("cpu_seconds", "corruptions", "kinds")
    given = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    if is_published(args.tasks):
        return settings_of(args.tasks).changed(**given)
    if given:
        raise UserError(
            f"--{next(iter(given))} is for published sets; the checkpoint's config"
            f" decides on {args.tasks or 'the tasks of a run'}"
        )
    return None


def define() -> None:
    """Define the flags."""
    flags.DEFINE_string(
        "checkpoint", None, "WORKDIR/checkpoints/STAGE, or one step below it."
    )
    flags.DEFINE_string(
        "tasks", "", "generated/SPLIT, mbpp/SPLIT, a set or FILE.jsonl."
    )
    flags.DEFINE_string("path", "", "What mbpp/SPLIT or a set is read from.")
    flags.DEFINE_integer("count", 0, "At most so many tasks; 0 for all.", 0)
    flags.DEFINE_integer("samples", 4, "Samples of a bug, the k of pass@k.", 0)
    flags.DEFINE_float("temperature", 0.8, "Of the samples; pass@1 is greedy.", 0.0)
    flags.DEFINE_integer("top_k", None, "Of the samples; as trained if unset.")
    flags.DEFINE_float("top_p", None, "Of the samples; as trained if unset.")
    flags.DEFINE_float("cpu_seconds", None, "Of a program of a published set.")
    flags.DEFINE_string("corruptions", None, "LOW,HIGH, of a set without bugs.")
    flags.DEFINE_list("kinds", None, "Of these corruptions.")
    flags.DEFINE_string("out", "", "Folder for results; by default in the workdir.")
    flags.mark_flags_as_required(["checkpoint"])


def command() -> None:
    """Run as an installed script, repair-evaluate."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

"""Measure a checkpoint.

python -m repair.evaluate --checkpoint=runs/tiny/checkpoints/rlvr
    --tasks=generated/test --samples=4 --temperature=0.8
"""

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import MOST_SAMPLES, UserError
from repair.sandbox import Sandbox
from repair.tasks import Bug, TaskList, load_tasks
from repair.tasks.load import is_published
from repair.tasks.published.settings import SetSettings, make_set_bugs, settings_of

if TYPE_CHECKING:
    from repair.training.policy import Policy


def main():
    """Run episodes of the tasks; print pass@1, pass@k, outcomes by status and turn."""
    # Imports of jax are in the functions, so that --help is printed at once.
    import jax

    from repair.training import comparison
    from repair.training.config import EvalConfig
    from repair.training.evaluation import measure
    from repair.training.machine import describe_machine
    from repair.training.policy import load_policy
    from repair.training.workdir import write_whole

    args, console = flags.FLAGS, Console()
    cli.use_compile_cache(args.compile_cache)
    settings = EvalConfig(args.samples, args.temperature)
    chosen = {
        name: getattr(args, name)
        for name in ("top_k", "top_p")
        if getattr(args, name) is not None
    }
    spec = args.tasks or "held-out tasks of the run"
    source = cli.policy_source(args)
    out = pathlib.Path(args.out or _default_out(args, spec))
    own = _set_settings(args)
    verifier = own and Sandbox(limits=own.limits)
    policy = load_policy(
        source,
        verifier=verifier,
        base=args.model,
        max_turns=args.max_turns,
        **chosen,
    )
    seed = policy.config.eval.seed if args.seed is None else args.seed
    settings = dataclasses.replace(settings, seed=own.corruptions.seed if own else seed)
    _claim(out)
    with policy.verifier as verifier:
        console.print(verifier.level.line(), highlight=False)
        tasks, bugs = _bugs(args, policy, own, verifier, settings.seed)
        told = tasks.line() if args.tasks else f"{len(tasks)} programs"
        console.print(told, highlight=False)
        others = comparison.on_same_bugs(args.against, bugs) if args.against else {}
        figures = measure(
            policy,
            bugs,
            settings,
            out / "trajectories.jsonl",
            f"evaluation ({spec})",
        )
    results = {"stages": {spec: figures}, "checkpoint": source, "tasks": told}
    results["seed"] = settings.seed
    results["max_turns"] = policy.config.text.max_turns
    results["machine"] = describe_machine(jax.local_devices()[:1])
    if others:
        results["against"] = _compared(args.against, figures["outcomes"], others)
    results["set"] = tasks.record() | (dataclasses.asdict(own) if own else {})
    write_whole(out / "results.json", json.dumps(results, indent=2) + "\n")
    _print(console, results, policy.config.text.max_length)
    console.print(f"results and trajectories are in {out}", highlight=False)


def _print(console: Console, results: dict, max_length: int) -> None:
    """Print the tables of the one stage, its notes and its differences to others."""
    from repair.training.evaluation import notes, unfit_line
    from repair.training.tables import episode_tables, results_table

    (figures,) = results["stages"].values()
    console.print(results_table(results))
    if line := unfit_line(figures, max_length):
        console.print(line, highlight=False)
    for table in episode_tables(figures):
        console.print(table)
    for line in (*notes(figures), *_differences(results)):
        console.print(line, highlight=False, soft_wrap=True)


def _compared(path: str, mine: dict, others: dict[str, dict]) -> dict:
    """Return the differences and changes to each stage of another evaluation."""
    from repair.training.comparison import compare, count_changes

    return {
        "path": path,
        "differences": {stage: compare(mine, other) for stage, other in others.items()},
        "changes": {stage: count_changes(mine, o) for stage, o in others.items()},
    }


def _default_out(args, spec: str) -> pathlib.Path:
    """Return the folder beside the policy for results of some tasks."""
    from repair.training.initial_weights import workdir_of

    beside = pathlib.Path("evaluations", pathlib.Path(args.adapter).name)
    if args.checkpoint:
        beside = workdir_of(args.checkpoint) / "evaluations"
    return beside / spec.replace("/", "_").replace(" ", "_")


def _claim(out: pathlib.Path) -> None:
    """Make the folder and try it, before the episodes whose figures it is to hold.

    Raises:
      UserError: It cannot be written.
    """
    probe = out / "results.json.partial"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error}); give another folder as --out"
        ) from error


def _bugs(
    args, policy: "Policy", own: SetSettings | None, verifier, seed: int
) -> tuple[TaskList, list[Bug]]:
    """Return the tasks of the flags, and their bugs."""
    from repair.training.bug_source import draw_bugs

    count = args.count or None
    if not args.tasks:
        tasks = TaskList(policy.task_set.tasks()[1][:count])
    else:
        path = args.path or policy.config.tasks.path
        tasks = load_tasks(args.tasks, path=path, count=count, sandbox=verifier)
    if own:
        return make_set_bugs(tasks, verifier, own)
    several = policy.config.eval.bugs_per_task
    return tasks, draw_bugs(policy.task_set, tasks, verifier, seed, several)


def _differences(results: dict) -> list[str]:
    """Return a line for each stage that this evaluation is compared with."""
    from repair.training.tables import changes, points

    against = results.get("against", {"differences": {}})
    return [
        f"against {stage} of {against['path']}, in points: "
        + ", ".join(f"{name} {points(gap)}" for name, gap in gaps.items())
        + f"; greedy: {changes(against['changes'][stage])}"
        for stage, gaps in against["differences"].items()
    ]


def _set_settings(args) -> SetSettings | None:
    """Return the settings of a published set; None for other tasks.

    Raises:
      UserError: A flag of the sets is given for other tasks, or out of range.
    """
    names = ("cpu_seconds", "corruptions", "kinds")
    given = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    if is_published(args.tasks):
        own = settings_of(args.tasks).changed(**given)
        if args.seed is None:
            return own
        corruptions = dataclasses.replace(own.corruptions, seed=args.seed)
        return dataclasses.replace(own, corruptions=corruptions)
    if given:
        raise UserError(
            f"--{next(iter(given))} is for published sets; the checkpoint's config"
            f" decides on {args.tasks or 'the tasks of a run'}"
        )
    return None


def define() -> None:
    """Define the flags."""
    cli.define_compile_cache()
    cli.define_policy()
    flags.DEFINE_string(
        "tasks", "", "generated/SPLIT, mbpp/SPLIT, a set or FILE.jsonl."
    )
    flags.DEFINE_string("path", "", "What mbpp/SPLIT or a set is read from.")
    flags.DEFINE_integer("count", 0, "At most so many tasks; 0 for all.", 0)
    flags.DEFINE_integer(
        "samples", 4, "Samples of a bug, the highest k of pass@k.", 0, MOST_SAMPLES
    )
    flags.DEFINE_float("temperature", 0.8, "Of the samples; pass@1 is greedy.", 0.0)
    flags.DEFINE_integer("top_k", None, "Of the samples; as trained if unset.")
    flags.DEFINE_float("top_p", None, "Of the samples; as trained if unset.")
    flags.DEFINE_integer("max_turns", 0, "Of an episode; 0 for the run's.", 0)
    flags.DEFINE_integer("seed", None, "Of bugs and samples; the run's if unset.", 0)
    flags.DEFINE_string(
        "against", "", "Results of the same bugs to compare with: a folder or a file."
    )
    flags.DEFINE_float("cpu_seconds", None, "Of a program of a published set.")
    flags.DEFINE_string("corruptions", None, "LOW,HIGH, of a set without bugs.")
    flags.DEFINE_list("kinds", None, "Of these corruptions.")
    flags.DEFINE_string(
        "out", "", "Folder for results; else in the workdir, or here for adapters."
    )


def command() -> None:
    """Run as an installed script, repair-evaluate."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

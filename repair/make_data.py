"""Makes data files: python -m repair.make_data --kind=demos --tasks=... --out=DIR."""

import dataclasses
import json
import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.env.demos import ORDERS, make_demos, write_demos
from repair.env.sandbox import Sandbox
from repair.errors import UserError
from repair.learn.metrics import progress
from repair.tasks import load_tasks


def main():
    """Breaks the tasks, replays the repairs, writes demos.jsonl and summary.json."""
    args, console = flags.FLAGS, Console()
    out = pathlib.Path(args.out)
    if (out / "demos.jsonl").exists():
        raise UserError(f"{out} holds demonstrations already; choose another --out")
    low, high = _corruptions(args.corruptions)
    tasks = load_tasks(args.tasks, path=args.path, count=args.count or None)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{out} cannot be written ({error}); choose another --out"
        raise UserError(problem) from error
    total = len(tasks) * args.per_task
    with Sandbox() as sandbox, progress(total, "demonstrations") as bar:
        demos, report = make_demos(
            tasks,
            sandbox,
            per_task=args.per_task,
            corruptions=(low, high),
            order=args.order,
            seed=args.seed,
            progress=lambda done, _: bar.update(done),
        )
    write_demos(out / "demos.jsonl", demos)
    summary = json.dumps(dataclasses.asdict(report), indent=2)
    (out / "summary.json").write_text(summary + "\n")
    console.print(summary, highlight=False)
    console.print(f"{report.made} demonstrations are in {out}", highlight=False)


def _corruptions(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise UserError(f"--corruptions is {text!r}; give LOW,HIGH such as 1,5")
    low, high = map(int, parts)
    if not 1 <= low <= high:
        raise UserError(f"--corruptions is {text!r}; expected 1 <= LOW <= HIGH")
    return low, high


if __name__ == "__main__":
    flags.DEFINE_enum("kind", "demos", ["demos"], "What to make.")
    flags.DEFINE_string("tasks", "generated/train", "Tasks, as for repair.evaluate.")
    flags.DEFINE_string("path", "", "File with MBPP's rows, for mbpp/SPLIT.")
    flags.DEFINE_integer("count", 0, "At most so many tasks; 0 for all.", 0)
    flags.DEFINE_integer("per_task", 100, "Demonstrations of a task.", 1)
    flags.DEFINE_string("corruptions", "1,5", "Lowest and highest number of them.")
    flags.DEFINE_enum("order", "reversed", ORDERS, "Order of the edits.")
    flags.DEFINE_integer("seed", 0, "Seed of the corruptions.")
    flags.DEFINE_string("out", None, "Folder for demos.jsonl and summary.json.")
    flags.mark_flags_as_required(["out"])
    cli.run(main)

"""Makes data files: python -m repair.make_data --kind=demos --tasks=... --out=DIR."""

import dataclasses
import hashlib
import json
import pathlib
import re

from absl import flags

from repair import cli
from repair.demos.make import make_demos
from repair.demos.records import SUMMARY, DemoFile
from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Task, load_tasks, mbpp
from repair.tasks.bugs import (
    MOST_CORRUPTIONS,
    ORDERS,
    CorruptionConfig,
    distinct_programs,
)
from repair.tasks.corrupt import KINDS
from repair.text.prompts import PROMPTS
from repair.text.tokenizer import Tokenizer, load_tokenizer

# The paper's figures (arXiv 2507.05065), for MBPP's training split.
_PAPER_DEMOS = {
    "demonstrations": "35,223",
    "tokens each": "559",
    "edit distance": "39.93",
}
_PAPER_FAULTY = {
    "edit distance": "135.6",
    "fail a test": "81.2%",
    "the others": "syntax, name and argument errors",
}
_CONTEXT = 2048  # the paper's


def main():
    """Make the files of --kind."""
    kinds = {"demos": _demos, "faulty": _faulty, "mbpp": _mbpp}
    kinds[flags.FLAGS.kind](flags.FLAGS)


def _mbpp(args) -> None:
    """Download MBPP."""
    count = mbpp.fetch(args.out)
    print(f"MBPP's {count} tasks are in {args.out}; licence CC-BY-4.0")


def _demos(args) -> None:
    """Break the tasks, replay the repairs; write demonstrations and summary.json."""
    # Here, since it brings jax, which --help can do without.
    from repair.training.metrics import progress

    low, high = _corruptions(args.corruptions)
    config = CorruptionConfig(
        per_task=args.per_task,
        min_corruptions=low,
        max_corruptions=high,
        order=args.order,
        kinds=tuple(args.kinds),
        seed=args.seed,
    )
    tokenizer = _load_tokenizer(args) if args.tokenizer else None
    tasks = _load_tasks(args)
    rows = "\n".join(json.dumps(dataclasses.astuple(task)) for task in tasks)
    settings = dataclasses.asdict(config)
    settings["tasks_sha256"] = hashlib.sha256(rows.encode()).hexdigest()
    file = DemoFile(args.out, settings)
    total = len(distinct_programs(tasks)) * config.per_task
    with Sandbox() as sandbox, progress(total, "demonstrations") as bar:
        demos, report = make_demos(
            tasks,
            sandbox,
            config,
            file=file,
            progress=lambda done, _: bar.update(done),
        )
    tokens = _count_tokens(demos, tokenizer, args) if tokenizer else None
    summary = {"tasks": args.tasks, "settings": settings, "tokens": tokens}
    text = json.dumps(summary | dataclasses.asdict(report), indent=2) + "\n"
    (pathlib.Path(args.out) / SUMMARY).write_text(text)
    _print_demos(report, tokens)
    print(f"{report.made} demonstrations are in {args.out}")


def _faulty(args) -> None:
    """Sample programs from a model and write those that fail, with summary.json."""
    # Here, since they bring jax, which --help can do without.
    from repair.training.drafts import DraftConfig, draft, keep_faulty
    from repair.training.metrics import progress
    from repair.training.policy import load_model
    from repair.training.workdir import write_whole

    out = pathlib.Path(args.out)
    if not args.model:
        raise UserError("--kind=faulty needs --model: who is to write the programs")
    if (out / "faulty.jsonl").exists():
        raise UserError(f"{out} holds faulty programs already; choose another --out")
    spec = args.examples or (
        "mbpp/prompt" if args.tasks.startswith("mbpp/") else "generated/train"
    )
    examples = load_tasks(spec, path=args.path, count=3)
    tasks = _load_tasks(args)
    shown = {task.code for task in examples}
    tasks = [task for task in tasks if task.code not in shown]
    names = [field.name for field in dataclasses.fields(DraftConfig)]
    config = DraftConfig(**{name: getattr(args, name) for name in names})
    model, params, tokenizer = load_model(args.model)
    writer = tokenizer.with_examples(examples)
    total = len(tasks) * args.samples
    with Sandbox() as sandbox, progress(total, "drafts") as bar:
        drafts = draft(
            model,
            params,
            writer,
            tasks,
            sandbox,
            config,
            progress=lambda done, _: bar.update(done),
        )
        rows, report = keep_faulty(drafts, writer, sandbox, config)
    settings = {"tasks": args.tasks, "model": args.model, "examples": spec}
    settings |= dataclasses.asdict(config)
    summary = dataclasses.asdict(report) | {"settings": settings}
    write_whole(out / SUMMARY, json.dumps(summary, indent=2) + "\n")
    _print_faulty(report)
    if not rows:
        raise UserError(
            f"none of {report.drafts} drafts is a faulty program"
            f" ({_pairs(report.left_out)}); try another --model, or more --max_tokens"
            " where drafts were cut"
        )
    write_whole(out / "faulty.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    print(f"{report.kept} faulty programs are in {out / 'faulty.jsonl'}")


def _load_tasks(args) -> list[Task]:
    count = args.count or None
    return load_tasks(args.tasks, path=args.path, count=count, training=True)


def _print_faulty(report) -> None:
    classes = {name: f"{share:.1%}" for name, share in report.classes.items()}
    rows = {
        "drafts": f"{report.drafts:,}",
        "pass their tests": f"{report.passed:.1%}",
        "left out": _pairs(report.left_out),
        "faulty programs": f"{report.kept:,}",
        "  of so many tasks": f"{report.tasks:,}",
        "edit distance": f"{report.edit_distance:.1f}",
        "fail a test": classes.pop("failed", "0.0%"),
        "the others": ", ".join(f"{name} {share}" for name, share in classes.items()),
    }
    _print_table(rows, _PAPER_FAULTY)


def _load_tokenizer(args) -> Tokenizer:
    from repair.model.hf.folder import settings_folder  # which brings jax

    with settings_folder(args.tokenizer) as folder:
        return load_tokenizer(folder, args.prompt)


def _count_tokens(demos, tokenizer: Tokenizer, args) -> dict:
    """Return the tokens of all demonstrations, and how many are too long."""
    from repair.text.episodes import encode_demos

    lengths = [len(episode) for episode in encode_demos(tokenizer, demos)]
    return {
        "tokenizer": args.tokenizer,
        "prompt": args.prompt,
        "mean": sum(lengths) / max(len(lengths), 1),
        "total": sum(lengths),
        "too_long": sum(length > _CONTEXT for length in lengths),
    }


def _print_demos(report, tokens: dict | None) -> None:
    rows = {"demonstrations": f"{report.made:,}"}
    if tokens:
        rows["tokens each"] = f"{tokens['mean']:.0f}"
        rows["tokens"] = f"{tokens['total']:,}"
        rows[f"longer than {_CONTEXT:,} tokens"] = f"{tokens['too_long']:,}"
    rows["edits each"] = f"{report.edits:.2f}"
    rows["edit distance"] = f"{report.edit_distance:.2f}"
    rows["  its quantiles"] = _pairs(report.quantiles)
    rows["  by corruptions"] = _pairs(report.by_corruptions)
    rows["  of one edit, by verb"] = _pairs(report.by_verb)
    rows["  without blanks"] = f"{report.unspaced_distance:.2f}"
    rows["  of all faulty states"] = f"{report.states_distance:.2f}"
    rows["corruptions"] = _pairs(report.kinds)
    rows["commands"] = _pairs(report.verbs)
    rows["fail at first by"] = _pairs(dict(list(report.starts.items())[:8]))
    rows["dropped"] = _pairs(report.dropped)
    rows["tasks left out"] = f"{len(report.unrunnable)}"
    _print_table(rows, _PAPER_DEMOS)


def _print_table(rows: dict[str, str], paper: dict[str, str]) -> None:
    """Print figures next to the paper's."""
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "here", "paper")
    for name, value in rows.items():
        table.add_row(name, value, paper.get(name, ""))
    Console().print(table, highlight=False)


def _pairs(values: dict) -> str:
    return ", ".join(
        f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value:,}"
        for name, value in values.items()
    )


def _corruptions(text: str) -> tuple[int, int]:
    # At most nine digits: Python refuses to read thousands of them.
    match = re.fullmatch(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= MOST_CORRUPTIONS:
        raise UserError(
            f"--corruptions is {text!r}; give LOW,HIGH such as 1,5,"
            f" 1 <= LOW <= HIGH <= {MOST_CORRUPTIONS}"
        )
    return int(match[1]), int(match[2])


def define() -> None:
    """Define the flags."""
    flags.DEFINE_enum("kind", "demos", ["demos", "faulty", "mbpp"], "Kind of data.")
    flags.DEFINE_string("tasks", "generated/train", "Tasks to make data from.")
    flags.DEFINE_string("path", "", "File or folder of a published set.")
    flags.DEFINE_integer("count", 0, "At most so many tasks; 0 for all.", 0)
    flags.DEFINE_integer(
        "per_task", CorruptionConfig.per_task, "Candidates of a task.", 1
    )
    flags.DEFINE_string("corruptions", "1,5", "Lowest and highest number of them.")
    flags.DEFINE_list(
        "kinds", list(KINDS), "Their kinds; one named twice is twice as likely."
    )
    flags.DEFINE_enum("order", ORDERS[0], ORDERS, "Order of the edits.")
    flags.DEFINE_integer("seed", 0, "Of the corruptions, or of the drafts.")
    flags.DEFINE_string("tokenizer", "", "A model's, to count tokens: see --model.")
    flags.DEFINE_enum("prompt", "full", list(PROMPTS), "Prompt that they count.")
    flags.DEFINE_string(
        "model", "", "Faulty: a checkpoint, a folder, a Hub name or a GGUF file."
    )
    flags.DEFINE_string("examples", "", "Faulty: tasks, of which three are shown.")
    flags.DEFINE_integer("samples", 100, "Faulty: drafts of a task.", 1)
    flags.DEFINE_float("temperature", 0.8, "Faulty: of sampling.", 1e-3)
    flags.DEFINE_integer("keep", 20, "Faulty: most programs of a task.", 1)
    flags.DEFINE_integer("max_tokens", 512, "Faulty: longest draft.", 1)
    flags.DEFINE_integer("max_length", 2048, "Faulty: longest prompt and draft.", 2)
    flags.DEFINE_integer("slots", 64, "Faulty: drafts at once.", 2)
    flags.DEFINE_string(
        "out", None, "A folder, new or of a killed run; a new file with --kind=mbpp."
    )
    flags.mark_flags_as_required(["out"])


def command() -> None:
    """Run as an installed script, repair-make-data."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

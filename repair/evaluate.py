"""Measures a checkpoint.

python -m repair.evaluate --checkpoint=runs/tiny/checkpoints/rlvr
    --tasks=generated/test --samples=4 --temperature=0.8
"""

import json
import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.env.sandbox import Sandbox
from repair.errors import UserError
from repair.learn.checkpoint import load_params
from repair.learn.config import from_dict
from repair.learn.evaluation import EvalConfig
from repair.learn.experiment import eval_bugs, make_policy, measure
from repair.learn.metrics import results_table
from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.tasks import load_tasks
from repair.text.tokens import load_codec


def main():
    """Plays the tasks and prints pass@1, pass@k, outcomes by status and by turn."""
    args, console = flags.FLAGS, Console()
    checkpoint = pathlib.Path(args.checkpoint).absolute()
    params, extra = load_params(checkpoint)
    config = from_dict(extra["config"])
    workdir = _workdir(checkpoint)
    codec = load_codec(workdir / "tokenizer", config.text.prompt)
    spec = args.tasks or config.tasks.eval
    path = args.path or config.tasks.eval_path or config.tasks.path
    tasks = load_tasks(spec, path=path, count=args.count or None)
    out = pathlib.Path(args.out or workdir / "evaluations" / spec.replace("/", "_"))
    with Sandbox(limits=config.sandbox) as sandbox:
        model = Model(LlamaConfig(**extra["model"]))
        policy = make_policy(config, codec, model, sandbox)
        bugs = eval_bugs(config, tasks, sandbox)
        figures = measure(
            policy,
            params,
            bugs,
            EvalConfig(args.samples, args.temperature),
            f"evaluation ({spec})",
            out / "trajectories.jsonl",
        )
    results = {"stages": {spec: figures}, "checkpoint": str(checkpoint)}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(results_table(results))
    for name in ("by_status", "by_turn", "by_corruptions", "malformed", "turns"):
        console.print(f"{name}: {json.dumps(figures[name])}", highlight=False)
    console.print(f"results and trajectories are in {out}", highlight=False)


def _workdir(checkpoint: pathlib.Path) -> pathlib.Path:
    for folder in checkpoint.parents:
        if folder.name == "checkpoints":
            return folder.parent
    raise UserError(
        f"{checkpoint} is not below a run's checkpoints folder, beside which its"
        " tokenizer is kept; give WORKDIR/checkpoints/STAGE"
    )


if __name__ == "__main__":
    flags.DEFINE_string("checkpoint", None, "A stage's checkpoints, or one step.")
    flags.DEFINE_string("tasks", "", "generated/SPLIT, mbpp/SPLIT or FILE.jsonl.")
    flags.DEFINE_string("path", "", "File with MBPP's rows, for mbpp/SPLIT.")
    flags.DEFINE_integer("count", 0, "At most so many tasks; 0 for all.", 0)
    flags.DEFINE_integer("samples", 4, "Samples of a bug, the k of pass@k.", 0)
    flags.DEFINE_float("temperature", 0.8, "Of the samples; pass@1 is greedy.", 0.0)
    flags.DEFINE_string("out", "", "Folder for results; by default in the workdir.")
    flags.mark_flags_as_required(["checkpoint"])
    cli.run(main)

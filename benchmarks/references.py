"""Verdicts of the sandbox under every number of workers, order and load: all the same.

python -m benchmarks.references [--tasks=FILE.jsonl ...] [--mutants=2] [--limit=N]
    [--out=FILE.json]
python -m benchmarks.references --mbppplus=MbppPlus.jsonl.gz [--mutants=5] [--limit=N]
    [--workers=N]

Judges every reference of the tasks and some mutants of each (one small corruption each,
`repair.tasks.corrupt`): by 1, 2 and 4 workers, in two orders, with and without four
processes beside that spin. Tasks are files of MBPP's rows; without any, 500 generated
ones. Of a program that hangs, each run waits out its whole allowance.

Exits 1 if a verdict differs between two runs, in any field but the seconds.

With `--mbppplus` it compares that set's inputs and verdicts with the package evalplus
(`benchmarks.mbppplus`), and exits 1 if any differ or a reference does not pass.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks import mbppplus
from repair.sandbox import Limits, Result, Sandbox
from repair.tasks import Task, load_tasks
from repair.tasks.corrupt import ALL_KINDS, corrupt

WORKERS = (1, 2, 4)
ORDERS = ("as read", "shuffled")
BUSY = 4  # processes that spin
# They end with this process too, should it be killed.
SPIN = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"
GENERATED = 500
DONORS = 50  # other programs, the source of lines and words
LISTED = 10

Verdict = tuple[bool, str, str, tuple[int, ...], str]


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to judge.

    Attributes:
      name: Task and number of the mutant; 0 is the reference.
      job: Its code, tests and setup.
    """

    name: str
    job: tuple[str, tuple[str, ...], str]

    @property
    def is_reference(self) -> bool:
        """True if the program is the task's own solution."""
        return self.name.endswith("/0")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run over all programs.

    Attributes:
      workers: Number of workers.
      order: One of ORDERS.
      busy: True with BUSY processes beside that spin.
      seconds: Wall time.
      verdicts: The verdicts, in the order of the programs.
    """

    workers: int
    order: str
    busy: bool
    seconds: float
    verdicts: list[Verdict]

    @property
    def name(self) -> str:
        """Its configuration, for people."""
        load = "busy" if self.busy else "idle"
        return f"{self.workers} workers, {self.order}, {load}"


def make_programs(tasks: Sequence[Task], mutants: int, seed: int = 0) -> list[Program]:
    """Return each task's reference and its mutants, no two with equal jobs."""
    rng = random.Random(seed)
    codes = [task.code for task in tasks]
    found: dict[tuple, Program] = {}
    for task in tasks:
        donors = rng.sample(codes, min(DONORS, len(codes)))
        versions = [task.code]
        for _ in range(mutants):
            # A program of one short line may allow no change.
            with contextlib.suppress(ValueError):
                versions.append(corrupt(task.code, donors, rng, 1, ALL_KINDS)[0])
        for index, code in enumerate(versions):
            job = (code, tuple(task.test_list), task.test_setup_code)
            found.setdefault(job, Program(f"{task.task_id}/{index}", job))
    return list(found.values())


@contextlib.contextmanager
def spinning(count: int) -> Iterator[None]:
    """Keep processes beside busy, as many as given."""
    spinners = []
    try:
        for _ in range(count):
            command = [sys.executable, "-S", "-c", SPIN, str(os.getpid())]
            spinners.append(subprocess.Popen(command))
        yield
    finally:
        for each in spinners:
            each.kill()
            each.wait()


def judge_all(
    programs: Sequence[Program],
    workers: int,
    order: str,
    busy: bool,
    limits: Limits | None = None,
) -> Run:
    """Judge all programs by a new sandbox."""
    places = list(range(len(programs)))
    if order != ORDERS[0]:
        random.Random(1).shuffle(places)
    with (
        spinning(BUSY if busy else 0),
        Sandbox(workers, limits, cache=False) as sandbox,
    ):
        started = time.perf_counter()
        results = sandbox.map([programs[place].job for place in places])
        seconds = time.perf_counter() - started
    verdicts = dict(zip(places, map(verdict_of, results), strict=True))
    in_order = [verdicts[place] for place in range(len(programs))]
    return Run(workers, order, busy, seconds, in_order)


def verdict_of(result: Result) -> Verdict:
    """Return all fields of a result but its seconds."""
    return (
        *(result.passed, result.status, result.feedback),
        *(result.failed_tests, result.trust),
    )


def differences(
    programs: Sequence[Program], runs: Sequence[Run]
) -> dict[str, dict[str, Verdict]]:
    """Return the programs that two runs judge differently: verdict of each run."""
    found = {}
    for place, program in enumerate(programs):
        verdicts = {run.name: run.verdicts[place] for run in runs}
        if len(set(verdicts.values())) > 1:
            found[program.name] = verdicts
    return found


def main() -> int:
    """Print the table; return 1 if a verdict differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", action="append", default=[], help="JSONL file")
    parser.add_argument("--mbppplus", default="", help="MBPP+, beside evalplus")
    parser.add_argument("--workers", type=int, default=None, help="for --mbppplus")
    parser.add_argument("--mutants", type=int, default=None, help="of each reference")
    parser.add_argument("--limit", type=int, default=None, help="tasks, of all files")
    parser.add_argument("--out", default="", help="JSON file")
    args = parser.parse_args()
    if args.mbppplus:
        mutants = 5 if args.mutants is None else args.mutants
        found = mbppplus.compare(args.mbppplus, mutants, args.limit, args.workers)
        print("\n".join(found.lines()))
        if args.out:
            record = json.dumps(dataclasses.asdict(found), indent=2)
            pathlib.Path(args.out).write_text(record + "\n")
        return 0 if found.passed else 1
    mutants = 2 if args.mutants is None else args.mutants
    tasks: list[Task] = []
    for path in args.tasks:
        tasks += load_tasks(path)
    if not tasks:
        tasks = load_tasks("generated/train", count=args.limit or GENERATED)
    programs = make_programs(tasks[: args.limit], mutants)
    references = [place for place, each in enumerate(programs) if each.is_reference]
    load = os.getloadavg()
    print(
        f"{len(programs)} programs, of which {len(references)} references;"
        f" {os.cpu_count()} cores, load before the run {load[0]:.1f}"
    )
    titles = ("passed refs", "in child", "timeouts", "other verdicts", "seconds")
    print(f"{'run':28}" + "".join(f"{title:>16}" for title in titles))
    runs: list[Run] = []
    for busy, order, workers in itertools.product((False, True), ORDERS, WORKERS):
        run = judge_all(programs, workers, order, busy)
        runs.append(run)
        passed = sum(run.verdicts[place][0] for place in references)
        in_child = sum(each[-1] == "in_child" for each in run.verdicts)
        timeouts = sum(each[1] == "timeout" for each in run.verdicts)
        other = len(differences(programs, [runs[0], run]))
        cells = f"{passed:16}{in_child / len(programs):16.1%}{timeouts:16}{other:16}"
        print(f"{run.name:28}{cells}{run.seconds:16.1f}", flush=True)
    different = differences(programs, runs)
    print(f"\njudged differently in some run: {len(different)} (bar: 0)")
    for name, verdicts in list(different.items())[:LISTED]:
        print(name)
        for run_name, verdict in verdicts.items():
            print(f"  {run_name:28} {verdict}")
    if args.out:
        record = {
            "programs": len(programs),
            "references": len(references),
            "load": load,
            "runs": [dataclasses.asdict(run) for run in runs],
            "different": different,
        }
        pathlib.Path(args.out).write_text(json.dumps(record, indent=2) + "\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

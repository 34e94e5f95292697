"""Correct, wrong and hostile programs; workers that die."""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from repair.errors import UserError
from repair.sandbox import Limits, Sandbox, SandboxError, lockdown, worker

LIMITS = Limits(seconds=2.0, cpu_seconds=0.4, memory_mb=256)
RIGHT = "def f(x):\n    return x + 1"
TESTS = ("assert f(1) == 2", "assert f(2) == 3")
ENDED = "the program ended the interpreter"
USED_UP = "out of time or memory"
# Audit hooks do not see these two: they stand for everything that evades the hook.
KILLS_WORKER = (
    "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)"
    "\nimport time\ntime.sleep(1)"
)
SLEEP = f"sleep {1000 + os.getpid()}"  # no other test process looks for it
SPAWNS = (
    "from multiprocessing import util\n"
    f"util.spawnv_passfds(b'/bin/sh', [b'sh', b'-c', b'setsid {SLEEP}'], [])\n"
    "import time\ntime.sleep(0.3)"
)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, limits=LIMITS) as sandbox:
        yield sandbox


def pids(text):
    """Return the processes of the machine whose command line holds the text."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (ProcessLookupError, FileNotFoundError):
            continue  # it ended while we looked
        if text in words:
            found.append(int(path.parent.name))
    return found


PROGRAMS = [
    (RIGHT, "passed", ""),
    ("def f(x):\n    print(x)\n    return x + 1.0", "passed", ""),
    ("def f(x):\n    return 2", "failed", "test 2: got 2"),
    ("def f(x):\n    return 'a' * 99", "failed", "test 1: got '" + "a" * 59 + "..."),
    ("def f(x):\n    return {3, 1, 2}", "failed", "test 1: got {1, 2, 3}"),
    ("def f(x):\n    return 10**5000", "failed", "test 1: got an int of 16610 bits"),
    ("def f(x):\n    return str(f)", "failed", "test 1: got '<function f>'"),
    ("def f(x):\n    return object()", "failed", "test 1: got object"),
    ("def f(x):\n    return y", "error", "test 1: line 2: NameError: name 'y' is not"),
    ("g = 1", "error", "test 1: NameError: name 'f' is not defined"),
    ("x = 1\nx.a", "error", "line 2: AttributeError: 'int' object has no attribute"),
    ("def f(x):\n    return f(x)", "error", "test 1: line 2: RecursionError: maximum"),
    ("def f(x):\n    raise KeyError('a\\nb')", "error", "test 1: line 2: KeyError: 'a"),
    ("class E(Exception): __str__ = 0\nraise E", "error", "line 2: E: unprintable"),
    ("def f(x)\n    return x", "syntax_error", "line 1: SyntaxError: expected ':'"),
    ("def f(x):\nreturn x", "syntax_error", "line 2: IndentationError: expected an"),
    ("eval('1+')", "error", "line 1: SyntaxError: invalid syntax"),
    ("\0", "syntax_error", "SyntaxError: source code string cannot contain null"),
    ("while True: pass", "timeout", USED_UP),
    ("import time\ntime.sleep(99)", "timeout", USED_UP),
    ("import signal\nsignal.setitimer(2, 0)\nwhile 1: pass", "timeout", USED_UP),
    ("x = 'a' * 10**10", "timeout", USED_UP),
    ("def f(x):\n    return [0] * 10**9", "timeout", USED_UP),
    # Zeros of the system: filling memory byte by byte would reach the time limit.
    ("x = []\nwhile True: x.append(bytes(10**6))", "timeout", USED_UP),
    ("def f(x):\n    return 'a' * 10**7", "failed", "test 1: got too much"),
    ("l = []\nl += [l, l]\ndef f(x): return l", "failed", "test 1: got too much"),
    ("print('x' * 10**7)\n" + RIGHT, "passed", ""),
    ("import os\nos._exit(0)", "crashed", ENDED),
    ("import os\ndef f(x): os._exit(0)", "crashed", ENDED),
    ("import os\nos.closerange(0, 99)\n" + RIGHT, "crashed", ENDED),
    ("import os\nos.abort()", "crashed", ENDED),
    ("import sys\nsys.exit(0)", "error", "line 2: SystemExit: 0"),
    ("import os\nos.fork()", "forbidden", "line 2: Forbidden: os.fork"),
    ("import os\nos.kill(os.getppid(), 9)", "forbidden", "line 2: Forbidden: os.kill"),
    ("open('x', 'w')", "forbidden", "line 1: Forbidden: writing files"),
]


@pytest.mark.parametrize(("code", "status", "feedback"), PROGRAMS)
def test_verdict(sandbox, code, status, feedback):
    result = sandbox.run(code, TESTS)
    assert result.status == status
    assert result.feedback.startswith(feedback) and bool(feedback) == (
        status != "passed"
    )
    assert result.feedback.isprintable() and len(result.feedback) < 160
    assert result.passed == (status == "passed") == (result.failed_tests == ())
    assert result.trust == "value"
    assert sandbox.run(RIGHT, TESTS).passed  # and the next is fine


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    __eq__ = lambda *_: True\ndef f(x): return A()",
        "class A(int):\n    __eq__ = lambda *_: True\ndef f(x): return A(0)",
        "import os\nfor fd in range(3, 50):\n    try: os.write(fd, b'{}\\n')\n"
        "    except OSError: pass",
        # Finds the token in its caller's frames and claims that the tests held.
        "import sys, os, json\nframe = sys._getframe()\n"
        "while 'job' not in frame.f_locals: frame = frame.f_back\n"
        "token = frame.f_locals['job']['token']\n"
        "claim = {'token': token, 'tests': [{'held': True}] * 2}\n"
        "for fd in range(3, 50):\n"
        "    try: os.write(fd, json.dumps(claim).encode() + b'\\n')\n"
        "    except OSError: pass\n"
        "os._exit(0)",
    ],
)
def test_forged_verdicts_do_not_pass(sandbox, code):
    result = sandbox.run(code, TESTS)
    assert not result.passed and result.status in ("failed", "crashed")


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="other versions count frames otherwise"
)
def test_a_recursion_ends_at_the_same_depth_whatever_calls_it(sandbox):
    """The message of a RecursionError, which the model reads, hangs on the depth."""
    deep = (
        "def deep(n):\n    try:\n        return deep(n + 1)\n"
        "    except RecursionError:\n        return n\n"
    )
    called = sandbox.run(f"{deep}def f(x): return deep(0)", ("assert f(1) == 987",))
    loaded = sandbox.run(
        f"{deep}X = deep(0)\ndef f(x): return X", ("assert f(1) == 990",)
    )
    assert (called.feedback, loaded.feedback) == ("", "")


def test_endless_loops_are_always_timeouts():
    with Sandbox(workers=1, limits=Limits(cpu_seconds=0.05)) as sandbox:
        jobs = [(f"while True: pass  # {i}", TESTS) for i in range(25)]
        assert {result.status for result in sandbox.map(jobs)} == {"timeout"}


SPIN = """\
import time
def f(x):
    while time.process_time() < started + {}: pass
    return x + 1
started = time.process_time()
"""


def test_every_program_has_its_own_time():
    codes = [RIGHT, SPIN.format(0.3), SPIN.format(0.31), RIGHT + " ", RIGHT + "  "]
    allowed = [0.1, 0.1, 0.8, 0.1, 0.1]
    with Sandbox(workers=1, limits=Limits(cpu_seconds=2.0)) as sandbox:
        jobs = [
            (code, TESTS, "", seconds)
            for code, seconds in zip(codes, allowed, strict=True)
        ]
        results = sandbox.map(jobs)
        assert [r.status for r in results] == ["passed", "timeout", *["passed"] * 3]
        assert sandbox.run(codes[1], TESTS).passed  # by default that of the limits
        assert 0.1 < results[1].seconds < 0.3 < results[2].seconds < 0.5
        assert results[0].seconds < 0.05 > results[3].seconds


def test_a_sleeper_ends_at_four_times_its_allowance():
    with Sandbox(workers=1, limits=Limits(cpu_seconds=0.1)) as sandbox:
        assert sandbox.run(RIGHT, TESTS).passed  # the worker has started
        started = time.monotonic()
        result = sandbox.run("import time\ntime.sleep(99)", TESTS)
        assert (result.status, result.feedback) == ("timeout", USED_UP)
        assert 0.4 < time.monotonic() - started < 1.0
        # Shorter naps are allowed.
        nap = "import time\ntime.sleep(0.25)\n" + RIGHT
        assert sandbox.run(nap, TESTS).passed


def test_a_program_that_gets_no_processor_has_no_verdict(monkeypatch):
    """Stop the child from outside: it neither runs nor sleeps by its own choice."""
    monkeypatch.setattr(worker.Worker, "_judge_stall", lambda *arguments: b"k")
    with Sandbox(workers=1, limits=Limits(seconds=0.3, cpu_seconds=0.1)) as sandbox:
        with pytest.raises(SandboxError, match=r"no verdict.*fewer workers"):
            sandbox.run("import time\ntime.sleep(99)", TESTS)
        assert sandbox.run(RIGHT, TESTS).passed


def test_references_run_in_workers_of_their_own(sandbox):
    assert sandbox.references is sandbox.references.references
    apart = {each._process.pid for each in sandbox.references._workers}
    assert apart.isdisjoint(each._process.pid for each in sandbox._workers)
    before = sandbox.counts["passed"]
    unique = f"{RIGHT}  # {time.time()}"
    assert sandbox.references.run(unique, TESTS).passed
    assert sandbox.run(unique, TESTS).passed  # from the same cache
    assert sandbox.counts["passed"] == before + 2 and sandbox.counts["cached"] > 0


OBJECTS = """\
class A: pass
def f(x): return [f'{i}' for i in order]
made = [A() for _ in range(50)]
order = [made.index(a) for a in set(made)]
"""


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12), reason="its heap may differ between requests"
)
def test_sets_of_objects_come_in_one_order():
    """Addresses are the same in every worker, whatever ran before."""
    found = set()
    for workers in (1, 2):
        with Sandbox(workers=workers, limits=LIMITS, cache=False) as box:
            for filler in ("", "x = 'a' * 10**5\n", "import json\n"):
                box.map([(f"{filler}{RIGHT}", TESTS), (RIGHT, TESTS)] * workers)
                found |= {box.run(OBJECTS, TESTS).feedback for _ in range(2)}
    assert len(found) == 1, found


def test_attempts_are_allowed_ten_times_what_the_reference_takes():
    with Sandbox(workers=1, limits=Limits(cpu_seconds=1.0)) as sandbox:
        references = [RIGHT, SPIN.format(0.05), SPIN.format(0.2), "def f(x): pass"]
        fast, slow, slowest, wrong = sandbox.allowances(
            [(code, TESTS) for code in references]
        )
    assert (fast, slowest, wrong) == (0.25, 1.0, 1.0)
    assert 0.5 < slow < 1.0


def test_asserts_that_cannot_be_taken_apart_are_judged_in_the_child(sandbox):
    code = f"{RIGHT}\ndef g(x): return x + 1"
    tests = ("assert f(1) == 2", "assert f(2) == g(3)", "assert f(1) == g(1)")
    result = sandbox.run(code, tests)
    assert (result.trust, result.status) == ("in_child", "failed")
    assert (result.feedback, result.failed_tests) == ("test 2: failed", (1,))
    assert sandbox.run(code, tests[::2]).passed


def test_setup_runs_before_the_program_or_else_after(sandbox):
    assert sandbox.run("f = double", ["assert f(1) == 2"], "double = lambda x: 2 * x")
    code = "class Node: v = 2\ndef f(node): return node.v"
    assert sandbox.run(code, ["assert f(root) == 2"], "root = Node()").passed
    result = sandbox.run(code, ["assert f(root) == 2"], "root = Nod()")
    assert result.feedback == "setup: NameError: name 'Nod' is not defined"


def test_feedback_is_the_same_everywhere(sandbox):
    codes = [
        "import random\ndef f(x): return random.random()",
        "def f(x): return list({'ab', 'cd', 'ef', 'gh', 'ij'})",
        "import os\ndef f(x): return os.getcwd()",
        "import sys\ndef f(x): return sys.path + sys.argv + [sys.executable]",
        "from math import nothing",
        "import sys\ndef f(x): raise ValueError(sys.modules['__main__'].__file__)",
    ]
    first = sandbox.map([(code, TESTS) for code in codes])
    with Sandbox(workers=1, limits=LIMITS) as other:
        second = other.map([(code, TESTS) for code in codes[::-1]])[::-1]
        private = (*sandbox._private, *other._private)
    assert [r.feedback for r in first] == [r.feedback for r in second]
    assert not any(path in r.feedback for r in first for path in private)


def test_map_keeps_order_and_runs_equal_jobs_once(sandbox):
    clock = "import time\ndef f(x):\n    return time.perf_counter_ns()"
    jobs = [(clock, TESTS), (RIGHT, TESTS), (clock, list(TESTS), ""), (clock, TESTS)]
    jobs += [(f"def f(x): return {i}", TESTS[:1]) for i in range(3, 60)]
    results = sandbox.map(jobs)
    assert results[0] == results[2] == results[3] and results[1].passed
    expected = [f"test 1: got {i}" for i in range(3, 60)]
    assert [r.feedback for r in results[4:]] == expected
    assert sandbox.map([]) == []
    assert sandbox.submit(RIGHT, TESTS).result().passed


def test_a_killer_harms_no_other_job(sandbox):
    others = [(f"{RIGHT} + {i} - {i}", TESTS) for i in range(12)]
    jobs = [*others[:6], (KILLS_WORKER, TESTS), *others[6:]]
    with Sandbox(workers=2, limits=LIMITS, without=lockdown.LAYERS) as unlocked:
        for each, status in ((sandbox, "forbidden"), (unlocked, "crashed")):
            results = each.map(jobs)
            assert results.pop(6).status == status
            assert all(result.passed for result in results)


def test_a_killed_worker_is_replaced():
    slow = f"import time\ntime.sleep(0.5)\n{RIGHT}"
    with Sandbox(workers=1, limits=LIMITS) as sandbox:
        before = sandbox._workers[0]._process
        future = sandbox.submit(slow, TESTS)
        time.sleep(0.2)
        before.kill()
        assert future.result().passed  # run once more
        sandbox._workers[0]._process.kill()
        assert sandbox.run(RIGHT, TESTS).passed


def test_a_fault_of_the_sandbox_is_no_verdict(monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit")
    monkeypatch.setattr(worker, "ZYGOTE", broken)
    with Sandbox(workers=1) as sandbox:
        with pytest.raises(SandboxError, match="whatever it runs"):
            sandbox.run(RIGHT, TESTS)
    with pytest.raises(SandboxError, match="closed"):
        sandbox.run(RIGHT, TESTS)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_nothing_outlives_its_job(sandbox):
    with Sandbox(workers=1, limits=LIMITS, without=lockdown.LAYERS) as unlocked:
        assert unlocked.run(f"{SPAWNS}\n{RIGHT}", TESTS).passed
        assert not pids(SLEEP)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.5])
@pytest.mark.parametrize("ending", ["close", "kill"])
def test_closing_ends_what_starts_or_runs(ending, delay, tmp_path, monkeypatch):
    # A copy marks this sandbox's processes, also orphans, among those of the machine.
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(worker.ZYGOTE.parent, tmp_path / "copy", ignore=ignored)
    monkeypatch.setattr(worker, "ZYGOTE", tmp_path / "copy" / "zygote.py")
    sandbox = Sandbox(workers=1, limits=Limits(seconds=30))
    pid = sandbox._workers[0]._process.pid
    future = sandbox.submit("import time\ntime.sleep(25)", TESTS)
    time.sleep(delay)
    deadline = time.monotonic() + 2
    while not pids(str(tmp_path)):  # none while the zygote replaces itself by exec
        assert time.monotonic() < deadline
    if ending == "kill":
        os.kill(pid, 9)
    started = time.monotonic()
    sandbox.close()
    assert time.monotonic() - started < 5
    with pytest.raises((SandboxError, concurrent.futures.CancelledError)):
        future.result()
    assert not pathlib.Path(f"/proc/{pid}").exists()
    time.sleep(0.3)
    assert not pids(str(tmp_path))
    assert not pathlib.Path(sandbox._folder).exists()


def test_bad_arguments():
    with pytest.raises(UserError, match="cpu_seconds is 0"):
        Limits(cpu_seconds=0)
    with Sandbox(workers=1) as sandbox, pytest.raises(TypeError, match="sequence"):
        sandbox.run(RIGHT, "assert f(1) == 2")
    with Sandbox(workers=1) as sandbox, pytest.raises(ValueError, match="above 0"):
        sandbox.run(RIGHT, TESTS, "", 0.0)


def test_importing_is_light():
    heavy = "{'jax', 'numpy', 'flax', 'transformers'}"
    code = f"import sys, repair.env; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_programs_near_a_limit_are_told_apart():
    with Sandbox(workers=2, limits=Limits(cpu_seconds=0.4), cache=False) as sandbox:
        quick, half, above, endless = sandbox.steady(
            [
                (RIGHT, TESTS),
                (SPIN.format(0.3), TESTS),
                (SPIN.format(0.6), TESTS),
                ("while True: pass", TESTS),
            ]
        )
    assert quick.passed and endless.status == "timeout"
    assert half is None and above is None

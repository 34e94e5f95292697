"""Shared children: programs that may share one, and equal verdicts in it."""

import ast
import json
import random
import warnings

import pytest

from repair.sandbox import Limits, Sandbox, screen, worker
from repair.tasks import load_tasks

LIMITS = Limits(seconds=3.0, cpu_seconds=0.4, memory_mb=256)
RIGHT = "def f(x):\n    return x + 1"
TESTS = ("assert f(1) == 2", "assert f(2) == 3")


@pytest.mark.parametrize(
    "code",
    [
        RIGHT,
        "import math, re\nfrom collections import Counter\nf = Counter",
        "from collections.abc import Iterable\nf = Iterable",
        "class A:\n    def __init__(self): self.x = 1\n    def __eq__(self, o): pass",
        "while True: pass",
        "def f(x",
        "x = [0]\nx[0] += 1\nglobal y\ny = 2",
    ],
)
def test_ordinary_programs_may_share(code):
    assert screen.may_share(code, TESTS, "")


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "import sys as math",
        "from math import __loader__",
        "from statistics import sys",
        "from . import math",
        "import statistics\nstatistics.sys.modules.clear()",
        "import re\nre.enum.sys.exit()",
        "import math\nmath.pi = 3",
        "import math\ndel math.pi",
        "().__class__.__base__.__subclasses__()",
        "__import__('os')",
        "__builtins__['len'] = 0",
        "getattr(1, 'x')",
        "setattr(f, 'x', 1)",
        "exec('1')",
        "eval('1')",
        "globals()['x'] = 1",
        "open('x')",
        "type('A', (), {})",
        "class A(metaclass=B): pass",
        "class A:\n    def __del__(self): pass",
        "def g(): yield\ng().gi_frame.f_back",
        "try: 1 / 0\nexcept Exception as e: e.__traceback__",
        "import operator\noperator.attrgetter('a.b')(1)",
        "from operator import attrgetter as a",
        "import string\nstring.Formatter()",
        "'{0.x}'.format_map({})",
        "async def g(): pass",
        "def g(__class__): pass",
        "match x:\n    case A(__class__=b): pass",
        "import random\nrandom.seed(1)",
        "x = 1  # " + "x" * screen.MAX_CHARS,
    ],
)
def test_programs_that_could_reach_out_run_alone(code):
    assert not screen.may_share(code, TESTS, "")
    assert not screen.may_share(RIGHT, TESTS, code)
    assert not screen.may_share(RIGHT, (code,), "")


def test_a_look_at_the_words_allows_nothing_that_the_tree_would_not():
    pieces = (
        "x y len eval _ __a _b x.pop .5 1. . ( ) [0] = == : , 'a.b' 'eval' \\\n \n "
        "for in if or and not del with as lambda def class return yield print f( "
        "f'{x.y}' 0or 1if 0xfor # ** {} @ := ... .real ._ .join( .__class__("
    ).split(" ")
    rng = random.Random(0)
    passed = 0
    for _ in range(60_000):
        source = rng.choice(["", " "]).join(rng.choices(pieces, k=rng.randint(1, 7)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(source)
        except SyntaxError:
            continue
        if screen._plainly_harmless(source):
            passed += 1
            assert all(map(screen._harmless, ast.walk(tree))), source
    assert passed > 500


MIXED = [
    ("while True: pass", "timeout"),
    ("x = 'a' * 10**10", "memory"),
    ("x = []\nwhile True: x.append('a' * 10**6)", ("memory", "timeout")),
    ("def g(): return g()\ng()", "error"),
    ("raise KeyboardInterrupt", "error"),
    ("raise SystemExit", "error"),
    ("def f(x): return 0", "failed"),
    ("def f(x", "syntax_error"),
    ("import os\nos._exit(0)", "crashed"),
    ("def f(x): return 'a' * 10**6", "failed"),
    ("print('x' * 10**6)\nraise ValueError", "error"),
    (RIGHT, "passed"),
]


def test_company_changes_no_verdict():
    """Mix bad programs with good ones in every order: each gets its own verdict."""
    rng = random.Random(0)
    with Sandbox(workers=1, limits=LIMITS, cache=False) as sandbox:
        for _ in range(3):
            due = [*MIXED, *[(f"{RIGHT}  # {i}", "passed") for i in range(30)]]
            rng.shuffle(due)
            results = sandbox.map([(code, TESTS) for code, _ in due])
            for (code, expected), result in zip(due, results, strict=True):
                assert result.status in expected, (code, result)
        assert sandbox.counts["shared"] > 60 and sandbox.sharing


def test_alone_and_in_company_agree_on_a_corpus():
    tasks = load_tasks("generated/train", count=120)
    rng = random.Random(1)
    jobs = []
    for task in tasks:
        lines = task.code.split("\n")
        del lines[rng.randrange(len(lines))]
        jobs += [(task.code, task.test_list), ("\n".join(lines), task.test_list)]
    found = []
    for share in (False, True):
        with Sandbox(limits=LIMITS, share=share, cache=False) as sandbox:
            results = sandbox.map(jobs)
            rng.shuffle(order := list(range(len(jobs))))
            again = sandbox.map([jobs[i] for i in order])
        found.append([(r.status, r.feedback, r.failed_tests, r.trust) for r in results])
        found.append([None] * len(jobs))
        for i, r in zip(order, again, strict=True):
            found[-1][i] = (r.status, r.feedback, r.failed_tests, r.trust)
    assert found[0] == found[1] == found[2] == found[3]
    assert [status for status, *_ in found[0][::2]] == ["passed"] * len(tasks)


def test_a_verdict_that_company_changes_ends_sharing_loudly(monkeypatch):
    leaky = "import math\nmath.floor = lambda x: 7\n" + RIGHT
    victim = "import math\ndef f(x): return math.floor(x) + 1"
    monkeypatch.setattr(screen, "may_share", lambda *job: True)
    with Sandbox(workers=1, limits=LIMITS, cache=False) as sandbox:
        monkeypatch.setattr(sandbox, "_draw_check", lambda: True)
        # Eight jobs make four requests of two.
        jobs = [(leaky, TESTS), (victim, TESTS)]
        jobs += [(f"{RIGHT}  # {i}", TESTS) for i in range(6)]
        with pytest.warns(RuntimeWarning, match="no longer share"):
            results = sandbox.map(jobs)
        assert all(r.passed for r in results)  # as alone
        assert not sandbox.sharing
        shared = sandbox.counts["shared"]
        assert all(r.passed for r in sandbox.map(jobs))
        assert sandbox.counts["shared"] == shared


def test_equal_jobs_are_answered_from_memory():
    clock = "import time\ndef f(x): return time.perf_counter_ns()"
    with Sandbox(workers=1, limits=LIMITS) as sandbox:
        first = sandbox.run(clock, TESTS)
        assert sandbox.map([(clock, list(TESTS))]) == [first]
        assert sandbox.run(clock, TESTS[:1]) != first
        assert sandbox.counts["cached"] == 1
        # Results that may be chance are not kept.
        exits = "import os\nos._exit(0)"
        assert sandbox.run(exits, TESTS).status == "crashed"
        assert sandbox.run(exits, TESTS).status == "crashed"
        assert sandbox.counts["cached"] == 1
    with Sandbox(workers=1, limits=LIMITS, cache=False) as sandbox:
        assert sandbox.run(clock, TESTS) != sandbox.run(clock, TESTS)


def test_the_request_never_holds_what_is_expected(monkeypatch):
    with Sandbox(workers=1, limits=LIMITS) as sandbox:
        (worker,) = sandbox._workers
        seen = []
        ask = worker.ask

        def spy(batches, limits):
            seen.append(json.dumps(batches))
            return ask(batches, limits)

        monkeypatch.setattr(worker, "ask", spy)
        result = sandbox.run("def f(x): return 31337", ["assert f(1) == 4711"])
    assert result.feedback == "test 1: got 31337"
    assert seen and not any("4711" in text for text in seen)


def test_who_hangs_in_company_is_not_run_again(monkeypatch):
    asked, ask = [], worker.Worker.ask

    def spy(self, batches, limits):
        asked.extend([job["code"] for job in batch] for batch in batches)
        return ask(self, batches, limits)

    monkeypatch.setattr(worker.Worker, "ask", spy)
    monkeypatch.setattr(Sandbox, "_draw_check", lambda self: False)
    hangs = "while True: pass"
    codes = [f"{RIGHT}\n# {i}" for i in range(3)]
    codes.insert(1, hangs)
    with Sandbox(workers=1, limits=LIMITS, cache=False) as sandbox:
        results = sandbox._run_batch([(code, TESTS, "", 0.3) for code in codes])
    assert [r.status for r in results] == ["passed", "timeout", "passed", "passed"]
    assert asked == [codes, codes[2:]]
    assert 0.3 <= results[1].seconds < 1.0 and results[0].seconds < 0.1

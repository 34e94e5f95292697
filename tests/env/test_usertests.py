"""Tests files: the sandbox and pytest agree on programs."""

import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from repair.env.usertests.read import read_tests
from repair.sandbox import Sandbox

# Programs of one interface, most of them wrong in some way.
SOUND = """
import math
LOG = []
class BadInput(ValueError):
    pass
class Point:
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return isinstance(other, Point) and self.x == other.x
def inc(x):
    if x < 0:
        raise BadInput(f"negative: {x}")
    return x + 1
def half(x):
    return x / 2
def halves(xs):
    return [x / 2 for x in xs]
def ordered(xs):
    return sorted(xs)
def push(xs, x):
    xs.append(x)
    return xs
def move(point):
    return Point(point.x + 1)
def count():
    LOG.append(1)
    return len(LOG)
def whole(x):
    return math.floor(x)
def same(x):
    return x
def locked():
    raise PermissionError("locked")
def leave(code):
    raise SystemExit(code)
"""
CHANGES = {
    "sound": ("", ""),
    "off by one": ("return x + 1", "return x + 2"),
    "no check": ("if x < 0", "if False"),
    "another error": ("class BadInput(ValueError)", "class BadInput(KeyError)"),
    "another message": ("negative:", "less than zero:"),
    "nearly half": ("return x / 2\n", "return x / 2 + 2e-7\n"),
    "nearly halves": ("[x / 2 for", "[x / 2 + 1e-4 for"),
    "a tuple": ("return [x / 2 for x in xs]", "return tuple(x / 2 for x in xs)"),
    "sorts its argument": ("return sorted(xs)", "xs.sort()\n    return xs"),
    "not in place": ("xs.append(x)", "xs = [*xs, x]"),
    "still": ("Point(point.x + 1)", "Point(point.x)"),
    "remembers nothing": ("LOG.append(1)", "LOG[:] = [1]"),
    "needs the tests' import": ("import math", ""),
    "takes the tests' names": ("return x + 1", "return x + STEP"),
    "takes the tests' variable": ("return sorted(xs)", "return sorted(values)"),
    "copies": ("    return x\ndef locked", "    return (*x,)[::1]\ndef locked"),
    "ends": ("return x / 2\n", "raise SystemExit(0)\n"),
    "open": ('raise PermissionError("locked")', "return True"),
    "stays": ("raise SystemExit(code)", "return None"),
    "fails to load": ("import math", "import math, nowhere"),
    "no Python": ("def inc(x):", "def inc(x)"),
    "lost": ("def push", "def pull"),
}
FILES = {
    "plain": "assert inc(1) == 2\nassert halves([1]) == [0.5]\n",
    "constant": "def test_a():\n    want = 2\n    x = inc(1)\n    assert x == want\n",
    "module": "import prog\ndef test_a():\n    inc = prog.inc(1)\n    assert 2 == inc",
    "renamed": "from prog import inc as up, push\ndef test_a():\n    assert up(1) == 2",
    "unused": "from prog import push\ndef test_a():\n    assert True\n",
    "in place": (
        "def test_a():\n    xs = [1]\n    push(xs, 2)\n    assert xs == [1, 2]\n"
        "    assert push(xs, 3) is xs\n"
    ),
    "identity": "def test_a():\n    xs = [1]\n    assert push(xs, 2) is xs\n",
    "identity of constants": (
        "def test_a():\n    pair = (1, 2)\n    assert same(pair) is pair\n"
    ),
    "identity of the file's": (
        "PAIR = (1, 2)\ndef test_a():\n    assert same(PAIR) is PAIR\n"
    ),
    "grows in a loop": (
        "def test_a():\n    xs = [1]\n    for i in range(2):\n"
        "        assert len(push(xs, 9)) == i + 2\n"
    ),
    "changes its variable": (
        "def test_a():\n    x = 1\n    if inc(0) == 1:\n        x = 2\n"
        "    assert inc(x) == 3\n"
    ),
    "a local": (
        "def test_a():\n    values = [3, 1]\n    before = list(values)\n"
        "    assert ordered(values) == [1, 3]\n    assert values == before\n"
    ),
    "shared": (
        "DATA = [3, 1]\ndef test_a():\n    assert ordered(DATA) == [1, 3]\n"
        "def test_b():\n    assert DATA[0] == 3 and inc(0) == 1\n"
    ),
    "computed": (
        "FIRST = count()\ndef test_a():\n    assert count() == 2\n"
        "def test_b():\n    assert (FIRST, count()) == (1, 3)\n"
    ),
    "loaded first": ("def test_a():\n    assert count() == 2\nassert count() == 1\n"),
    "in order": (
        "def test_a():\n    assert count() == 1\ndef test_b():\n    n = count()\n"
        "    assert n == 2\n    assert n < 3\ndef test_c():\n    assert count() == 3\n"
    ),
    "constants": (
        "STEP = 1\nimport math\nassert whole(2.5) == 2\n"
        "def test_a():\n    assert inc(2) == 2 + STEP\n"
        "    assert math.floor(half(5)) == 2\n    assert math.isclose(half(3), 1.5)\n"
    ),
    "helper": (
        "STEP = 1\ndef check(x):\n    assert inc(x) == x + STEP\n"
        "def test_a():\n    check(1)\n    check(5)\n"
    ),
    "raises": (
        "import pytest\ndef test_a():\n    with pytest.raises(ValueError):\n"
        "        inc(-1)\n    assert inc(0) == 1\n"
    ),
    "raises and matches": (
        "from pytest import raises\ndef test_a():\n"
        "    with raises((ValueError, OSError), match=r'^neg.*-1$'):\n        inc(-1)\n"
    ),
    "raises and is kept": (
        "import pytest\ndef test_a():\n    with pytest.raises(BadInput) as info:\n"
        "        inc(-2)\n    assert str(info.value).endswith('-2')\n"
    ),
    "raises many": (
        "import pytest\ndef test_a():\n    with pytest.raises(PermissionError):\n"
        "        locked()\n    with pytest.raises(SystemExit):\n        leave(1)\n"
    ),
    "raises in vain": (
        "import pytest\ndef test_a():\n    try:\n"
        "        with pytest.raises(ValueError):\n            inc(-2)\n"
        "    except Exception:\n        pass\n"
    ),
    "fails by hand": (
        "import pytest\ndef test_a():\n    try:\n        inc(-1)\n"
        "        pytest.fail('no error')\n    except Exception:\n        pass\n"
    ),
    "approx": (
        "import pytest\ndef test_a():\n    assert half(1) == pytest.approx(0.5)\n"
        "    assert pytest.approx(0.5, abs=1e-3) == half(1)\n"
    ),
    "approx of many": (
        "import pytest\ndef test_a():\n"
        "    assert halves([1, 2]) == pytest.approx([0.5, 1])\n"
        "    assert {'a': half(3)} == pytest.approx({'a': 1.5}, rel=1e-3)\n"
    ),
    "approx kept": (
        "from pytest import approx\nWANT = approx(0.5)\n"
        "def test_a():\n    assert half(1) == WANT\n    assert half(2) != WANT\n"
    ),
    "cases": (
        "import pytest\nCASES = [([2, 1], [1, 2]), ([], [])]\n"
        "@pytest.mark.parametrize('xs, want', CASES)\n"
        "def test_a(xs, want):\n    assert ordered(xs) == want\n"
        "    assert xs is not want\n"
    ),
    "stacked cases": (
        "import pytest\n@pytest.mark.parametrize('x', [0, 1])\n"
        "@pytest.mark.parametrize(('y', 'z'), [(2, 3), pytest.param(4, 5, id='big')])\n"
        "def test_a(x, y, z):\n    assert inc(x) + inc(y) == x + z + 1\n"
        "    assert count() == [[1, 2], [3, 4]][y // 2 - 1][x]\n"
    ),
    "a loop": (
        "def test_a():\n    for x, want in [(1, 2), (3, 4)]:\n        got = inc(x)\n"
        "        assert got == want, f'{x}'\n"
    ),
    "a real loop": (
        "def test_a():\n    for x in range(3):\n        if x:\n            continue\n"
        "        assert inc(x) == x + 1\n    assert all(inc(x) > x for x in [1, 2])\n"
    ),
    "a class": (
        "class TestIt:\n    def test_a(self):\n        assert inc(1) == 2\n"
        "    def test_b(self):\n        assert move(Point(1)) == Point(2)\n"
    ),
    "a double": (
        "class Bag(list):\n    def append(self, x):\n        self.insert(0, x)\n"
        "def test_a():\n    assert push(Bag([1]), 2) == [2, 1]\n"
    ),
    "a class that counts": (
        "class Bag:\n    made = []\n"
        "def test_a():\n    assert len(push(Bag.made, 1)) == 1\n"
        "def test_b():\n    assert len(push(Bag.made, 1)) == 2\n"
    ),
    "a shadow": (
        "def inc(x):\n    return half(x)\nSTEP = 2\n"
        "def test_a():\n    STEP = 0.5\n    assert inc(1) == STEP\n"
        "    assert STEP < 1\n"
    ),
    "a script": (
        "got = inc(1)\nassert got == 2\ngot = ordered([2, 1])\nassert got == [1, 2]\n"
        "for x in (1, 2):\n    assert half(x) <= x\n"
    ),
    "a script with a helper": (
        "STEP = 1\ndef check(x):\n    assert inc(x) == x + STEP\ncheck(1)\ncheck(2)\n"
    ),
    "a late shadow": (
        "def check(x):\n    assert inc(x) == x + 1\n"
        "def test_a():\n    if inc(1) == 9:\n        check = None\n    check(2)\n"
    ),
    "never": "def test_a():\n    assert inc(1) == inc(1) + 1\n",
    "false": "def test_a():\n    assert False\n",
}


# Pairs of tests and programs on which the sandbox and pytest once disagreed.
COUNT = "LOG = []\ndef count():\n    LOG.append(1)\n    return len(LOG)\n"
ONE = "def f(x):\n    return x + 1\n"
ALIKE = "def test_a():\n    assert f(1) == 2\n"
OWN = {
    "a check while loading": (
        ONE,
        "def check(x):\n    assert f(x) == x\n    return x\nDONE = check(1)\n" + ALIKE,
    ),
    "a call that fails": (ONE, "LIMIT = f('x')\n" + ALIKE),
    "counted before": (
        COUNT,
        "FIRST = count()\ndef test_a():\n    assert count() == 1",
    ),
    "counted by a class": (
        COUNT,
        "class Box:\n    first = count()\ndef test_a():\n    assert count() == 1\n",
    ),
    "counted by a default": (
        COUNT,
        "def h(x=count()):\n    pass\ndef test_a():\n    assert count() == 2\n",
    ),
    "an assert, then a count": (
        COUNT,
        "assert count() == 2\nFIRST = count()\ndef test_a():\n    assert FIRST\n",
    ),
    "a script's class": (
        COUNT,
        "assert count() == 1\nclass Box:\n    n = count()\nassert Box.n == 2\n",
    ),
    "a base that is missing": (
        ONE,
        "from prog import f\nimport prog\nclass Box(prog.Base):\n    pass\n" + ALIKE,
    ),
    "a function that counts": (
        ONE,
        "def once():\n    once.n = getattr(once, 'n', 0) + 1\n    return once.n\n"
        "def test_a():\n    assert f(once()) == 2\n"
        "def test_b():\n    assert f(once()) == 2\n",
    ),
    "a guard in a pytest file": (
        ONE,
        ALIKE + "if __name__ == '__main__':\n    test_a()\n    assert f(1) == 9\n",
    ),
    "its own len": (
        ONE + "def len(x):\n    return 3\n",
        "from prog import f\ndef test_a():\n    assert len([f(6)]) == 3\n",
    ),
    "its own sum": (
        ONE + "def sum(x):\n    return 3\n",
        "from prog import f\ndef test_a():\n    assert sum([f(6)]) == 7\n",
    ),
    "both sums": (
        ONE + "def sum(x):\n    return 3\n",
        "import prog\ndef test_a():\n    assert sum([prog.sum([]), 1]) == 4\n",
    ),
    "an alias in a test": (
        ONE,
        "def test_a():\n    from prog import f as sum\n    assert sum(1) == 2\n"
        "def test_b():\n    assert sum([2]) == 2\n",
    ),
    "no abs, but Python's": (
        "def asb(x):\n    return 3\n",
        "import prog\ndef test_a():\n    assert prog.abs(-3) == 3\n",
    ),
    "a wrong abs around": (
        ONE + "def abs(x):\n    return x\n",
        "from prog import abs, f\ndef test_a():\n    assert abs(f(-3)) == 2\n",
    ),
    "a right abs around": (
        ONE + "def abs(x):\n    return max(x, -x)\n",
        "from prog import abs, f\ndef test_a():\n    assert abs(f(-3)) == 2\n",
    ),
    "not near nothing": (
        "def f(x):\n    return None\n",
        "import pytest\ndef test_a():\n    assert not (f(1) == pytest.approx(1.1))\n"
        "    assert f(1) == pytest.approx(1.1) or f(1) is None\n",
    ),
    "a failing approx": (
        "def f(x):\n    return None\n",
        "import pytest\ndef test_a():\n    try:\n"
        "        assert f(1) == pytest.approx(1.1)\n"
        "    except AssertionError:\n        pass\n",
    ),
    "raises in raises": (
        ONE,
        "import pytest\ndef test_a():\n    with pytest.raises(SystemExit):\n"
        "        with pytest.raises(ValueError):\n            f(1)\n",
    ),
    "annotations of the future": (
        ONE,
        "from __future__ import annotations\nimport dataclasses\nfrom prog import f\n"
        "def check(x: Later) -> Nothing:\n    assert f(x.n) == 2\n"
        "@dataclasses.dataclass\nclass Later:\n    n: int = 1\n"
        "def test_a():\n    check(Later())\n",
    ),
}

HOPELESS = {"a late shadow", "never", "false"}
# A program that ends the interpreter while tests are collected ends pytest itself.
BREAK_PYTEST = {("a script", "ends")}


def pairs():
    """Yield (tests, program, text, source) of programs with changes that tests see."""
    for name, text in FILES.items():
        for kind, (old, new) in CHANGES.items():
            before, found, after = SOUND.partition(old) if old else (SOUND, "", "")
            assert found == old, kind
            functions = re.findall(r"def ([a-z]+)", before + old.split("\n")[0])
            if kind in ("sound", "fails to load") or functions[-1:] == []:
                functions = [""]
            if functions[-1] in text:
                yield name, kind, text, before + new + after
    for name, (program, text) in OWN.items():
        yield name, "its own", text, program


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Return {(tests, program): True if the real pytest found no fault}."""
    folder = tmp_path_factory.mktemp("pytest")
    keys = []
    for name, kind, text, program in pairs():
        if (name, kind) in BREAK_PYTEST:
            continue
        number = len(keys)
        keys.append((name, kind))
        (folder / f"prog{number}.py").write_text(program)
        # Tests without an import get all names.
        imported = "" if "prog" in text else f"from prog{number} import *\n"
        text = text.replace("import prog", f"import prog{number} as prog")
        text = text.replace("from prog ", f"from prog{number} ")
        (folder / f"test_{number}.py").write_text(imported + text)
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=out.xml", "--tb=no"]
    command += ["--continue-on-collection-errors", "--assert=plain"]
    command += ["-p", "no:cacheprovider", "-c", "/dev/null", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1, 2), done.stdout + done.stderr
    held = dict.fromkeys(keys, True) | dict.fromkeys(BREAK_PYTEST, False)
    for case in xml.etree.ElementTree.parse(folder / "out.xml").iter("testcase"):
        name = case.get("classname") or case.get("name")
        number = int(name.split("test_")[1].split(".")[0])
        held[keys[number]] &= not any(x.tag in ("failure", "error") for x in case)
    return held


def test_the_sandbox_says_what_pytest_says(verdicts):
    with Sandbox(workers=1) as sandbox:
        jobs = {}
        for name, kind, text, program in pairs():
            tests = read_tests(text, "t.py", "prog", program)
            jobs[name, kind] = program, tests.sources, tests.setup
        results = sandbox.map(list(jobs.values()))
    found = {key: each.passed for key, each in zip(jobs, results, strict=True)}
    wrong = {key: found[key] for key in verdicts if verdicts[key] != found[key]}
    assert not wrong, "\n".join(map(str, wrong.items()))
    assert 0.3 < sum(found.values()) / len(found) < 0.8
    caught = {kind for (name, kind), held in found.items() if not held}
    hopeless = {
        name for (name, kind), held in found.items() if kind == "sound" and not held
    }
    assert caught == CHANGES.keys() | {"its own"} and hopeless == HOPELESS
    for kind in CHANGES.keys() - {"sound"}:
        assert any(
            not found.get((name, kind), True) for name in FILES.keys() - HOPELESS
        )

"""A user's tests: the tests for the sandbox, and refusals."""

import re
import time

import pytest

from repair.env.usertests.read import read_tests
from repair.errors import UserError
from repair.sandbox import Sandbox

ONE = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("assert f(1) == 2, 'no'", ["assert f(1) == 2"]),
        (
            "def test_a():\n    want = 2\n    x = inc(1)\n    assert x == want\n",
            ["assert inc(1) == 2"],
        ),
        (
            "import prog\ndef test_a():\n    inc = prog.inc(1)\n    assert 2 == inc",
            ["assert 2 == inc(1)"],
        ),
        (
            "def test_a():\n    for x, want in [(1, 2), (3, 4)]:\n"
            "        got = inc(x)\n        assert got == want, f'{x}'\n",
            ["assert inc(1) == 2", "assert inc(3) == 4"],
        ),
        (
            "import pytest\ndef test_a():\n    assert half(1) == pytest.approx(0.5)\n"
            "    assert pytest.approx(0.5, abs=1e-3) == half(1)\n",
            ["assert abs(half(1) - 0.5) <= 5e-07"]
            + ["assert abs(half(1) - 0.5) <= 0.001"],
        ),
        (
            "STEP = 1\nimport math\nassert whole(2.5) == 2\n"
            "def test_a():\n    assert inc(2) == 2 + STEP\n",
            ["assert whole(2.5) == 2", "assert inc(2) == 2 + 1"],
        ),
        (
            "import pytest\n@pytest.mark.parametrize('xs, want', [([1], 2), ([], 0)])\n"
            "def test_a(xs, want):\n    assert f(xs) == want\n",
            ["assert f([1]) == 2", "assert f([]) == 0"],
        ),
        (
            "import math\nassert math.isclose(f(1), 2)",
            ["assert math.isclose(f(1), 2)"],
        ),
    ],
)
def test_asserts_are_as_short_as_a_model_knows_them(text, shown):
    assert list(read_tests(text, "t.py", "prog", "").sources) == shown


def test_long_files_are_read_in_linear_time():
    """Read each in half a second; steps over the whole file would take over ten."""
    pairs = "".join(f"    r{i} = f({i})\n    assert r{i} == {i}\n" for i in range(400))
    constants = "".join(
        f"C{i} = {i}\ndef test_{i}():\n    assert f() == C{i}\n" for i in range(400)
    )
    for text in ("def test_a():\n" + pairs, constants):
        start = time.process_time()
        assert len(read_tests(text, "t.py", "prog", "").sources) == 400
        assert time.process_time() - start < 5
    found = read_tests("def test_a():\n" + pairs, "t.py", "prog", "").sources
    assert found[7] == "assert f(7) == 7"


CASE = "import pytest\n@pytest.mark.parametrize({})\ndef test_a(x):\n    assert f(x)\n"


@pytest.mark.parametrize(
    "text, says",
    [
        ("assert (", "t.py:1 is not valid Python"),
        ("", "t.py holds no test"),
        ("def test_a():\n    pass\n", "holds no test"),
        ("x = 1\ndef f():\n    pass\n", "holds no test"),
        ("import numpy", "t.py:1 imports numpy"),
        ("from . import other", "t.py:1 imports ."),
        ("from prog import test_a", "imports test_a, which pytest would take"),
        ("import prog\nassert prog.f(prog)", "t.py:2 uses the module prog as a whole"),
        ("import prog\nprog.x = 3", "t.py:2 changes x of the program"),
        ("from prog import f\nf = 3\nassert f", "t.py:2 gives f a meaning of its own"),
        ("import prog\ndef g(f):\n    assert prog.f(f)", "t.py:2 gives f a meaning"),
        ("def test_a(tmp_path):\n    assert f(1)", "t.py:1 has test_a, which wants"),
        ("def test_a(x=1):\n    assert f(x)", "more than names"),
        ("async def test_a():\n    assert f(1)", "t.py:1 has an async function"),
        ("def test_a():\n    yield f(1)", "yields"),
        ("def test_a():\n    f(1)\ndef test_a():\n    f(2)", "test_a again"),
        ("def setup_module():\n    pass\ndef test_a():\n    f(1)", "setup_module"),
        ("pytestmark = []\ndef test_a():\n    assert f(1)", "pytestmark"),
        ("def test_a():\n    assert f(1)\nf(2)", "t.py:3 has something outside"),
        ("def test_a():\n    f(1)\ndef test_b():\n    test_a()", "t.py:4 has another"),
        ("def test_a():\n    global x\n    f(1)", "t.py:2 has a global statement"),
        ("if __name__ == 'x':\n    assert f(1)", "an `if __name__` that"),
        ("import unittest\nclass TestA(unittest.TestCase):\n    pass", "with a base"),
        ("class TestA:\n    x = 1", "t.py:2 has a test class with more"),
        ("class TestA:\n    def test_a(self):\n        assert self", "its class keeps"),
        ("import pytest\n@pytest.fixture\ndef x():\n    f()", "t.py:3 has x, a fix"),
        ("import pytest\ndef test_a():\n    pytest.skip('x')", "uses pytest.skip"),
        ("import pytest\ndef test_a():\n    with pytest.warns(A):\n        f", "warns"),
        ("import pytest\n@pytest.mark.skip\ndef test_a():\n    f(1)", "mark.skip"),
        ("assert f(1)\nreturn\nassert f(2)", "t.py:2 is not valid Python"),
        ("x = f(1)\ndef g():\n    assert f(1)", "holds no test"),
        ("import unittest\nclass Its(unittest.TestCase):\n    pass", "t.py:2 has Its"),
        ("class A:\n    def test_a(self):\n        f()\nclass B(A):\n    x = 1", "B, "),
        ("class A(B):\n    def setUp(self):\n        f()", "t.py:1 has A, a class of"),
        ("test_a = lambda: f(1)\nassert f(1)", "t.py:1 has test_a, which"),
        ("if f:\n    def test_a():\n        f(1)\nassert f(1)", "has test_a inside of"),
        ("def setUpModule():\n    f()\ndef test_a():\n    f(1)", "setUpModule, which"),
        ("__test__ = False\ndef test_a():\n    f(1)", "__test__, which pytest would"),
        ("class TestA:\n    def test_a(self):\n        __f(1)", "name that its class"),
        ("assert f(1) == N\nN = 2", "t.py:1 uses N, which only line 2 defines"),
        ("def g(x: A):\n    f(x)\nclass A:\n    x = 1\nassert g(A)", "uses A, which"),
        ("from prog import f\ndef test_a():\n    assert g(1)", "t.py:3 uses g, "),
        ("import prog\nclass A:\n    def g(self):\n        __f(prog.f)\nassert A()",
         "t.py:2 uses _A__f, which it neither defines nor imports"),
        ("import prog\nassert f(1)", "t.py:2 uses f, which it neither defines nor"),
        ("from prog import *\nassert _f(1)", "t.py:2 uses _f, which it neither"),
        ("assert f(__file__)", "t.py:1 uses __file__, which is another one"),
        ("import prog\nassert prog.__name__", "t.py:2 uses __name__ of prog, which is"),
        ("assert globals()", "t.py:1 uses globals, which is another one"),
        ("def a():\n    from prog import f as h\ndef b():\n    from prog import g as h",
         "t.py:4 imports h in a second meaning"),
        ("import prog\ndef test_a():\n    assert prog.sum(f := sum)\n"
         "    assert (lambda sum: sum)(f)", "t.py:3 uses sum, and gives it another"),
        ("import pytest\ndef test_a():\n    with pytest.raises(A):\n        return f()",
         "t.py:3 uses a return, break or continue in pytest.raises"),
        ("import pytest\ndef test_a():\n    for x in f:\n"
         "        with pytest.raises(A):\n            while f(): break\n"
         "            else: break", "t.py:4 uses a return, break or continue in"),
        (CASE.format("'x', g()"), "t.py:2 has the decorator pytest.mark.parametrize"),
        (CASE.format("'x', []"), "never runs"),
        (CASE.format("'x', [g()]"), "t.py:2 has g() as an argument"),
        (CASE.format("'x, y', [(1, 2)]"), "no argument for what parametrize gives"),
        (CASE.format("'x', [1], indirect=True"), "parametrize with indirect"),
        (CASE.format("'x', [pytest.param(1, marks=a)]"), "pytest.param with marks"),
    ],
)  # fmt: skip
def test_what_cannot_be_turned_is_refused_with_its_line(text, says):
    with pytest.raises(UserError, match=re.escape(says)):
        read_tests(text, "t.py", "prog", "")


@pytest.mark.parametrize(
    "code, its",
    [
        ("__all__ = ['f']", "__all__"),
        ("def test_f():\n    pass", "def test_f"),
        ("class SomeTests(TestCase):\n    pass", "class SomeTests"),
    ],
)
def test_all_of_a_program_is_not_imported_where_pytest_gets_something_else(code, its):
    with pytest.raises(UserError, match=f"imports . from prog.*heed its {its}"):
        read_tests("from prog import *\nassert f(1)", "t.py", "prog", code)


@pytest.mark.parametrize(
    "module, text",
    [
        ("parse", "from urllib.parse import quote\nassert f(quote('a')) == 'a'"),
        ("parse", "import urllib.parse as u\nassert f(u.quote('a')) == 'a'"),
        ("path", "from os.path import basename\nassert f(basename('a')) == 'a'"),
    ],
)
def test_a_standard_module_is_not_the_program(module, text):
    tests = read_tests(text, "t.py", module, "")
    assert not tests.named
    with Sandbox(workers=1) as sandbox:
        assert sandbox.run("def f(x):\n    return x", tests.sources).passed


def test_pythons_own_names_are_spelt_out_only_where_the_program_has_others():
    text = "from prog import f\nassert f(len([1])) == pow(2, 1)\n"
    for code, shown in (
        (ONE + "    len = 3", "f(len([1])) == pow(2, 1)"),
        (
            "from math import *\n" + ONE,
            "f(len([1])) == __import__('builtins').pow(2, 1)",
        ),
        ("df len(x):\n    pow(x)", "f(__import__('builtins').len([1])) == pow(2, 1)"),
    ):
        (source,) = read_tests(text, "t.py", "prog", code).sources
        assert source == "assert " + shown


def test_a_scripts_last_part_is_a_part_of_it():
    text = "assert f(1) == 2\ndef check(x):\n    assert f(1) == x\n"
    with Sandbox(workers=1) as sandbox:
        for call, held in (("check(2)", True), ("check(3)", False)):
            whole = f"{text}if '__main__' == __name__:\n    {call}\n"
            tests = read_tests(whole, "t.py", "prog", "")
            assert sandbox.run(ONE, tests.sources).passed == held


def test_names_whose_value_changes_are_not_copied():
    code = "total = 0\ndef add(x):\n    global total\n    total += x\n"
    with pytest.raises(UserError, match="import prog and use prog.total"):
        read_tests("from prog import add, total\nassert total == 0", "t", "prog", code)
    text = "import prog\nassert prog.total == 0\nprog.add(2)\nassert prog.total == 2\n"
    with Sandbox(workers=1) as sandbox:
        assert sandbox.run(code, read_tests(text, "t", "prog", code).sources).passed


def test_tests_leave_the_programs_names_alone():
    code = "def f(xs):\n    return test_a(xs)\ndef test_a(xs):\n    return sorted(xs)"
    text = "def test_a():\n    xs = [2]\n    assert f(xs) == xs\n    assert xs == [2]\n"
    tests = read_tests(text, "t.py", "prog", code)
    with Sandbox(workers=1) as sandbox:
        assert sandbox.run(code, tests.sources * 2).passed

"""Judges of a user's file: what counts as a pass, and the line for the model."""

import textwrap

import pytest

from repair.env.judges import AssertJudge, PytestJudge, plain_asserts
from repair.env.project import read_project
from repair.env.sourcefile import read_source
from repair.env.view import function_views
from repair.sandbox import Limits

LIMITS = Limits(cpu_seconds=5.0)
PROGRAM = '''\
def double(x):
    """Double.

    >>> double(2)
    4
    """
    return x + 2
'''
TESTS = """
import pytest
from calc import double

@pytest.mark.parametrize("x, y", [(3, 6), (2, 4)])
def test_double(x, y):
    assert double(x) == y

@pytest.mark.skip
def test_later():
    assert False
"""
RIGHT = PROGRAM.replace("x + 2", "2 * x")


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "calc.py").write_text(PROGRAM)
    (folder / "test_calc.py").write_text(TESTS)
    file = read_source(folder / "calc.py")
    project = read_project(file.path, str(folder), "--doctest-modules")
    with PytestJudge(file, project, LIMITS, workers=1) as judge:
        judge.before, _ = judge.start()
        yield judge


def test_the_file_as_it_is(judge):
    before = judge.before
    assert not before.passed and before.total == 4
    assert before.failing == ("test_calc.py::test_double[3-6]",)
    assert before.details == ("got 5",) and before.shown == ("assert double(3) == 6",)
    assert before.result.status == "failed" and before.result.trust == "in_child"
    assert before.result.feedback == "double(3) == 6: got 5"
    assert 1.0 <= judge.cpu_seconds <= 5.0


def test_a_pass_keeps_all_tests_and_doctests(judge):
    assert judge.outcome(RIGHT).passed
    plain = "def double(x):\n    return 2 * x\n"
    gone = judge.outcome(plain)
    assert not gone.passed and gone.failing == ("calc.py::calc.double",)
    assert gone.result.feedback == "tests are skipped or gone"
    other = judge.outcome(RIGHT.replace("double(2)\n    4", "double(1)\n    2"))
    assert not other.passed and other.result.feedback == "the doctests have changed"
    skipping = "import unittest\n" + RIGHT.replace(
        "return 2 * x", "raise unittest.SkipTest"
    )
    assert not judge.outcome(skipping).passed
    assert judge.outcome(skipping).rank > judge.before.rank


@pytest.mark.parametrize(
    "body, status, feedback",
    [
        ("return x + 1", "failed", "test 1: got 4"),
        ("return y", "error", "line 2: NameError: name 'y' is not defined"),
        ("assert x < 1, 'no'", "failed", "line 2: no"),
        ("return (x", "syntax_error", "line 2: SyntaxError: '(' was never closed"),
        ("open('/tmp/x', 'w')", "forbidden", "line 2: PermissionError: the sandbox wr"),
        ("import os; os._exit(0)", "crashed", "the program ended the interpreter"),
        ("while True: pass", "timeout", "out of time or memory"),
    ],
)
def test_the_line_for_the_model_is_that_of_training(judge, body, status, feedback):
    view = function_views(judge.file.code, (), {"double"})[0]
    judge.look_at(view, ("assert double(3) == 6",))
    (result,) = judge.map([(f"def double(x):\n    {body}",)])
    assert result.status == status and not result.passed
    assert feedback in result.feedback and "\n" not in result.feedback
    if status in ("failed", "error"):
        assert result.feedback.startswith(("test 1: ", "line 2: "))


def test_lines_are_those_of_the_view(tmp_path):
    others = "import math\n\n\n"
    (tmp_path / "calc.py").write_text(others + PROGRAM)
    (tmp_path / "test_calc.py").write_text("import calc\ncalc.double(1)\n" + TESTS)
    file = read_source(tmp_path / "calc.py")
    project = read_project(file.path, str(tmp_path / "test_calc.py"), "")
    with PytestJudge(file, project, LIMITS, workers=1) as judge:
        judge.start()
        view = function_views(file.code, (), set())[0]
        judge.look_at(view, ("assert double(3) == 6",))
        loading, encoded = judge.map(
            [
                ("def double(x):\n    return z",),
                ("def double(x):\n    return '\ud800'",),
            ]
        )
    assert loading.feedback == "line 2: NameError: name 'z' is not defined"
    assert encoded.status == "error" and "cannot write" in encoded.feedback


def test_files_of_asserts_are_those_that_hold_nothing_else():
    asserts = "assert f(1) == 2\nassert f(\n    2\n)\n"
    expected = ["assert f(1) == 2", "assert f(\n    2\n)"]
    assert plain_asserts(asserts, "p") == expected
    assert plain_asserts("from p import f\n" + asserts, "p") == expected
    for text in ("", "import p\n" + asserts, "x = 1\n" + asserts, "assert ("):
        assert plain_asserts(text, "p") is None


def test_plain_asserts_leave_the_process_by_value(tmp_path):
    (tmp_path / "calc.py").write_text(PROGRAM)
    file = read_source(tmp_path / "calc.py")
    tests = ("assert double(2) == 4", "assert double(3) == 6", "assert double(0) == 0")
    with AssertJudge(file, tests, LIMITS) as judge:
        before = judge.outcome(file.code)
        assert before.failing == tests[1:] and before.details == ("got 5", "")
        assert before.result.trust == "value" and before.total == 3
        judge.look_at(judge.view, (tests[2],))  # which is then the first
        assert judge.map([(file.code,)])[0].feedback == "test 1: got 2"
        assert judge.map([(RIGHT,)])[0].passed


def test_a_judge_runs_a_version_once(tmp_path):
    (tmp_path / "calc.py").write_text(textwrap.dedent(PROGRAM))
    file = read_source(tmp_path / "calc.py")
    with AssertJudge(file, ("assert double(2) == 4",), LIMITS) as judge:
        first, second = judge.outcomes([file.code, file.code])
    assert first is second

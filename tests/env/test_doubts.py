"""Tests that no program passes, and programs that the sandbox cannot run."""

import pytest

from repair.env.sourcefile import read_source
from repair.env.usertests.doubts import check_imports, doubts
from repair.env.usertests.read import read_tests
from repair.errors import UserError
from repair.sandbox import Sandbox

CODE = "def keep(xs):\n    return xs"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as made:
        yield made


def ask(sandbox, text, code=CODE):
    tests = read_tests(text, "t.py", "keep", code)
    return doubts(tests, "t.py", "keep.py", code, sandbox)


@pytest.mark.parametrize(
    "text, says",
    [
        ("assert 1 == 1", "tests nothing of keep.py: it uses nothing but Python's own"),
        ("assert False", "tests nothing of keep.py"),
        ("assert other(1) == 1", "tests nothing of keep.py: it uses other"),
        ("assert keep([])\nassert len([1]) == 2", "t.py:2 fails whatever keep.py does"),
        ("assert keep([1]) == [1 // 0]", "ends so: ZeroDivisionError"),
        ("from math import clamp\nassert keep(1) == 1", "t.py:1 fails.*`from math imp"),
        ("assert keep(int('x')) is None", "t.py:1 fails.*`int..x..`.*ValueError"),
        ("def test_a():\n    x = 1\n    x += 1\n    assert x == 1\n"
         "def test_b():\n    assert keep(1)", "t.py:2 fails"),
    ],
)  # fmt: skip
def test_tests_that_have_nothing_to_do_with_the_program_are_refused(
    sandbox, text, says
):
    with pytest.raises(UserError, match=says):
        ask(sandbox, text)


@pytest.mark.parametrize(
    "text",
    [
        "assert keep([1]) == [1]",
        "assert keep([1]) == list(range(1, 2))",
        "assert keep(1) or int('x')",
        "assert [keep(x) for x in range(3)] == [0, 1, 2]",
        "assert True\nassert keep(0) == 0",
        "from keep import lost\nassert lost(1) == 1",
        "from keep import statistics\nassert statistics([1]) == 0",
        "from keep import max\nassert max(1) == 5",
        "import math, keep\nassert keep.max(int('1')) == 5",
        "import math\nassert math.isclose(keep(1), math.pi)",
        "import pytest\nassert keep([1]) == pytest.approx([1.0])",
    ],
)
def test_sound_tests_are_left_alone(sandbox, text):
    assert ask(sandbox, text) == []


def test_a_program_may_have_names_of_pythons_own(sandbox):
    assert ask(sandbox, "assert max(1) == 5", "def max(x):\n    return x") == []


def test_two_values_of_one_call_are_told(sandbox):
    text = "assert keep(1) == 1\nassert keep(2) == 3\nassert keep(1) == 2"
    (said,) = ask(sandbox, text)
    assert "two values of keep(1), in lines 1 and 3" in said
    assert ask(sandbox, "assert keep(1) == 1\nassert keep(1) == 1.0") == []


@pytest.mark.parametrize(
    "line, says",
    [
        ("import beside", "a.py:2 imports beside, which"),
        ("from . import beside", "imports ., which"),
        ("import pytest", "a.py:2 imports pytest, which"),
        ("import nowhere_at_all", ""),
        ("import math, maths", ""),
        ("try:\n    import beside\nexcept ImportError:\n    pass\nimport maths", ""),
        (
            "try:\n    import maths\nexcept ImportError:\n    import pytest",
            "a.py:5 imp",
        ),
        ("import os.nothing", ""),
        ("import beside.more", "imports beside.more, which"),
    ],
)
def test_imports_that_only_the_sandbox_lacks_are_refused(tmp_path, sandbox, line, says):
    (tmp_path / "beside.py").write_text("x = 1\n")
    (tmp_path / "a.py").write_text(f"import json\n{line}\ndef f():\n    return 1\n")
    file = read_source(tmp_path / "a.py")
    result = sandbox.run(file.code, ["assert f() == 1"])
    assert result.status == "error"
    if not says:
        check_imports(file, result)
        return
    with pytest.raises(UserError, match=says):
        check_imports(file, result)

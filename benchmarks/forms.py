"""Test files of the forms that people write, each with a right and a broken program.

Each form is a small project: files, the program's path, the line of it that is broken,
and that line as it should be. `compare` judges both versions, by `repair.fix`'s sandbox
and by pytest in a process of its own.
"""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap

from repair.env.judges import plain_asserts
from repair.env.project import read_project
from repair.env.sourcefile import read_source
from repair.sandbox import Limits, Sandbox
from repair.sandbox.project_pool import PytestSandbox

BROKEN = pathlib.Path(__file__).parent / "broken"
LIMITS = Limits(seconds=60, cpu_seconds=20)
_OUTCOME = re.compile(r"^(\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
_SUBTEST = re.compile(r"^SUBFAILED\S* (.+?) - ")
_WORDS = {"SKIPPED": "skipped", "XFAIL": "skipped", "PASSED": "passed"} | {
    "XPASS": "passed"
}


@dataclasses.dataclass(frozen=True)
class Form:
    """A project in two versions.

    Attributes:
      files: Texts by path; the program's is the right one.
      program: Path of the program.
      right: A part of the program.
      wrong: The same, broken.
      tests: Path of the tests, as pytest takes it.
      options: Further arguments of pytest.
      needs: A package without which the form is skipped.
    """

    files: dict[str, str]
    program: str
    right: str
    wrong: str
    tests: str
    options: str = ""
    needs: str = ""

    def write(self, folder: pathlib.Path, broken: bool) -> pathlib.Path:
        """Write one of the versions to a folder; return the program's path."""
        for path, text in self.files.items():
            if broken and path == self.program:
                assert text.count(self.right) == 1, self.program
                text = text.replace(self.right, self.wrong)
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return folder / self.program


def _form(text: str, right: str, wrong: str, test: str, **more) -> Form:
    """Return a form of calc.py, its tests and maybe more files."""
    files = {"calc.py": text, "test_calc.py": test} | more.pop("files", {})
    files = {path: textwrap.dedent(each).lstrip("\n") for path, each in files.items()}
    settings = {"program": "calc.py", "tests": "test_calc.py"} | more
    return Form(files, right=right, wrong=wrong, **settings)


_ADD = "def add(a, b):\n    return a + b\n"
_BAD = ("a + b", "a - b")

FORMS = {
    "unittest with setUp": _form(
        "class Box:\n    def __init__(self):\n        self.items = []\n\n"
        "    def put(self, x):\n        self.items.append(x)\n",
        *("self.items.append(x)", "self.items = [x]"),
        """
        import unittest
        from calc import Box

        class BoxTest(unittest.TestCase):
            def setUp(self):
                self.box = Box()
                self.box.put(1)

            def test_two(self):
                self.box.put(2)
                self.assertEqual(self.box.items, [1, 2])

            def test_one(self):
                self.assertIn(1, self.box.items)

            def test_each(self):
                for n in (3, 4):
                    with self.subTest(n=n):
                        self.box.put(n)
                        self.assertGreater(len(self.box.items), n - 2)

            @unittest.skip("later")
            def test_later(self):
                self.fail()
        """,
    ),
    "fixtures": _form(
        _ADD,
        *_BAD,
        """
        import pytest
        from calc import add

        @pytest.fixture
        def pair():
            yield (2, 3)

        @pytest.fixture(params=[0, 10], ids=["none", "ten"])
        def more(request, pair):
            return sum(pair) + request.param

        def test_pair(pair):
            assert add(*pair) == 5

        def test_more(more, pair):
            assert add(add(*pair), more - 5) == more
        """,
    ),
    "parametrize with math.inf": _form(
        "def clamp(x, low, high):\n    return max(low, min(x, high))\n",
        *("max(low, min(x, high))", "min(low, max(x, high))"),
        """
        import math
        import pytest
        from calc import clamp

        @pytest.mark.parametrize(
            "x, low, expected",
            [(math.inf, 0, 9), (-math.inf, 0, 0), pytest.param(5, -math.inf, 5)],
        )
        @pytest.mark.parametrize("high", [9])
        def test_clamp(x, low, high, expected):
            assert clamp(x, low, high) == pytest.approx(expected)
        """,
    ),
    "dataclass with string annotations": _form(
        """
        from __future__ import annotations
        import dataclasses

        @dataclasses.dataclass
        class Node:
            value: int
            next: "Node | None" = None

            def total(self) -> "int":
                return self.value + (self.next.total() if self.next else 0)
        """,
        *("self.value + (", "self.value * ("),
        """
        import typing
        from calc import Node

        def test_total():
            assert Node(1, Node(2)).total() == 3

        def test_equality():
            assert Node(1, Node(2)) == Node(1, Node(2))

        def test_hints():
            assert typing.get_type_hints(Node)["value"] is int
        """,
    ),
    "src layout": _form(
        "",
        *_BAD,
        "",
        program="src/shop/prices.py",
        tests="tests",
        files={
            "src/shop/__init__.py": "from shop.prices import add\n",
            "src/shop/prices.py": _ADD,
            "tests/test_prices.py": (
                "import shop\n\ndef test_add():\n    assert shop.add(1, 2) == 3\n"
            ),
            "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
        },
    ),
    "conftest": _form(
        _ADD,
        *_BAD,
        "",
        tests="tests/unit/test_sums.py",
        files={
            "conftest.py": (
                "import pytest\n\n@pytest.fixture\ndef two():\n    return 2\n"
            ),
            "tests/unit/conftest.py": (
                "import pytest\n\n@pytest.fixture(autouse=True)\n"
                "def before(request):\n    request.node.ready = True\n"
            ),
            "tests/unit/test_sums.py": """
            from calc import add

            def test_two(two, request):
                assert request.node.ready and add(two, two + 1) == 5
            """,
        },
    ),
    "doctest": _form(
        '''
        def add(a, b):
            """Add.

            >>> add(1, 2)
            3
            >>> add(0, 0)
            0
            """
            return a + b
        ''',
        *("return a + b", "return a - b"),
        "",
        tests="calc.py",
        options="--doctest-modules",
    ),
    "numpy": _form(
        "import numpy as np\n\ndef scale(x):\n    return x / np.max(x)\n",
        *("np.max(x)", "np.min(x)"),
        """
        import numpy as np
        from calc import scale

        def test_scale():
            np.testing.assert_allclose(scale(np.array([1.0, 2.0])), [0.5, 1.0])

        def test_shape():
            assert scale(np.ones((2, 3))).shape == (2, 3)
        """,
        needs="numpy",
    ),
    "async": _form(
        "import asyncio\n\nasync def add(a, b):\n    await asyncio.sleep(0)\n"
        "    return a + b\n",
        *_BAD,
        """
        import asyncio
        import pytest
        from calc import add

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_add():
            assert await add(1, 2) == 3

        def test_gathered():
            async def both():
                return await asyncio.gather(add(1, 1), add(2, 2))
            assert asyncio.run(both()) == [2, 4]
        """,
        needs="anyio",
    ),
    "capsys": _form(
        "def greet(name):\n    print(f'Hello, {name}!')\n",
        *("Hello, {name}!", "Hello {name}"),
        """
        from calc import greet

        def test_greet(capsys):
            greet("Ada")
            out, err = capsys.readouterr()
            assert out == "Hello, Ada!\\n" and not err
        """,
    ),
    "tmp_path": _form(
        """
        import shutil

        def save(path, lines):
            path.write_text("\\n".join(lines) + "\\n")
            shutil.copy(path, path.with_suffix(".bak"))
        """,
        *('+ "\\n"', ""),
        """
        import os
        from calc import save

        def test_save(tmp_path):
            save(tmp_path / "a.txt", ["x", "y"])
            assert (tmp_path / "a.bak").read_text() == "x\\ny\\n"

        def test_mode(tmp_path):
            save(tmp_path / "a.txt", [])
            os.chmod(tmp_path / "a.txt", 0o600)
            assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600

        def test_folders(tmp_path_factory):
            folder = tmp_path_factory.mktemp("data")
            (folder / "inner").mkdir()
            os.rename(folder / "inner", folder / "other")
            assert os.listdir(folder) == ["other"]
        """,
    ),
    "monkeypatch": _form(
        "import os\n\ndef home():\n    return os.environ.get('PLACE', 'none')\n",
        *("'PLACE'", "'PLACES'"),
        """
        import calc

        def test_place(monkeypatch, tmp_path):
            monkeypatch.setenv("PLACE", "here")
            monkeypatch.chdir(tmp_path)
            assert calc.home() == "here"

        def test_patched(monkeypatch):
            monkeypatch.setattr(calc.os, "environ", {})
            assert calc.home() == "none"
        """,
    ),
    "marks": _form(
        _ADD,
        *_BAD,
        """
        import sys
        import pytest
        from calc import add

        @pytest.mark.skip(reason="later")
        def test_skipped():
            assert add(1, 1) == 3

        @pytest.mark.xfail
        def test_known():
            assert add(1, 1) == 3

        @pytest.mark.xfail(strict=True, raises=TypeError)
        def test_strict():
            add("a", 1)

        @pytest.mark.skipif(sys.platform == "none", reason="no such system")
        @pytest.mark.quick
        def test_add():
            assert add(1, 1) == 2
        """,
        files={
            "pytest.ini": "[pytest]\naddopts = --strict-markers\n"
            "markers =\n    quick: takes no time\n"
        },
    ),
    "relative imports": _form(
        "",
        *_BAD,
        "",
        program="shop/sums.py",
        tests="shop/tests/test_sums.py",
        files={
            "shop/__init__.py": "",
            "shop/sums.py": "from .names import NAME\n\n" + _ADD,
            "shop/names.py": "NAME = 'sums'\n",
            "shop/tests/__init__.py": "",
            "shop/tests/test_sums.py": """
            from ..sums import NAME, add

            def test_add():
                assert add(1, 2) == 3

            def test_name():
                assert NAME == "sums"
            """,
        },
    ),
    "data file": _form(
        _ADD,
        *_BAD,
        """
        import json
        import pathlib
        import pytest
        from calc import add

        CASES = json.loads(pathlib.Path(__file__).with_name("cases.json").read_text())

        @pytest.mark.parametrize("arguments, expected", CASES)
        def test_case(arguments, expected):
            assert add(*arguments) == expected

        def test_from_here():
            assert len(json.load(open("cases.json"))) == 2
        """,
        files={"cases.json": "[[[1, 2], 3], [[0, 0], 0]]\n"},
    ),
    "classes with setup_method": _form(
        _ADD,
        *_BAD,
        """
        from calc import add

        class TestAdd:
            @classmethod
            def setup_class(cls):
                cls.one = 1

            def setup_method(self, method):
                self.two = self.one + 1

            def test_add(self):
                assert add(self.one, self.two) == 3

            def test_zero(self):
                assert add(self.two, 0) == 2
        """,
    ),
    "mock.patch": _form(
        "import time\n\ndef age(born):\n    return time.time() - born\n",
        *("time.time() - born", "born - time.time()"),
        """
        from unittest import mock
        import calc

        @mock.patch("calc.time.time", return_value=10.0)
        def test_age(clock):
            assert calc.age(4.0) == 6.0
            clock.assert_called_once_with()
        """,
    ),
    "raises, warns and caplog": _form(
        """
        import logging
        import warnings

        def root(x):
            if x < 0:
                raise ValueError(f"{x} has no root")
            if x == 0:
                warnings.warn("zero", UserWarning)
            logging.getLogger("roots").info("root of %s", x)
            return x ** 0.5
        """,
        *("if x < 0", "if x < -1"),
        """
        import pytest
        from calc import root

        def test_negative():
            with pytest.raises(ValueError, match="-1 has no"):
                root(-1)

        def test_zero():
            with pytest.warns(UserWarning):
                assert root(0) == 0

        def test_log(caplog):
            caplog.set_level("INFO")
            root(4)
            assert "root of 4" in caplog.text
        """,
    ),
    "threads": _form(
        """
        import concurrent.futures

        def squares(xs):
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                return list(pool.map(lambda x: x * x, xs))
        """,
        *("x * x", "x + x"),
        """
        from calc import squares

        def test_squares():
            assert squares([1, 2, 3]) == [1, 4, 9]
        """,
    ),
    "hypothesis": _form(
        "def flip(xs):\n    return xs[::-1]\n",
        *("xs[::-1]", "xs[1::-1]"),
        """
        from hypothesis import given, strategies as st
        from calc import flip

        @given(st.lists(st.integers()))
        def test_twice(xs):
            assert flip(flip(xs)) == xs
        """,
        needs="hypothesis",
    ),
    "pyproject with -k and -x": _form(
        _ADD,
        *_BAD,
        """
        from calc import add

        def test_slow_one():
            assert add(1, 1) == 0

        def test_first():
            assert add(1, 1) == 2

        def test_second():
            assert add(1, 2) == 3
        """,
        files={
            "pyproject.toml": "[tool.pytest.ini_options]\n"
            "addopts = \"-q -x -k 'not slow'\"\n"
        },
    ),
    "one test of a file": _form(
        _ADD,
        *_BAD,
        """
        from calc import add

        class TestAdd:
            def test_one(self):
                assert add(1, 0) == 1

            def test_two(self):
                assert add(1, 1) == 2
        """,
        tests="test_calc.py::TestAdd",
        options="-k two",
    ),
    "a file that does not load": _form(
        _ADD,
        *("return a + b", "return (a + b"),
        "import calc\n\ndef test_add():\n    assert calc.add(1, 1) == 2\n",
    ),
}

# A part of each of the hand-broken files, and that part as it should be.
RIGHT = {
    "convert_list": ("else\n", "else:\n"),
    "count_nums": ("n % 2 = 0", "n % 2 == 0"),
    "drop_letters": ("if c in", "if c not in"),
    "keep_words": ("append(words)", "append(w)"),
    "largest_items": (
        "v < best:\n            best = v\n    return best",
        "v > best:\n            best = v\n    return best + 2",
    ),
    "map_entries": ("in prices", "in prices.items()"),
    "pick_items": ("        return", "    return"),
    "rec_sum": ("rec_sum(n)\n", "rec_sum(n - 1)\n"),
    "sum_upto": ("range(1, num)", "range(1, num + 1)"),
    "zip_items": (
        "    for i in range(len(values)):\n        x = values[i] - values[i]",
        "    out = []\n    for i in range(len(values)):\n"
        "        x = values[i] - other[i]",
    ),
}


def broken_forms() -> dict[str, Form]:
    """Return the ten hand-broken files as forms."""
    found = {}
    for name, (wrong, right) in RIGHT.items():
        program, tests = f"{name}.py", f"{name}_test.py"
        text = (BROKEN / program).read_text()
        assert text.count(wrong) == 1, name
        files = {
            program: text.replace(wrong, right),
            tests: (BROKEN / tests).read_text(),
        }
        found[name] = Form(files, program, right, wrong, tests)
    return found


def is_missing(form: Form) -> bool:
    """Return True if a package that the form needs is not installed."""
    return bool(form.needs) and importlib.util.find_spec(form.needs) is None


def _asserts(form: Form, path: pathlib.Path) -> list[str] | None:
    """Return the asserts of a file of plain ones."""
    text = path.read_text() if path.is_file() else ""
    return plain_asserts(text, pathlib.Path(form.program).stem)


def ask_pytest(form: Form, folder: pathlib.Path) -> tuple[int, dict[str, str]]:
    """Return the exit code and outcomes of pytest in a process of its own."""
    path = folder / form.tests.partition("::")[0]
    asserts = _asserts(form, path)
    if asserts is not None:  # which pytest takes in functions only
        name = pathlib.Path(form.program).stem
        bodies = [f"def test_{i}():\n    {t}\n" for i, t in enumerate(asserts)]
        path.write_text(f"from {name} import *\n\n" + "\n".join(bodies))
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", code, form.tests, *form.options.split()]
    steady = ["-vv", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    env = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    if not form.needs:  # importing the installed plugins takes half of the time
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [*command, *steady], cwd=folder, capture_output=True, text=True, env=env
    )
    outcomes: dict[str, str] = {}
    for line in done.stdout.split("\n"):
        if found := _OUTCOME.match(line):
            outcome = _WORDS.get(found[2], "failed")
            if outcomes.get(found[1]) != "failed":
                outcomes[found[1]] = outcome
        elif found := _SUBTEST.match(line):
            outcomes[found[1]] = "failed"
    return done.returncode, outcomes


def ask_judges(
    form: Form, folder: pathlib.Path, texts: list[str], times: int
) -> list[tuple[int | None, dict[str, str], float]]:
    """Return exit code, outcomes and the least processor seconds of each version.

    Args:
      form: The form, which has been written.
      folder: Its folder.
      texts: Versions of its program.
      times: Runs of each version.
    """
    file = read_source(folder / form.program)
    where = folder / form.tests
    asserts = _asserts(form, pathlib.Path(str(where).partition("::")[0]))
    if asserts is not None:
        with Sandbox(1, LIMITS, cache=False) as sandbox:
            return [_ask_sandbox(sandbox, form, asserts, text, times) for text in texts]
    with contextlib.chdir(folder):
        project = read_project(file.path, str(where), form.options)
    with PytestSandbox(project, 1, LIMITS) as sandbox:
        return [_ask_worker(sandbox, form, text, times) for text in texts]


def _ask_sandbox(
    sandbox: Sandbox, form: Form, asserts: list[str], text: str, times: int
):
    results = [sandbox.run(text, asserts) for _ in range(times)]
    result, seconds = results[0], [each.seconds for each in results]
    outcomes = {
        f"{form.tests}::test_{i}": "failed" if i in result.failed_tests else "passed"
        for i in range(len(asserts))
    }
    return int(not result.passed), outcomes, min(seconds)


def _ask_worker(sandbox: PytestSandbox, form: Form, text: str, times: int):
    reports = sandbox.map([{form.program: text.encode()}] * times)
    report, seconds = reports[0], [each.seconds for each in reports]
    return report.exit_code, dict(report.outcomes), min(seconds)


def compare(form: Form, times: int = 1) -> list[dict]:
    """Judge both versions of a form by pytest and by us; return a row for each.

    Args:
      form: The form.
      times: Our runs of each version; the row has the seconds of the fastest.
    """
    theirs, texts = [], []
    for broken in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            path = form.write(pathlib.Path(folder), broken)
            texts.append(path.read_text())
            theirs.append(ask_pytest(form, pathlib.Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        form.write(pathlib.Path(folder), broken=False)
        ours = ask_judges(form, pathlib.Path(folder), texts, times)
    return [
        {
            "exit_codes": (their_code, code),
            "outcomes": (their_outcomes, outcomes),
            "same": (their_code, their_outcomes) == (code, outcomes),
            "seconds": seconds,
        }
        for (their_code, their_outcomes), (code, outcomes, seconds) in zip(
            theirs, ours, strict=True
        )
    ]

"""The real pytest in locked children: verdicts, and programs that try to escape."""

import os
import pathlib
import sys

import pytest

from repair.sandbox import Limits
from repair.sandbox.project_pool import Project, PytestSandbox, read_report
from repair.sandbox.worker import Answer

TESTS = """
from calc import add

def test_one():
    assert add(1, 1) == 2

def test_two(tmp_path):
    (tmp_path / "a").write_text("x")
    assert add(2, 2) == 4, "not four"
"""
RIGHT = "def add(a, b):\n    return a + b\n"
LIMITS = Limits(seconds=20, cpu_seconds=3.0, memory_mb=256)
linux = pytest.mark.skipif(sys.platform != "linux", reason="the layers need Linux")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("project"))
    files = {"calc.py": RIGHT.encode(), "test_calc.py": TESTS.encode()}
    return Project(root, "calc.py", files, ("test_calc.py",), modules=("asyncio",))


@pytest.fixture(scope="module")
def sandbox(project):
    with PytestSandbox(project, 1, LIMITS) as sandbox:
        yield sandbox


def judge(sandbox, program, **limits):
    return sandbox.map([{"calc.py": program.encode()}], **limits)[0]


@linux
def test_its_programs_are_as_locked_as_others(sandbox):
    """Installed packages are readable on purpose; nothing else is open."""
    assert "packages" not in sandbox.level.missing
    assert sandbox.level.name in ("full", "standard"), sandbox.level.line()


def test_a_right_program_passes_and_a_wrong_one_tells_how_it_fails(sandbox):
    report = judge(sandbox, RIGHT)
    assert report.passed and report.exit_code == 0 and not report.failing
    assert report.ids == ("test_calc.py::test_one", "test_calc.py::test_two")
    report = judge(sandbox, RIGHT.replace("+", "*"))
    assert report.exit_code == 1 and report.failing == ("test_calc.py::test_one",)
    (failure,) = report.failures
    assert failure.kind == "AssertionError" and failure.got == "1"
    assert failure.message == "assert 1 == 2\n +  where 1 = add(1, 1)"
    assert failure.frames == (("test_calc.py", 5, "test_one"),)


def test_no_run_sees_another(sandbox):
    leaving = "import os\nopen('left', 'w').close()\nos.mkdir('deep')\n" + RIGHT
    assert judge(sandbox, leaving).passed
    looking = "import os\nassert not {'left', 'deep'} & set(os.listdir())\n" + RIGHT
    report = judge(sandbox, looking)
    assert report.passed, report.failures


def test_reports_are_the_same_every_time(sandbox):
    wrong = "def add(a, b):\n    return object()\n"
    first, second = (judge(sandbox, wrong) for _ in range(2))
    assert first.failures == second.failures
    texts = str(first.failures)
    assert sandbox.private[0] not in texts and str(os.getpid()) not in first.text


ATTACKS = {
    # name: (statement of the function, what the report must show)
    "writes outside": ("open('{outside}', 'w').write('x')", "PermissionError"),
    "writes below the hook": (
        "__import__('_io').FileIO(__import__('os').open('{outside}', 65))",
        "PermissionError",
    ),
    "changes modes outside": (
        "__import__('os').chmod('{mode}', 0o777)",
        "OSError PermissionError FileNotFoundError",
    ),
    "opens a socket": ("__import__('socket').socket()", "PermissionError"),
    "connects": (
        "__import__('urllib.request').request.urlopen('http://127.0.0.1:9')",
        "URLError",
    ),
    "forks": ("__import__('os').fork()", "PermissionError"),
    "starts a program": (
        "__import__('subprocess').run(['/bin/true'])",
        "PermissionError",
    ),
    "eats memory": ("bytearray(1 << 33)", "MemoryError"),
    "exits": ("__import__('sys').exit(0)", "SystemExit"),
    "kills its parent": (
        "__import__('os').kill(__import__('os').getppid(), 9)",
        "PermissionError",
    ),
    "reads secrets": ("open('/etc/shadow').read()", "PermissionError"),
    "prints 100 MB": ("print('x' * (100 << 20))", "OSError MemoryError"),
}


@linux
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fails_its_test_and_nothing_else(sandbox, tmp_path, name):
    statement, kind = ATTACKS[name]
    outside, mode = tmp_path / "outside", tmp_path / "mode"
    mode.write_text("x")
    mode.chmod(0o600)
    statement = statement.format(outside=outside, mode=mode)
    report = judge(sandbox, f"def add(a, b):\n    {statement}\n    return a + b\n")
    assert report.exit_code == 1 and len(report.failing) == 2
    found = {failure.kind for failure in report.failures}
    assert found <= set(kind.split()), report.failures
    assert not outside.exists() and mode.stat().st_mode & 0o777 == 0o600
    assert judge(sandbox, RIGHT).passed


def test_a_loop_without_end_is_out_of_time(sandbox):
    loop = "def add(a, b):\n    while True:\n        pass\n"
    report = judge(sandbox, loop, cpu_seconds=0.5)
    assert report.used_up and not report.passed and report.ids
    assert len(report.failing) == 2
    at_once = judge(sandbox, "while True:\n    pass\n", cpu_seconds=0.5)
    assert at_once.used_up and not at_once.ids
    assert judge(sandbox, RIGHT).passed


def test_a_program_that_ends_the_process_passes_nothing(sandbox):
    report = judge(sandbox, "import os\ndef add(a, b):\n    os._exit(0)\n")
    assert report.exit_code is None and len(report.failing) == 2
    partly = "import os\ndef add(a, b):\n    return 2 if a == 1 else os._exit(0)\n"
    report = judge(sandbox, partly)
    assert report.exit_code is None and report.failing == ("test_calc.py::test_two",)
    loading = judge(sandbox, "import sys\nsys.exit(0)\n" + RIGHT)
    assert loading.exit_code not in (0, None) and loading.failures
    assert loading.failures[0].kind == "SystemExit"
    assert judge(sandbox, RIGHT).passed


def test_folders_that_cannot_be_removed_harm_no_later_run(sandbox):
    closed = "import os\nos.makedirs('a/b')\nos.chmod('a', 0)\n" + RIGHT
    assert judge(sandbox, closed).passed
    assert judge(sandbox, RIGHT).passed


def test_installed_copies_of_the_project_are_not_what_is_tested(tmp_path, monkeypatch):
    """A path to the original, as of an editable install, leads to the copy."""
    (tmp_path / "calc.py").write_text("def add(a, b):\n    return 'the original'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    files = {"calc.py": RIGHT.encode(), "tests/test_calc.py": TESTS.encode()}
    project = Project(str(tmp_path), "calc.py", files, ("tests",))
    with PytestSandbox(project, 1, LIMITS) as sandbox:
        assert judge(sandbox, RIGHT).passed
        assert not judge(sandbox, RIGHT.replace("+", "-")).passed


def test_garbage_in_an_answer_is_no_pass():
    sound = '{"event": "collected", "ids": ["t"]}\n'
    end = '{"event": "finish", "status": 0, "text": ""}\n'
    assert read_report(Answer("answered", sound + end)).passed
    for text in (sound, sound + "x" + end, sound + "[1]\n" + end, end[:-1], "null\n"):
        assert not read_report(Answer("answered", text)).passed
    for kind in ("used up", "too long", "flood", "died"):
        assert not read_report(Answer(kind, sound + end)).passed
    assert read_report(Answer("answered", sound)).failing == ("t",)


def test_the_child_imports_nothing_of_the_package():
    from repair.sandbox import project_pool

    path = pathlib.Path(project_pool.__file__).with_name("project_child.py")
    assert "repair" not in path.read_text().replace("to repair", "")

"""Platforms: macOS by taking Linux away, and the layouts of Python installations."""

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import time

import pytest

from repair.sandbox import Limits, Sandbox, isolation, lockdown, worker

RIGHT = "def f(x):\n    return x + 1"
TESTS = ("assert f(1) == 2",)
MODULES = (
    "json ssl sqlite3 ctypes decimal hashlib zlib lzma bz2 unittest asyncio xml.dom "
    "zoneinfo csv re random statistics typing dataclasses enum functools itertools "
    "collections heapq bisect array copy pickle struct string textwrap datetime "
    "calendar time math cmath fractions operator types abc contextlib inspect ast "
    "dis tokenize logging argparse pathlib tempfile glob fnmatch shutil os io base64 "
    "binascii html urllib.parse uuid secrets difflib pprint queue threading graphlib"
).split()


@pytest.fixture
def elsewhere(monkeypatch):
    """Yield a sandbox without anything that Linux alone has."""
    monkeypatch.setattr(worker.Worker, "_seconds_in_queue", lambda self: None)
    with Sandbox(
        workers=1,
        limits=Limits(seconds=20, cpu_seconds=0.3),
        without=("linux", *lockdown.LAYERS),
        cache=False,
    ) as sandbox:
        monkeypatch.setattr(isolation.sys, "platform", "darwin")
        for each in sandbox._workers:
            each.knows_queues = False
        yield sandbox


def test_macos_has_verdicts_and_is_weak(elsewhere):
    assert elsewhere.level.name == "weak"
    assert "seccomp: not on" in elsewhere.level.line()
    assert elsewhere.run(RIGHT, TESTS).passed
    result = elsewhere.run("def f(x): return 3", TESTS)
    assert (result.status, result.feedback) == ("failed", "test 1: got 3")
    started = time.monotonic()
    for code in ("while True: pass", "import time\ntime.sleep(99)"):
        assert elsewhere.run(code, TESTS).status == "timeout"
    assert time.monotonic() - started < 20
    assert elsewhere.run("import os\nos._exit(0)", TESTS).status == "crashed"
    assert elsewhere.run(RIGHT, TESTS).passed


def layouts():
    """Return interpreters: of this environment, the system's, and of its own folder."""
    found = {"environment": sys.executable}
    system = shutil.which("python3", path="/usr/bin")
    if system:
        said = subprocess.run([system, "-V"], capture_output=True, text=True).stdout
        if said >= "Python 3.11":
            found["system"] = system
    return found


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Return the interpreter of an installation as conda and Docker have it."""
    root = tmp_path_factory.mktemp("prefix")
    root.chmod(0o755)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = pathlib.Path(sys.base_prefix)
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    left_out = shutil.ignore_patterns("*-packages", "test", "__pycache__", "idlelib")
    shutil.copytree(library, root / "lib" / name, ignore=left_out)
    for each in (base / "lib").glob("libpython*.so*"):
        shutil.copy(each, root / "lib" / each.name)
    (root / "bin").mkdir()
    shutil.copy(base / "bin" / name, root / "bin" / name)
    packages = root / "lib" / name / "site-packages"
    packages.mkdir()
    (packages / "secret.py").write_text("ANSWER = 777\n")
    return root / "bin" / name


def check_layout(monkeypatch, interpreter, files):
    monkeypatch.setattr(worker.sys, "executable", str(interpreter))
    limits = Limits(cpu_seconds=5.0)
    folders = sorted({str(pathlib.Path(each).parent) for each in files})
    with Sandbox(workers=1, limits=limits, without=("hooks",), cache=False) as sandbox:
        if "landlock" in sandbox.level.missing:
            pytest.skip(sandbox.level.line())
        imports = "\n".join(f"import {name}" for name in MODULES)
        result = sandbox.run(f"{imports}\n{RIGHT}", TESTS)
        assert result.passed, result
        read = f"""\
import sys
sys.path += {folders!r}
def f(x):
    read = []
    for path in {files!r}:
        try: read.append(open(path).read())
        except OSError: pass
    for name in ('repair', 'pytest', 'secret', 'pip', 'numpy'):
        try: read.append(__import__(name))
        except ImportError: pass
        except OSError: pass
    return len(read)
"""
        result = sandbox.run(read, ["assert f(1) == 0"])
        assert result.passed, result


@pytest.mark.parametrize("name", layouts())
def test_only_the_standard_library_can_be_read(name, monkeypatch):
    check_layout(monkeypatch, layouts()[name], isolation.installed_files())


@pytest.mark.slow
def test_packages_inside_of_the_library_cannot_be_read(prefix, monkeypatch):
    (secret,) = prefix.parent.parent.glob("lib/python*/site-packages/secret.py")
    said = subprocess.run(
        [prefix, "-c", "import secret; print(secret.ANSWER)"],
        capture_output=True,
        text=True,
    )
    assert said.stdout == "777\n", said.stderr  # to a plain program it is there
    check_layout(monkeypatch, prefix, [str(secret)])

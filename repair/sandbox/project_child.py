"""The real pytest in a child of a warm worker: write a project, run its tests, report.

Runs in the zygote and its children; imports pytest and the standard library. The zygote
holds the project's files in memory and has imported pytest with its plugins. A child
writes them to the private folder, changes what its job says, and runs pytest there. It
reports one line of JSON for each event, at once, so that a test that ends the process
leaves the outcomes before it. Nobody trusts the lines: see `project_pool`.
"""

import base64
import contextlib
import importlib
import importlib.metadata
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

SHOWN = 300  # characters of a value
SHORT = 80  # of a value that may stand in a shown test
TEXT = 6000  # of a failure as pytest prints it
FRAMES = 40  # of a traceback
NAMES = 30  # of a frame
FILE_BYTES = 64 << 20  # of one written file
DESCRIPTORS = 256
# No processes here; and the same order and examples in every run.
STEADY = {"xdist": "-n0", "hypothesis": "--hypothesis-seed=0"}
REHEARSAL = """\
import unittest
import pytest

@pytest.mark.parametrize("x", [1, 2])
def test_one(x, tmp_path, capsys, monkeypatch):
    assert x == 1, "one"

class TestTwo(unittest.TestCase):
    def test_two(self):
        self.assertEqual(1, 2)
"""
THREADS = "OPENBLAS_NUM_THREADS OMP_NUM_THREADS MKL_NUM_THREADS".split()
NOT_ALLOWED = frozenset(
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system pty.spawn "
    "subprocess.Popen os.killpg".split()
)


class WarmProject:
    """The files of a project, and how pytest is called in them.

    Args:
      path: A file of JSON: "folder", private to this worker; "root" and "cwd" of the
        original; "files", pairs of a path below the root and base64; "arguments" of
        pytest; "modules" to import before the first job; "program", the path below the
        root of the file to repair.
    """

    def __init__(self, path: str):
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
        self.folder = settings["folder"]
        self.tree = os.path.join(self.folder, "tree")
        self._settings = settings
        self._steady = ["-p", "no:randomly"]
        self._known: list[_Known] = []
        self.size_mb = 0  # that the limit of memory comes on top of
        self.limits = {"file_bytes": FILE_BYTES, "descriptors": DESCRIPTORS}
        self._files = [(p, base64.b64decode(data)) for p, data in settings["files"]]
        self._redirect()

    def readable(self) -> list[str]:
        """Return the folders that the user's own Python imports from."""
        mapped = [p for finder in _mappings() for p in finder.values()]
        outside = [os.path.realpath(p) for p in (*sys.path, *mapped) if p]
        return [p for p in outside if os.path.exists(p) and not self._inside(p)]

    def warm(self) -> None:
        """Import pytest's plugins and the packages that the project uses."""
        sys.dont_write_bytecode = True
        os.environ.update(dict.fromkeys(THREADS, "1"))
        for name in ("tmp", "home"):
            os.makedirs(os.path.join(self.folder, name), exist_ok=True)
        places = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "tmp"}
        for name, place in places.items():
            os.environ[name] = os.path.join(self.folder, place)
        os.environ["USER"] = "user"
        for name in self._settings["modules"]:
            with contextlib.suppress(Exception):  # the tests will meet it themselves
                importlib.import_module(name)
        installed = {e.name for e in importlib.metadata.entry_points(group="pytest11")}
        # Hypothesis is slow to import, so only for a project that does it anyway.
        used = installed & {"xdist"} | sys.modules.keys() & {"hypothesis"}
        self._steady += [STEADY[name] for name in sorted(used)]
        known = set(sys.modules)
        folder = os.path.join(self.folder, "rehearsal")
        _write_files(folder, [("test_rehearsal.py", REHEARSAL.encode())])
        with contextlib.chdir(folder):
            pytest.main(["-p", "no:cacheprovider", *self._steady, "."])
        for name in set(sys.modules) - known:
            if name.startswith("test_rehearsal"):
                del sys.modules[name]
        self.clean()  # by this user, who may be another later
        with contextlib.suppress(OSError, ValueError):  # no /proc
            pages = pathlib.Path("/proc/self/statm").read_text().split()[0]
            self.size_mb = int(pages) * os.sysconf("SC_PAGE_SIZE") >> 20
        read = importlib.metadata.distributions
        self._known = [k for k in map(_Known, read()) if k.entry_points]

    def run(self, job: dict, fd: int) -> None:
        """Run pytest on the project with the job's files; write events to a socket."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        random.seed(0)
        errors = os.path.join(self.folder, "errors")
        out = os.open(errors, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 2)
        changed = [(p, base64.b64decode(data)) for p, data in job["files"]]
        _write_files(self.tree, [*self._files, *changed])
        for name in ("tmp", "home"):
            os.makedirs(os.path.join(self.folder, name), exist_ok=True)
        cwd = os.path.join(self.tree, self._settings["cwd"])
        os.makedirs(cwd, exist_ok=True)
        os.chdir(cwd)
        importlib.invalidate_caches()  # these folders were not there before
        sys.addaudithook(make_guard(self.folder))
        reporter = Reporter(fd, self.tree, self._settings["program"])
        # To list what is installed takes longer than a small test.
        importlib.metadata.distributions = lambda: self._known  # type: ignore
        arguments = [*self._settings["arguments"], *self._steady]
        reporter.send(event="ready")
        status = int(pytest.main(arguments, plugins=[reporter]))
        tail = os.pread(out, TEXT, max(0, os.fstat(out).st_size - TEXT))
        reporter.send(
            event="finish", status=status, text=tail.decode("utf-8", "replace")
        )

    def clean(self) -> bool:
        """Empty the folder; return False if something resists."""
        try:
            for entry in os.scandir(self.folder):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        except (OSError, RecursionError):
            return False
        return True

    def _inside(self, path: str) -> bool:
        root = self._settings["root"]
        return path == root or path.startswith(root + os.sep)

    def _redirect(self) -> None:
        """Have imports from the original come from the copy, as those of `pip -e`."""

        def move(path: str) -> str:
            real = os.path.realpath(path) if path else path
            if not self._inside(real):
                return path
            return os.path.join(
                self.tree, os.path.relpath(real, self._settings["root"])
            )

        sys.path[:] = [move(each) for each in sys.path]
        for mapping in _mappings():
            mapping.update({name: move(path) for name, path in mapping.items()})


class Reporter:
    """A plugin of pytest that reports what it collects and how each test ends."""

    def __init__(self, fd: int, tree: str, program: str):
        self._fd, self._tree, self._pid = fd, tree, os.getpid()
        self._program = os.path.join(tree, program)
        self._compared: str | None = None
        self._distributions = importlib.metadata.distributions

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        """Show the project all installed packages: pytest has found its plugins."""
        importlib.metadata.distributions = self._distributions

    def send(self, **values: Any) -> None:
        """Write one event."""
        view = memoryview(json.dumps(values).encode("ascii") + b"\n")
        while view:
            view = view[os.write(self._fd, view) :]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Report the names of all tests."""
        self.send(event="collected", ids=[item.nodeid for item in session.items])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Report the start of a test, which may hang."""
        self._compared = None
        self.send(event="start", id=nodeid)

    def pytest_assertrepr_compare(self, left: object) -> None:
        """Keep the left value of a comparison that does not hold."""
        self._compared = _represent(left, SHOWN)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Any:
        """Report the outcome of a phase of a test."""
        report = yield
        if report.when == "call" or report.outcome != "passed":
            failure = None
            if report.failed:
                failure = self._describe(call.excinfo, report.longreprtext)
            self.send(
                event="report", id=item.nodeid, outcome=report.outcome, failure=failure
            )
        return report

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        """Report an error of a file that cannot be collected."""
        if isinstance(report, pytest.CollectReport):
            failure = self._describe(call.excinfo, report.longreprtext)
            self.send(event="collect", id=node.nodeid, failure=failure)

    def pytest_internalerror(self, excrepr: Any, excinfo: Any) -> None:
        """Report an exception that pytest does not catch, as sys.exit at import."""
        self.send(event="collect", id="", failure=self._describe(excinfo, str(excrepr)))

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        """Report an interrupt, or a call of `pytest.exit`."""
        self.send(event="collect", id="", failure=self._describe(excinfo, ""))

    def _describe(self, excinfo: Any, text: str) -> dict:
        """Describe a failure; see `project_pool.Failure`."""
        found: dict[str, Any] = {"kind": "XPassStrict", "text": text[-TEXT:]}
        found |= {"message": "", "source": "", "got": None, "frames": [], "values": {}}
        if excinfo is None:  # a strict xfail that passes
            return found
        error, trace = excinfo.value, excinfo.tb
        if isinstance(error, pytest.Collector.CollectError) and error.__cause__:
            error = error.__cause__
            trace = error.__traceback__
        error = getattr(error, "failures", [error])[0]  # of a doctest
        found |= self._walk(trace)
        found |= {"kind": type(error).__name__, "message": _text_of(error)}
        if isinstance(error, SyntaxError) and error.filename and error.lineno:
            found["message"] = error.msg
            if place := self._place(error.filename):
                found["frames"].append([place, error.lineno, ""])
        if example := getattr(error, "example", None):
            found |= {"kind": "DocTestFailure", "source": example.source + example.want}
            found["got"] = getattr(error, "got", "").strip() or None
            if inner := getattr(error, "exc_info", None):
                found |= {"kind": inner[0].__name__, "message": _text_of(inner[1])}
                found["frames"] = self._walk(inner[2])["frames"]
        elif found["kind"] == "AssertionError" and found["got"] is None:
            found["got"] = self._compared
        for name in ("message", "source"):
            found[name] = found[name][:SHOWN]
        return found

    def _walk(self, trace: Any) -> dict:
        """Return frames of the project, values in its last test, and a left side."""
        frames, values, got = [], {}, None
        for frame, line in traceback.walk_tb(trace):
            code = frame.f_code
            if place := self._place(code.co_filename):
                frames.append([place, line, code.co_name])
                if os.path.abspath(code.co_filename) != self._program:
                    local = list(frame.f_locals.items())[:NAMES]
                    shown = {n: _represent(v, SHORT) for n, v in local}
                    values = {n: text for n, text in shown.items() if len(text) < SHORT}
            elif code.co_name.startswith("assert") and "first" in frame.f_locals:
                got = _represent(frame.f_locals["first"], SHOWN)  # of unittest
        return {"frames": frames[-FRAMES:], "values": values, "got": got}

    def _place(self, path: str) -> str | None:
        """Return a path below the tree, or None."""
        path = os.path.abspath(path)
        prefix = self._tree + os.sep
        return path.removeprefix(prefix) if path.startswith(prefix) else None


def make_guard(folder: str) -> Callable:
    """Return an audit hook that gives clear messages; the layers below protect."""
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    own, allowed = os.getpid(), (folder + os.sep, "/dev/")

    def guard(event: str, arguments: tuple) -> None:
        if event in NOT_ALLOWED:
            raise PermissionError(f"{event} is forbidden in the sandbox")
        if event == "os.kill" and arguments[0] != own:
            raise PermissionError("os.kill is forbidden in the sandbox")
        if event == "socket.connect":
            raise PermissionError("the sandbox has no network")
        if event == "open" and (arguments[2] or 0) & writes:
            path = arguments[0]
            if isinstance(path, str) and not os.path.abspath(path).startswith(allowed):
                raise PermissionError("the sandbox writes to its own folder only")

    return guard


def _represent(value: object, most: int) -> str:
    try:
        text = repr(value)
    except Exception:
        return "unprintable"
    return text if len(text) <= most else text[:most] + "..."


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "unprintable"


def _write_files(folder: str, files: list[tuple[str, bytes]]) -> None:
    made = set()
    for path, data in files:
        path = os.path.join(folder, path)
        parent = os.path.dirname(path)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        with open(path, "wb") as file:
            file.write(data)


def _mappings() -> list[dict]:
    """Return the tables {package: folder} of editable installs."""
    modules = [m for name, m in sys.modules.items() if name.startswith("__editable__")]
    found = [getattr(module, "MAPPING", None) for module in modules]
    return [each for each in found if isinstance(each, dict)]


class _Known:
    """A distribution with plugins, as pytest looks at it."""

    def __init__(self, found: importlib.metadata.Distribution):
        self.entry_points = [e for e in found.entry_points if e.group == "pytest11"]
        self.metadata, self.version = {"name": found.metadata["name"]}, found.version
        self.files: list[pathlib.Path] = []  # imported already, with their asserts

"""The sandbox as its users see it: jobs go in, results come out.

What crosses to the worker is the program, the call expressions of its tests and the
limits; the expected values stay here and are compared here, so a program cannot
pass by anything but the right values. Tests that are no `assert call == literal`
run inside the child and are only as good as the program's good faith: their results
say trust="in_child".

Not stopped by this version: reading files, the network, and processes that leave
their process group. Run it in a container where that matters.
"""

import ast
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import re
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

_ZYGOTE = pathlib.Path(__file__).with_name("zygote.py")
_SHOWN_CHARS = 60
_BATCH = 16  # jobs of one request: fewer round trips, still spread over workers
_GRACE = 5.0  # seconds beyond a job's own limit before a worker counts as hung


class SandboxError(Exception):
    """The sandbox itself failed; says nothing about any program."""


class _WorkerDied(Exception):
    """A worker ended or hung in the midst of a job."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
      seconds: Wall time, a backstop: a busy machine should not reach it first.
      cpu_seconds: Processor time.
      memory_mb: Address space in MiB.
      output_bytes: Size of the encoded values of all tests.
    """

    seconds: float = 5.0
    cpu_seconds: float = 1.0
    memory_mb: int = 512
    output_bytes: int = 65536


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one program.

    Attributes:
      passed: True only if every test held on a real run.
      status: "passed", "failed", "error", "syntax_error", "timeout", "memory",
        "crashed" or "forbidden".
      feedback: One deterministic line for the model; empty if all tests pass.
      failed_tests: 0-based indices of the tests that did not hold.
      seconds: Wall time.
      trust: "value" if every verdict came from comparing values outside the
        program's process, else "in_child".
    """

    passed: bool
    status: str
    feedback: str
    failed_tests: tuple[int, ...]
    seconds: float
    trust: str


@dataclasses.dataclass(frozen=True)
class _Test:
    """A test as it is sent, and what stays behind."""

    kind: str  # "value" or "exec"
    source: str
    expected: object = None


class Sandbox:
    """Runs programs in worker processes of their own; a context manager.

    Args:
      workers: Processes; by default one a core.
      limits: What one program may use.

    Raises:
      SandboxError: From `run`, `map` and futures, when a worker cannot be started.
    """

    def __init__(self, workers: int | None = None, limits: Limits | None = None):
        self.limits = limits or Limits()
        count = workers or os.cpu_count() or 1
        self._folder = tempfile.mkdtemp(prefix="sandbox-")
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers = [_Worker(self._folder) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = concurrent.futures.ThreadPoolExecutor(count, "sandbox")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self) -> None:
        """Ends all workers; programs still running are killed."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, code: str, tests: Sequence[str], setup: str = "") -> Result:
        """Runs one program against its tests."""
        return self.map([(code, tests, setup)])[0]

    def submit(
        self, code: str, tests: Sequence[str], setup: str = ""
    ) -> concurrent.futures.Future:
        """As `run`, without waiting: a future of the result."""
        job = (code, tuple(tests), setup)
        return self._threads.submit(lambda: self._run_batch([job])[0])

    def map(self, jobs: Sequence[tuple]) -> list[Result]:
        """Runs many jobs, each a tuple of `run`'s arguments; results in order.

        Equal jobs run once.
        """
        jobs = [(job[0], tuple(job[1]), *job[2:]) for job in jobs]
        jobs = [job if len(job) == 3 else (*job, "") for job in jobs]
        unique = list(dict.fromkeys(jobs))
        size = max(1, min(_BATCH, -(-len(unique) // len(self._workers))))
        batches = [unique[i : i + size] for i in range(0, len(unique), size)]
        results = {}
        parts = self._threads.map(self._run_batch, batches)
        for batch, part in zip(batches, parts, strict=True):
            results.update(zip(batch, part, strict=True))
        return [results[job] for job in jobs]

    def _run_batch(self, jobs: list[tuple]) -> list[Result]:
        worker = self._idle.get()
        try:
            split = [[_split(test) for test in tests] for _, tests, _ in jobs]
            requests = [
                self._request(code, tests, setup)
                for (code, _, setup), tests in zip(jobs, split, strict=True)
            ]
            answers = worker.ask(requests)
            return [
                _result(request, tests, answer)
                for request, tests, answer in zip(
                    requests, split, answers, strict=True
                )
            ]
        finally:
            self._idle.put(worker)

    def _request(self, code: str, tests: list[_Test], setup: str) -> dict:
        return {
            "token": secrets.token_hex(8),
            "setup": setup,
            "code": code,
            "tests": [[test.kind, test.source] for test in tests],
            "limits": dataclasses.asdict(self.limits),
        }


class _Worker:
    """One zygote process, restarted when it dies."""

    def __init__(self, folder: str):
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self._closed = False

    def ask(self, requests: list[dict]) -> list[dict]:
        """Answers in order; a request on which the worker dies twice has "died"."""
        answers: list[dict] = []
        self._converse(requests, answers)
        while len(answers) < len(requests):
            # The worker died on this one: alone, once more, on a fresh worker.
            before = len(answers)
            self._converse(requests[before : before + 1], answers)
            if len(answers) == before:
                answers.append({"end": "died", "text": "", "seconds": 0.0})
            self._converse(requests[len(answers) :], answers)
        return answers

    def close(self) -> None:
        self._closed = True
        self._stop()

    def _converse(self, requests: list[dict], answers: list[dict]) -> None:
        """Appends answers until all are there or the worker has died."""
        if not requests:
            return
        process = self._start()
        try:
            body = json.dumps(requests).encode()
            process.stdin.write(struct.pack(">I", len(body)) + body)
            process.stdin.flush()
            for request in requests:
                patience = request["limits"]["seconds"] + _GRACE
                answers.append(json.loads(self._read_frame(process, patience)))
        except (OSError, _WorkerDied):
            self._stop()
            if self._closed:
                raise SandboxError("the sandbox was closed while it ran") from None

    def _read_frame(self, process, patience: float) -> bytes:
        deadline = time.monotonic() + patience
        (size,) = struct.unpack(">I", self._read(process, 4, deadline))
        return self._read(process, size, deadline)

    def _read(self, process, count: int, deadline: float) -> bytes:
        data, fd = b"", process.stdout.fileno()
        while len(data) < count:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([fd], [], [], left)[0]:
                raise _WorkerDied
            part = os.read(fd, count - len(data))
            if not part:
                raise _WorkerDied
            data += part
        return data

    def _start(self) -> subprocess.Popen:
        if self._closed:
            raise SandboxError("the sandbox is closed")
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_ZYGOTE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                env={"PYTHONHASHSEED": "0", "PATH": os.defpath},
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"cannot start a sandbox worker: {error}") from error
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        try:
            process.stdin.close()
        except BrokenPipeError:
            return  # unsent bytes of a request that its worker did not live to read


def _split(test: str) -> _Test:
    """Takes `assert call == literal` apart; other tests run in the child."""
    try:
        (statement,) = ast.parse(test).body
        compare = statement.test
        if isinstance(statement, ast.Assert) and isinstance(compare, ast.Compare):
            (operator,), (right,) = compare.ops, compare.comparators
            if isinstance(operator, ast.Eq):
                return _Test("value", ast.unparse(compare.left), ast.literal_eval(right))
    except (ValueError, SyntaxError, AttributeError, MemoryError, RecursionError):
        return _Test("exec", test)  # it does not have that form
    return _Test("exec", test)


def _result(request: dict, tests: list[_Test], answer: dict) -> Result:
    """The verdict, from the expected values and what the child wrote."""
    everything = tuple(range(len(tests)))
    trust = "value" if all(t.kind == "value" for t in tests) else "in_child"

    def whole(status, feedback):
        return Result(False, status, feedback, everything, answer["seconds"], trust)

    if answer["end"] == "timeout":
        return whole("timeout", "timeout")
    if answer["end"] == "flood":
        return whole("memory", "output too large")
    reply = _read_reply(answer["text"], request["token"], len(tests))
    if answer["end"] == "died" or reply is None:
        return whole("crashed", "the program ended the interpreter")
    if "load" in reply:
        return whole(*_load_failure(reply))
    failed, first = [], None
    for index, (test, outcome) in enumerate(zip(tests, reply["tests"], strict=True)):
        said = _judge(test, outcome)
        if said is not None:
            failed.append(index)
            first = first or (said[0], f"test {index + 1}: {said[1]}")
    if failed:
        status, feedback = first
        return Result(False, status, feedback, tuple(failed), answer["seconds"], trust)
    return Result(True, "passed", "", (), answer["seconds"], trust)


def _read_reply(text: str, token: str, count: int) -> dict | None:
    """The child's line if it has the right shape, else None."""
    try:
        reply = json.loads(text)
        if reply["token"] != token:
            return None
        if "load" in reply or len(reply["tests"]) == count:
            return reply
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # forged or torn: it proves nothing
    return None


def _load_failure(reply: dict) -> tuple[str, str]:
    fault, where = reply["load"], reply["where"]
    kind = fault["type"]
    if kind == "MemoryError":
        return "memory", "out of memory"
    syntax = kind in ("SyntaxError", "IndentationError", "TabError")
    text = _describe(fault)
    return ("syntax_error" if syntax else "error"), (
        text if where == "code" else f"setup: {text}"
    )


def _judge(test: _Test, outcome: dict) -> tuple[str, str] | None:
    """None if the test held, else (status, what to say of it)."""
    if "fault" in outcome:
        kind = outcome["fault"]["type"]
        if kind == "MemoryError":
            return "memory", "out of memory"
        if test.kind == "exec" and kind == "AssertionError":
            return "failed", "failed"
        return "error", _describe(outcome["fault"])
    if test.kind == "exec":
        return None if outcome.get("held") is True else ("failed", "failed")
    try:
        value = _decode(outcome["value"])
    except (_Opaque, KeyError, ValueError, TypeError, RecursionError) as error:
        kind = str(error) if isinstance(error, _Opaque) else "an unreadable value"
        return "failed", f"got {kind}"
    if value == test.expected:
        return None
    return "failed", f"got {_show(value)}"


class _Opaque(Exception):
    """A value of no plain type: it never equals a literal."""


def _decode(tagged):
    """The value of a tagged form made by the zygote's `encode`."""
    tag, *rest = tagged
    if tag == "none":
        return None
    if tag in ("bool", "str"):
        return {"bool": bool, "str": str}[tag](rest[0])
    if tag == "int":
        return int(rest[0], 16)
    if tag == "float":
        return float.fromhex(rest[0])
    if tag == "complex":
        return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
    if tag == "bytes":
        return bytes.fromhex(rest[0])
    kinds = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    if tag in kinds:
        return kinds[tag](_decode(item) for item in rest[0])
    if tag == "dict":
        return {_decode(key): _decode(value) for key, value in rest[0]}
    raise _Opaque(re.sub(r"\W", "", str(rest[0]))[:_SHOWN_CHARS])


def _show(value) -> str:
    """A short repr whose order does not depend on hashes."""
    text = _repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


def _repr(value) -> str:
    if isinstance(value, set | frozenset) and value:
        inner = "{" + ", ".join(sorted(map(_repr, value))) + "}"
        return inner if isinstance(value, set) else f"frozenset({inner})"
    if isinstance(value, list):
        return "[" + ", ".join(map(_repr, value)) + "]"
    if isinstance(value, tuple):
        inner = ", ".join(map(_repr, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        pairs = (f"{_repr(k)}: {_repr(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    return repr(value)


def _describe(fault: dict) -> str:
    where = f"line {fault['line']}: " if fault["line"] else ""
    message = f": {fault['message']}" if fault["message"] else ""
    return f"{where}{fault['type']}{message}"

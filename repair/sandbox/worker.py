"""The trainer's end of one worker process: start it, send requests, replace it."""

import json
import os
import pathlib
import select
import struct
import subprocess
import sys
import threading
import time
from typing import IO

ZYGOTE = pathlib.Path(__file__).with_name("zygote.py")
_GRACE = 5.0  # seconds beyond a job's own limit before a worker counts as hung
_SHUTDOWN = 2.0  # seconds for a worker to end by itself


class SandboxError(Exception):
    """A failure of the sandbox itself; says nothing about any program."""


class _WorkerDied(Exception):
    """A worker ended, hung or sent garbage during a request."""


class Worker:
    """One zygote process, replaced when it dies; one request at a time.

    Args:
      folder: An empty folder, where the programs run.
      without: Layers of isolation to leave out, for tests.
    """

    def __init__(self, folder: str, without: tuple[str, ...] = ()):
        self._folder, self._without = folder, without
        self._process: subprocess.Popen | None = None
        self._closed = False
        self._lock = threading.Lock()  # over _process and _closed, never held long

    def ask(self, batches: list[list[dict]], limits: dict) -> list[dict]:
        """Run each batch of jobs in a child of its own; return zygote.run's answers.

        A batch on which the worker dies runs once more, alone on a fresh worker. If it
        dies again, an empty program decides: where that runs, the batch killed the
        worker, and its "end" is "died"; where not, SandboxError is raised.
        """
        answers: list[dict] = []
        self._run(batches, limits, answers)
        while (done := len(answers)) < len(batches):
            suspect = batches[done]
            self._run([suspect], limits, answers)
            if len(answers) == done:
                nothing = {"token": "", "setup": "", "code": "", "tests": []}
                self._run([[nothing | {"limits": limits}]], limits, [])
                if self._process is None:
                    raise SandboxError("a sandbox worker dies whatever it runs")
                answers.append({"end": "died", "text": "", "seconds": 0.0, "last": 0.0})
            self._run(batches[done + 1 :], limits, answers)
        return answers

    def start(self) -> subprocess.Popen:
        """Return the process; start it if there is none."""
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed")
            if self._process is None:
                self._process = self._open()
            return self._process

    def terminate(self) -> None:
        """Ask the process to end, from any thread; no request can follow."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()

    def stop(self) -> None:
        """Wait for the process to end, kill it if it does not, and close its pipes."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(_SHUTDOWN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in _pipes(process):
            pipe.close()

    def _open(self) -> subprocess.Popen:
        # By exec, since a process that holds jax must not be forked. Not -I, which
        # would ignore the hash seed that makes sets come in one order.
        command = [sys.executable, "-S", "-s", "-P", str(ZYGOTE)]
        if self._without:
            command.append(",".join(self._without))
        try:
            process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                env={"PYTHONHASHSEED": "0", "PATH": os.defpath},
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"cannot start a sandbox worker: {error}") from error
        for pipe in _pipes(process):
            os.set_blocking(pipe.fileno(), False)
        return process

    def _run(self, batches: list, limits: dict, answers: list[dict]) -> None:
        """Append an answer for each batch, or fewer if the worker dies."""
        if not batches:
            return
        # Every program of a batch has its own time, and may use it up.
        longest = max(len(batch) for batch in batches)
        seconds = limits["seconds"] * longest + _GRACE
        # Escapes, twice over, at most double the bytes that a value may have thrice.
        most = 64 * limits["output_bytes"] * longest + (1 << 16)
        process = self.start()
        try:
            body = json.dumps({"batches": batches, "limits": limits}).encode()
            stdin, stdout = _pipes(process)
            _write(stdin, struct.pack(">I", len(body)) + body, seconds)
            for _ in batches:
                answers.append(_read_answer(stdout, seconds, most))
        except (OSError, _WorkerDied):
            process.kill()
            self.stop()
            if self._closed:
                raise SandboxError("the sandbox was closed while it ran") from None


def _pipes(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """Return its standard input and output, which are pipes."""
    assert process.stdin and process.stdout
    return process.stdin, process.stdout


def _write(pipe: IO[bytes], data: bytes, seconds: float) -> None:
    deadline, fd = time.monotonic() + seconds, pipe.fileno()
    while data:
        _wait(fd, select.POLLOUT, deadline)
        data = data[os.write(fd, data[: 1 << 16]) :]


def _read_answer(pipe: IO[bytes], seconds: float, most: int) -> dict:
    deadline = time.monotonic() + seconds
    (size,) = struct.unpack(">I", _read(pipe, 4, deadline))
    if size > most:
        raise _WorkerDied
    try:
        answer = json.loads(_read(pipe, size, deadline))
        types = [type(answer[key]) for key in ("end", "text", "seconds", "last")]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _WorkerDied from None
    if types != [str, str, float, float]:
        raise _WorkerDied
    return answer


def _read(pipe: IO[bytes], count: int, deadline: float) -> bytes:
    data, fd = bytearray(), pipe.fileno()
    while len(data) < count:
        _wait(fd, select.POLLIN, deadline)
        part = os.read(fd, count - len(data))
        if not part:
            raise _WorkerDied
        data += part
    return bytes(data)


def _wait(fd: int, event: int, deadline: float) -> None:
    poll = select.poll()  # unlike select, takes descriptors above 1023
    poll.register(fd, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise _WorkerDied

"""The trainer's end of one worker process: start it, ask it, replace it."""

import dataclasses
import json
import os
import pathlib
import select
import struct
import subprocess
import sys
import threading
import time

ZYGOTE = pathlib.Path(__file__).with_name("zygote.py")
_GRACE = 5.0  # seconds beyond a job's own limit before a worker counts as hung
_LAST_WORDS = 2.0  # seconds that a worker has to end what it runs


class SandboxError(Exception):
    """The sandbox itself failed; says nothing about any program."""


class _WorkerDied(Exception):
    """A worker ended, hung or spoke nonsense in the midst of a job."""


class Worker:
    """One zygote process, replaced when it dies; one request at a time.

    Args:
      folder: An empty folder, where the programs run.
      without: Layers of the lock to leave out, for tests of the lock.
    """

    def __init__(self, folder: str, without: tuple[str, ...] = ()):
        self._folder, self._without = folder, without
        self._process: subprocess.Popen | None = None
        self._closed = False
        self._lock = threading.Lock()  # over _process and _closed, never held long

    def report(self) -> dict[str, str]:
        """Why a layer of the lock could not be had, by layer; "" where it could.

        Raises:
          SandboxError: The worker cannot be started, or dies at once.
        """
        answers: list[dict] = []
        self._converse({"report": True}, 1, _Patience(), answers)
        if not answers:
            raise SandboxError("a sandbox worker dies as it starts")
        return answers[0]["layers"]

    def ask(self, batches: list[list[dict]], limits: dict) -> list[dict]:
        """Runs each batch of jobs in a child of its own.

        A batch on which the worker dies runs once more, alone on a fresh worker. If it
        dies again, a request that does nothing tells whose fault it is: the
        programs', whose "end" then is "died", or the sandbox's.

        Returns:
          Answers in order, each {"end", "text", "seconds"}; see zygote.run.

        Raises:
          SandboxError: The worker dies whatever it runs, or is closed.
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
        """The process, started if need be."""
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed")
            if self._process is None:
                self._process = self._open()
            return self._process

    def terminate(self) -> None:
        """Asks the process to end, from any thread; it cannot be used again."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()

    def stop(self, patience: float = _LAST_WORDS) -> None:
        """Ends the process for certain and frees what it held."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()

    def _open(self) -> subprocess.Popen:
        try:
            # By exec, since a process that holds jax must not be forked. Not -I,
            # which would ignore the hash seed that makes sets come in one order.
            process = subprocess.Popen(
                [
                    *(sys.executable, "-S", "-s", "-P", str(ZYGOTE)),
                    *([",".join(self._without)] if self._without else []),
                ],
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
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def _run(self, batches: list, limits: dict, answers: list[dict]) -> None:
        """Appends answers until all are there or the worker has died."""
        if not batches:
            return
        # Every program of a batch has its own time, and may use it up.
        longest = max(len(batch) for batch in batches)
        patience = _Patience(
            seconds=limits["seconds"] * longest + _GRACE,
            # Escapes, twice over, at most double the bytes that a value may have
            # thrice.
            bytes=64 * limits["output_bytes"] * longest + (1 << 16),
        )
        request = {"batches": batches, "limits": limits}
        self._converse(request, len(batches), patience, answers)

    def _converse(self, request: dict, count: int, patience, answers: list) -> None:
        process = self.start()
        try:
            body = json.dumps(request).encode()
            _write(process, struct.pack(">I", len(body)) + body, patience.seconds)
            for _ in range(count):
                answers.append(_read_answer(process, patience))
        except (OSError, _WorkerDied):
            process.kill()
            self.stop()
            if self._closed:
                raise SandboxError("the sandbox was closed while it ran") from None


@dataclasses.dataclass(frozen=True)
class _Patience:
    """What to wait for in one answer, at most."""

    seconds: float = 2 * _GRACE
    bytes: int = 1 << 16


def _write(process, data: bytes, patience: float) -> None:
    deadline, fd, left = time.monotonic() + patience, process.stdin.fileno(), data
    while left:
        _wait(fd, select.POLLOUT, deadline)
        left = left[os.write(fd, left[: 1 << 16]) :]


def _read_answer(process, patience: _Patience) -> dict:
    deadline = time.monotonic() + patience.seconds
    (size,) = struct.unpack(">I", _read(process, 4, deadline))
    if size > patience.bytes:
        raise _WorkerDied
    try:
        answer = json.loads(_read(process, size, deadline))
        if answer["end"] == "report":
            return answer
        end, text = answer["end"], answer["text"]
        seconds, last = answer["seconds"], answer["last"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _WorkerDied from None
    if not (type(end) is str and type(text) is str):
        raise _WorkerDied
    if not (type(seconds) is float and type(last) is float):
        raise _WorkerDied
    return answer


def _read(process, count: int, deadline: float) -> bytes:
    data, fd = bytearray(), process.stdout.fileno()
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

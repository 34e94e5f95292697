"""The trainer's end of one worker process: start it, send jobs, replace it.

A job goes to its child on a socket of its own, which the worker passes on without
reading. The worker gets the limits and reports how the child ended.
"""

import contextlib
import dataclasses
import os
import pathlib
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from repair.sandbox.zygote import (
    ENDED,
    GIVE_UP,
    KEEP_ON,
    REPORT,
    REQUEST,
    STALL,
    STALLED,
    STOP,
    TOO_LONG,
    USED_UP,
    child,
)

ZYGOTE = pathlib.Path(__file__).with_name("zygote.py")
_ENDS = {ENDED: "answered", USED_UP: "used up", TOO_LONG: "too long"}
_AHEAD = 8  # jobs that wait in a worker's socket: it never waits for the trainer
_GRACE = 5.0  # seconds beyond a job's own limit before a worker counts as hung
_START = 180.0  # the same, of one that imports pytest and packages first
_KEPT = ("PYTHONPATH", "HOME", "LANG", "LC_ALL", "TZ")  # of the environment, for pytest
_SHUTDOWN = 2.0  # seconds for a worker to end by itself


class SandboxError(Exception):
    """A failure of the sandbox itself; says nothing about any program."""


class _WorkerDied(Exception):
    """A worker ended, hung or sent garbage during a request."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A job for one child.

    Attributes:
      body: The job, for the child alone.
      seconds: Wall time.
      cpu_seconds: Processor time.
      memory_mb: Address space in MiB.
      most: Bytes of the answer that are read.
      patience: Times the wall time that a sleeper has, where nobody knows how long a
        child waited for a processor.
    """

    body: bytes
    seconds: float
    cpu_seconds: float
    memory_mb: int
    most: int
    patience: int = 1


@dataclasses.dataclass(frozen=True)
class Answer:
    """The outcome of a child.

    Attributes:
      end: "answered", "used up" (its processor time, or asleep for several times that),
        "too long" (wall time ran out first), "flood" or "died" (with the worker).
      text: Its output, not to be trusted.
      seconds: Its processor time.
    """

    end: str
    text: str = ""
    seconds: float = 0.0


class Worker:
    """One zygote process, replaced when it dies; one caller at a time.

    Args:
      folder: An empty folder, where the programs run.
      without: Layers of isolation to leave out, for tests.
      project: File with the settings of a project, for a worker that runs pytest.
    """

    def __init__(
        self, folder: str, without: tuple[str, ...] = (), project: str | None = None
    ):
        self.folder, self._without, self._project = folder, without, project
        self._process: subprocess.Popen | None = None
        self._sockets: list[socket.socket] = []  # requests, reports
        self._closed = False
        self._lock = threading.Lock()  # over the three above, never held long
        self.knows_queues = True  # how long children wait for a processor

    def ask(self, requests: Sequence[Request], nothing: Request) -> list[Answer]:
        """Run each job in a child of its own.

        A job on which the worker dies runs once more on a fresh worker. If that dies
        too, an empty job decides: where it runs, the job killed the worker and its end
        is "died".

        Args:
          requests: The jobs.
          nothing: An empty job.

        Raises:
          SandboxError: The worker cannot start, or dies on an empty job too.
        """
        answers: list[Answer] = []
        self._run(requests, answers)
        while (done := len(answers)) < len(requests):
            self._run([requests[done]], answers)
            if len(answers) == done:
                self._run([nothing], [])
                if self._process is None:
                    raise SandboxError("a sandbox worker dies whatever it runs")
                answers.append(Answer("died"))
            self._run(requests[done + 1 :], answers)
        return answers

    def start(self) -> None:
        """Start the process if there is none."""
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed")
            if self._process is None:
                self._process, self._sockets = self._open()

    def terminate(self) -> None:
        """Ask the process to end, from any thread; no request can follow."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()

    def stop(self) -> None:
        """Wait for the process to end, or kill it, and close its sockets."""
        with self._lock:
            process, self._process = self._process, None
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            each.close()
        if process is None:
            return
        try:
            process.wait(_SHUTDOWN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _open(self) -> tuple[subprocess.Popen, list[socket.socket]]:
        # By exec, since a process that holds jax must not be forked. Not -I, which
        # would ignore the hash seed that makes sets come in one order.
        command = [sys.executable, "-S", "-s", "-P", str(ZYGOTE)]
        environment = {"PYTHONHASHSEED": "0", "PATH": os.defpath}
        if self._project:  # sees what is installed
            command = [sys.executable, "-P", str(ZYGOTE)]
            environment |= {k: os.environ[k] for k in _KEPT if k in os.environ}
        if self._without or self._project:
            command.append(",".join(self._without))
        if self._project:
            command.append(self._project)
        pairs = [socket.socketpair(), socket.socketpair()]
        try:
            process = subprocess.Popen(
                command,
                stdin=pairs[0][1].fileno(),
                stdout=pairs[1][1].fileno(),
                stderr=subprocess.DEVNULL,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            for ours, _ in pairs:
                ours.close()
            raise SandboxError(f"cannot start a sandbox worker: {error}") from error
        finally:
            for _, theirs in pairs:
                theirs.close()
        return process, [ours for ours, _ in pairs]

    def _run(self, requests: Sequence[Request], answers: list[Answer]) -> None:
        """Append an answer for each request, or fewer if the worker dies."""
        if not requests:
            return
        self.start()
        ahead: list[_Channel] = []
        try:
            for place, request in enumerate(requests):
                while len(ahead) < _AHEAD and place + len(ahead) < len(requests):
                    ahead.append(self._send(requests[place + len(ahead)]))
                answers.append(self._receive(ahead.pop(0), request))
        except (OSError, _WorkerDied):
            process = self._process
            if process is not None:
                process.kill()
            self.stop()
            if self._closed:
                raise SandboxError("the sandbox was closed while it ran") from None
        finally:
            for channel in ahead:
                channel.socket.close()

    def _send(self, request: Request) -> "_Channel":
        ours, theirs = socket.socketpair()
        with theirs:
            channel = _Channel(
                ours, child.HEADER.pack(len(request.body)) + request.body
            )
            channel.write()
            limits = request.seconds, request.cpu_seconds, request.memory_mb
            head = REQUEST.pack(*limits)
            try:
                socket.send_fds(self._sockets[0], [head], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return channel

    def _receive(self, channel: "_Channel", request: Request) -> Answer:
        reports = self._sockets[1]
        grace = _START if self._project else _GRACE
        deadline = time.monotonic() + request.seconds + grace
        with channel.socket:
            poll = select.poll()  # unlike select, takes descriptors above 1023
            poll.register(reports, select.POLLIN)
            poll.register(channel.socket, channel.events)
            while True:
                left = max(deadline - time.monotonic(), 0)
                ready = dict(poll.poll(left * 1000))
                if not ready:
                    raise _WorkerDied
                if ready.get(channel.socket.fileno()):
                    channel.move(request.most)
                    if channel.finished:
                        poll.unregister(channel.socket)
                    else:
                        poll.modify(channel.socket, channel.events)
                if reports.fileno() not in ready:
                    continue
                report = reports.recv(REPORT.size)
                if len(report) < REPORT.size:
                    raise _WorkerDied
                kind, seconds = REPORT.unpack(report)
                if kind == STALLED:
                    reports.send(self._judge_stall(seconds, request))
                    continue
                if kind not in _ENDS:
                    raise _WorkerDied
                while not channel.finished and channel.move(request.most):
                    pass
                end = "flood" if channel.flooded else _ENDS[kind]
                text = channel.data.decode("ascii", "replace")
                return Answer(end, text, seconds)

    def _judge_stall(self, elapsed: float, request: Request) -> bytes:
        """Return what to do with a child that has run for so many wall seconds.

        One that slept for several times its processor time ends; one that waited for a
        processor goes on.
        """
        waited, allowed = self._seconds_in_queue(), STALL * request.cpu_seconds
        if waited is None:
            return GIVE_UP if elapsed >= allowed * request.patience else KEEP_ON
        return STOP if elapsed - waited >= allowed else KEEP_ON

    def _seconds_in_queue(self) -> float | None:
        """Return how long the present child waited for a processor; None if unknown."""
        process = self._process
        if process is None:
            return None
        family = [process.pid]
        try:
            # Below the launcher, if there is one, stands the zygote.
            while below := _children(family[-1]):
                family.append(below[-1])
            text = pathlib.Path(f"/proc/{family[-1]}/schedstat").read_text()
            return int(text.split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            self.knows_queues = False
            return None


def _children(pid: int) -> list[int]:
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


class _Channel:
    """The trainer's end of a child's socket: what is left to send, what came back."""

    def __init__(self, ours: socket.socket, body: bytes):
        self.socket, self._body = ours, memoryview(body)
        self.data = bytearray()
        self.finished = self.flooded = False
        ours.setblocking(False)

    @property
    def events(self) -> int:
        """Events to wait for."""
        return select.POLLIN | (select.POLLOUT if self._body else 0)

    def write(self) -> None:
        """Send as much of the job as there is room for."""
        with contextlib.suppress(BlockingIOError):
            while self._body:
                try:
                    self._body = self._body[self.socket.send(self._body) :]
                except ConnectionError:  # the child has closed its end
                    self._body = self._body[:0]

    def move(self, most: int) -> bool:
        """Send and receive without waiting; return False if nothing has come."""
        self.write()
        try:
            part = self.socket.recv(1 << 16)
        except BlockingIOError:
            return False
        except ConnectionError:
            part = b""
        self.data += part
        self.flooded = len(self.data) > most
        self.finished = not part or self.flooded
        if self.flooded:
            self.data.clear()
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)  # the child's next write fails
        return bool(part)

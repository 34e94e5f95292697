"""The worker process: forks one child for every program. Started by exec.

Nothing of the package is on its path. It imports common modules and isolates itself
(`lockdown`), then serves its two sockets. Standard input brings requests: limits, and a
descriptor of the child's own socket, on which the child reads its job and answers.
Standard output carries how children ended: see `worker`.

Children inherit this process's memory, so it never reads a job or an answer.
"""

import contextlib
import gc
import importlib
import importlib.util
import json
import math
import os
import pathlib
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, BinaryIO

# Modules that programs import most: children find them loaded.
WARM = (
    "array bisect cmath collections copy datetime decimal fractions functools heapq "
    "itertools math operator random re statistics string typing"
).split()
# A first compile costs a child half a millisecond unless its parent has compiled.
REHEARSAL = {
    "token": "",
    "setup": "",
    "code": "def f(x):\n    return [x, 0.5]",
    "tests": [[["ask", "f('a')", "sorted(_)", False]], [["run", "assert not f(1)"]]],
    "output_bytes": 1000,
}
REQUEST = struct.Struct("=ddI")  # wall seconds, processor seconds, MiB
REPORT = struct.Struct("=cd")  # one of the letters below, seconds
ENDED, USED_UP, TOO_LONG, STALLED = b"E", b"U", b"L", b"S"
KEEP_ON, STOP, GIVE_UP = b"k", b"s", b"g"  # the answers to STALLED
CLOSED = b"C"  # the trainer has gone
REHEARSALS = 24  # Python 3.12 goes on changing its heap for some requests
TICK = 0.001  # seconds, the shortest wait for a child's clock
STALL = 4  # times the processor time: a program that takes longer may be asleep
KILL = signal.SIGKILL


def sibling(name: str) -> Any:
    """Import a module of this folder, without the package around it."""
    path = pathlib.Path(__file__).with_name(name + ".py")
    spec = importlib.util.spec_from_file_location(f"sandbox_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


child, encode, seccomp, lockdown, probe = map(
    sibling, ("child", "encode", "seccomp", "lockdown", "probe")
)


def main() -> None:
    """Isolate this process, then serve requests until standard input ends."""
    without = tuple(filter(None, "".join(sys.argv[1:2]).split(",")))
    if "linux" in without:
        lockdown.LINUX = False
    if lockdown.fix_addresses():
        os.execv(sys.executable, sys.orig_argv)  # it holds for new programs only
    project, reach = None, lockdown.NOWHERE
    if len(sys.argv) > 2:
        project = sibling("project_child").WarmProject(sys.argv[2])
        reach = lockdown.Reach(project.folder, tuple(project.readable()))
    sys.argv = ["program"]
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    layers = lockdown.separate(without, reach)
    launcher = fork_init() if layers["pids"] == "" else None
    requests = socket.socket(fileno=os.dup(0))
    reports = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    sys.dont_write_bytecode = True
    for name in WARM:
        importlib.import_module(name)
    json.loads(json.dumps(child.run_job(REHEARSAL, encode)))
    if project is not None:
        project.warm()
    # Sent now, since a worker may not send descriptors later.
    rehearsals, *ends = send_rehearsals()
    zygote = Zygote(layers, without, (requests, reports), project, reach)
    if launcher is not None:
        # Programs may signal process 1 of their namespace, where it has a handler.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        lockdown.die_with_parent()  # not before: a change of user undoes it
        poll = select.poll()
        poll.register(launcher, select.POLLIN)
        if poll.poll(0):
            return  # the launcher, which holds the other end, has ended already
    gc.collect()
    gc.freeze()  # children then do not copy pages just to look for garbage
    zygote.rehearse(rehearsals)
    for each in (rehearsals, *ends):
        each.close()
    while zygote.serve():
        pass


def send_rehearsals() -> list[socket.socket]:
    """Return a socket in which requests wait, and other ends to keep open for them."""
    ours, theirs = socket.socketpair()
    sockets = [theirs, ours]
    body = json.dumps(REHEARSAL).encode()
    for _ in range(REHEARSALS):
        near, far = socket.socketpair()
        with far:
            near.sendall(child.HEADER.pack(len(body)) + body)
            socket.send_fds(ours, [REQUEST.pack(10.0, 10.0, 512)], [far.fileno()])
        sockets.append(near)
    return sockets


def fork_init() -> int:
    """Continue in a child, process 1 of the new namespace; the launcher waits for it.

    When process 1 ends, the kernel ends its namespace. The pipe that is returned
    closes at the other end with the launcher.
    """
    reader, writer = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(writer)
        return reader
    os.close(reader)
    os.closerange(0, 3)
    os.waitpid(init, 0)
    os._exit(0)


def end_strays(alone: bool, children: BinaryIO | None) -> None:
    """Kill and reap the processes that a program has left behind.

    Args:
      alone: No other processes are in the namespace.
      children: The system's list of this process's children, if there is one.
    """
    if alone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, KILL)
    with contextlib.suppress(ChildProcessError):
        while alone or children:
            if os.waitpid(-1, 0 if alone else os.WNOHANG)[0] or not children:
                continue
            children.seek(0)
            for stray in children.read().split():
                os.kill(int(stray), KILL)
            os.waitpid(-1, 0)


class Zygote:
    """The isolated process that runs programs in children and watches them."""

    def __init__(
        self,
        layers: dict[str, str],
        without: tuple[str, ...],
        ends: tuple[socket.socket, int],
        project: Any = None,
        reach: Any = None,
    ):
        self._requests, self._reports = ends
        self._project = project
        self._alone = layers["pids"] == ""  # with its children in its namespace
        self._children = None
        if lockdown.LINUX and not self._alone:
            lockdown.adopt_orphans()
            # Opened now, since nothing below /proc may be opened later.
            path = f"/proc/self/task/{os.getpid()}/children"
            with contextlib.suppress(OSError):
                self._children = open(path, "rb", buffering=0)
        read_only = project is not None and layers["mounts"] == ""

        def calls() -> bytes:
            return seccomp.worker_filter(files=project is not None, modes=read_only)

        reach = reach or lockdown.NOWHERE
        self._layers = layers | lockdown.drop(without, calls, reach)
        self._hooks = "hooks" not in without
        self._without = without
        self._wakeup, end = os.pipe()  # a child's end wakes the wait for it
        for fd in (self._wakeup, end):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)

    def rehearse(self, requests: socket.socket) -> None:
        """Serve requests of its own: the first one leaves marks on the heap."""
        served = self._requests, self._reports
        reader, self._reports = os.pipe()
        self._requests = requests
        for _ in range(REHEARSALS):
            self.serve()
        for fd in (reader, self._reports):
            os.close(fd)
        self._requests, self._reports = served

    def serve(self) -> bool:
        """Serve the next request; return False if the trainer has gone."""
        try:
            head, fds, _, _ = socket.recv_fds(self._requests, REQUEST.size, 1)
        except ConnectionError:
            return False
        if len(head) < REQUEST.size or not fds:
            return False
        wall, cpu, memory_mb = REQUEST.unpack(head)
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                if not self._alone:
                    lockdown.die_with_parent()
                    if os.getppid() != zygote:
                        os._exit(1)  # it died before the call above
                self._run_child(fds[0], cpu, memory_mb)
            finally:
                os._exit(1)
        os.close(fds[0])
        end, reaped = self._watch(pid, wall, cpu)
        if end == CLOSED:
            return False
        if reaped is None:
            # The group may not exist yet.
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(pid, KILL)
            reaped = os.wait4(pid, 0)[1:]
        end_strays(self._alone, self._children)
        status, usage = reaped
        spent = usage.ru_utime + usage.ru_stime
        limited = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
        if end == ENDED and (limited or spent > cpu):
            end = USED_UP
        # Before the report: the next job of a worker that is not clean needs another.
        clean = self._project is None or self._project.clean()
        os.write(self._reports, REPORT.pack(end, spent))
        return clean

    def _run_child(self, fd: int, cpu: float, memory_mb: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        child.settle_addresses()
        # Whole seconds have to do if this process cannot watch the child's clock.
        most = int(cpu) + 2 if lockdown.LINUX else math.ceil(cpu)
        options = {}
        if self._project is not None:
            options = self._project.limits
            memory_mb += self._project.size_mb
        child.confine(most, memory_mb, fd, self._forbid_processes, **options)
        job = child.read_job(fd)
        if "probe" in job:
            child.write_all(fd, probe.attempt(job["probe"]))
        elif "report" in job:
            child.write_all(fd, json.dumps(self._layers).encode() + b"\n")
        elif "files" in job:
            self._project.run(job, fd)
        else:
            child.answer_job(job, fd, self._hooks, encode)

    def _forbid_processes(self) -> None:
        forks, signals = (name not in self._without for name in ("forks", "signals"))
        threads = self._project is not None and lockdown.LINUX
        if forks and not threads:
            child.limit("NPROC", 0, 0)  # does not bind the super-user
        if self._alone:
            # A namespace of its own: there is nobody to signal. To load a filter takes
            # as long as to fork.
            signals, forks = False, forks and (threads or os.getuid() == 0)
        if lockdown.LINUX and (forks or signals):
            with contextlib.suppress(OSError):  # no filter for this machine
                filter_program = seccomp.child_filter(
                    os.getpid(), forks, signals, threads and forks
                )
                lockdown.load_filter(filter_program)

    def _watch(
        self, pid: int, wall: float, cpu: float
    ) -> tuple[bytes, tuple[int, resource.struct_rusage] | None]:
        """Return how a child ended, and its status and usage if it is reaped."""
        started = time.monotonic()
        stall, asked = started + STALL * cpu, False
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        poll.register(self._reports, select.POLLIN)
        poll.register(self._requests, 0)  # reports the end of the file only
        end, reaped = b"", None
        while not end:
            left, now = cpu - self._clock(pid), time.monotonic()
            if left <= 0 or now >= started + wall:
                end = USED_UP if left <= 0 else TOO_LONG
                break
            if now >= stall and not asked:
                os.write(self._reports, REPORT.pack(STALLED, now - started))
                asked = True
            wait = min(left, started + wall - now)
            if not asked:
                wait = min(wait, stall - now)
            ready = dict(poll.poll(max(wait, TICK) * 1000))
            if self._requests.fileno() in ready:
                return CLOSED, None
            if self._wakeup in ready:
                os.read(self._wakeup, 64)
                ended, status, usage = os.wait4(pid, os.WNOHANG)
                if ended:
                    end, reaped = ENDED, (status, usage)
            if asked and self._reports in ready:
                asked, answer = False, os.read(self._reports, 1)
                stall = time.monotonic() + cpu / 4
                if answer != KEEP_ON:
                    end = {STOP: USED_UP, GIVE_UP: TOO_LONG}.get(answer, CLOSED)
        if asked and end != CLOSED:
            os.read(self._reports, 1)  # the answer must not meet the next child
        return end, reaped

    def _clock(self, pid: int) -> float:
        """Return the processor seconds of a child so far; 0 where nobody knows."""
        if not lockdown.LINUX:
            return 0.0  # the limit of the child itself has to do
        return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3)


if __name__ == "__main__":
    main()

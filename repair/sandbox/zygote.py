"""The worker process: forks one child for every few programs. Started by exec.

Nothing of the package is on its path. It imports common modules, isolates itself
(`lockdown`), then serves requests of `repair.sandbox.worker`: standard input and output
carry frames of four bytes of length, big-endian, and JSON.

Children inherit this process's memory, so it never holds an expected value.
"""

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import pathlib
import resource
import select
import signal
import struct
import sys
import time
import types

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
    "tests": [["value", "", ["f('a')"]], ["exec", "assert not f(1)", []]],
    "limits": {"output_bytes": 1000},
}
TICK = 0.001  # seconds, the shortest wait for a child's clock
KILL = signal.SIGKILL


def sibling(name: str) -> types.ModuleType:
    """Import a module of this folder, without the package around it."""
    path = pathlib.Path(__file__).with_name(name + ".py")
    spec = importlib.util.spec_from_file_location(f"sandbox_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


child, seccomp, lockdown, probe = map(
    sibling, ("child", "seccomp", "lockdown", "probe")
)


def main() -> None:
    """Isolate this process, then serve requests until standard input ends."""
    without = tuple(sys.argv[1].split(",")) if len(sys.argv) > 1 else ()
    sys.argv = ["program"]
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    layers = lockdown.separate(without)
    launcher = fork_init() if layers["pids"] == "" else None
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    sys.dont_write_bytecode = True
    for name in WARM:
        importlib.import_module(name)
    json.loads(json.dumps(child.run_job(REHEARSAL)))
    zygote = Zygote(layers, without)
    if launcher is not None:
        lockdown.die_with_parent()  # not before: a change of user undoes it
        poll = select.poll()
        poll.register(launcher, select.POLLIN)
        if poll.poll(0):
            return  # the launcher, which holds the other end, has ended already
    gc.collect()
    gc.freeze()  # children then do not copy pages just to look for garbage
    while (request := read_frame(requests)) is not None:
        for batch in request["batches"]:
            answer = zygote.run(batch, request["limits"], requests)
            if answer["end"] == "closed":
                return
            write_frame(answers, answer)


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


class Zygote:
    """The isolated process that runs programs in children."""

    def __init__(self, layers: dict[str, str], without: tuple[str, ...]):
        self._alone = layers["pids"] == ""  # with its children in its namespace
        fork_filter = b""
        with contextlib.suppress(OSError):  # no filter for this machine
            fork_filter = seccomp.fork_filter()
        if not self._alone and sys.platform == "linux":
            lockdown.adopt_orphans()
            # Opened now, since nothing below /proc may be opened later.
            path = f"/proc/self/task/{os.getpid()}/children"
            self._children = open(path, "rb", buffering=0)
        self._layers = layers | lockdown.drop(without, seccomp.worker_filter)
        self._hooks = "hooks" not in without
        self._forbid_forks = child.forbid_processes
        if "forks" in without:
            self._forbid_forks = lambda: None
        elif os.getuid() == 0 and fork_filter:
            self._forbid_forks = lambda: lockdown.load_filter(fork_filter)

    def run(self, jobs: list[dict], limits: dict, requests: int) -> dict:
        """Run programs in one child; return {"end", "text", "seconds", "last"}.

        "end" is "answered", "timeout", "flood", "died" or, when the trainer has gone,
        "closed". "text" is the child's output, not to be trusted: a line for each
        program up to the one that ended it. "seconds" is the processor time of all
        programs, "last" the time after the last line. {"report"} in place of a job
        asks for the reasons why layers are missing.
        """
        if "report" in jobs[0]:
            text = json.dumps(self._layers)
            return {"end": "answered", "text": text, "seconds": 0.0, "last": 0.0}
        allowed = [job["limits"]["cpu_seconds"] for job in jobs]
        zygote = os.getpid()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if not self._alone:
                    lockdown.die_with_parent()
                    if os.getppid() != zygote:
                        os._exit(1)  # it died before the call above
                child.confine(limits, sum(allowed), writer, self._forbid_forks)
                if "probe" in jobs[0]:
                    for job in jobs:
                        child.write_all(writer, probe.attempt(job["probe"]))
                else:
                    child.serve(jobs, writer, self._hooks)
            finally:
                os._exit(1)
        try:
            os.close(writer)
            end, text, before = collect(pid, reader, requests, limits, allowed)
        finally:
            status, usage = self._end(pid)
            os.close(reader)
        spent = usage.ru_utime + usage.ru_stime
        if end == "answered" and text.count("\n") < len(jobs):
            limited = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
            end = "timeout" if limited or spent > sum(allowed) else "died"
        return {"end": end, "text": text, "seconds": spent, "last": spent - before}

    def _end(self, pid: int) -> tuple[int, resource.struct_rusage]:
        """Kill and reap a child and its descendants; return its status and usage."""
        if self._alone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, KILL)  # all of the namespace but this process
            _, status, usage = os.wait4(pid, 0)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)
            return status, usage
        for kill in (os.killpg, os.kill):
            # Without a group yet, or ended.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(pid, KILL)
        _, status, usage = os.wait4(pid, 0)
        with contextlib.suppress(ChildProcessError):
            while True:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
                self._children.seek(0)
                for stray in self._children.read().split():
                    os.kill(int(stray), KILL)
                os.waitpid(-1, 0)
        return status, usage


def collect(
    pid: int, reader: int, requests: int, limits: dict, allowed: list[float]
) -> tuple[str, str, float]:
    """Return (end, text, processor seconds at the last line) of a child's pipe.

    After each line the next program has its own time, of the processor (`allowed`,
    by program) and of the wall.
    """
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(requests, 0)  # reports the end of the file only
    clock = ~pid << 3 | 2  # the process's processor time, as clock_getcpuclockid(3)
    most = 8 * limits["output_bytes"] * len(allowed)
    data = bytearray()
    lines, spent, deadline = 0, 0.0, time.monotonic() + limits["seconds"]
    while True:
        left = spent + allowed[min(lines, len(allowed) - 1)] - time.clock_gettime(clock)
        wait = min(max(left, TICK), deadline - time.monotonic())
        ready = dict(poll.poll(max(wait, 0) * 1000))
        if requests in ready:
            return "closed", "", spent
        if not ready:
            if left <= 0 or time.monotonic() >= deadline:
                return "timeout", data.decode("ascii", "replace"), spent
            continue
        part = os.read(reader, 65536)
        data += part
        if len(data) > most:
            return "flood", "", spent
        if b"\n" in part:
            lines += part.count(b"\n")
            spent = time.clock_gettime(clock)
            deadline = time.monotonic() + limits["seconds"]
        # After its last line a child has ended, though others may hold the pipe open.
        if not part or lines >= len(allowed) and data.endswith(b"\n"):
            return "answered", data.decode("ascii", "replace"), spent


def read_exactly(fd: int, count: int) -> bytes:
    """Read `count` bytes, or fewer at the end of the file."""
    parts = []
    while count and (part := os.read(fd, min(count, 1 << 20))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_frame(fd: int) -> dict | None:
    """Read one decoded frame, or None at the end of the file."""
    head = read_exactly(fd, 4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack(">I", head)
    body = read_exactly(fd, size)
    return json.loads(body) if len(body) == size else None


def write_frame(fd: int, value: object) -> None:
    """Write one frame whole."""
    body = json.dumps(value).encode()
    child.write_all(fd, struct.pack(">I", len(body)) + body)


if __name__ == "__main__":
    main()

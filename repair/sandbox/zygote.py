"""Worker process: forks one child for every few programs. Started by exec.

Runs with nothing of the package on its path. It warms up, gives up its rights
(`lockdown`), then serves requests: standard input and output carry frames, four bytes
of length, big-endian, then JSON. See `repair.sandbox.worker` for who speaks.

The children inherit this process's heap, so it never holds an expected value.
"""

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import pathlib
import select
import signal
import struct
import sys
import time

# What programs import most: a child then finds it loaded.
WARM = (
    "array bisect cmath collections copy datetime decimal fractions functools heapq "
    "itertools math operator random re statistics string typing"
).split()
# A first compile costs a child half a millisecond if its parent has never compiled.
REHEARSAL = {
    "token": "",
    "setup": "",
    "code": "def f(x):\n    return [x, 0.5]",
    "tests": [["value", "", ["f('a')"]], ["exec", "assert not f(1)", []]],
    "limits": {"output_bytes": 1000},
}
SIGNALS_OF_LIMITS = (signal.SIGXCPU,)
TICK = 0.001  # seconds, the shortest wait for a child's clock
KILL = signal.SIGKILL


def sibling(name: str):
    """A module beside this file, without the package around it."""
    path = pathlib.Path(__file__).with_name(name + ".py")
    spec = importlib.util.spec_from_file_location(f"sandbox_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


child, seccomp, lockdown, probe = map(
    sibling, ("child", "seccomp", "lockdown", "probe")
)


def main() -> None:
    """Locks itself in, then serves requests until standard input ends."""
    without = tuple(sys.argv[1].split(",")) if len(sys.argv) > 1 else ()
    sys.argv = ["program"]
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    layers = lockdown.separate(without)
    launcher = wait_for_init() if layers["pids"] == "" else None
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    sys.dont_write_bytecode = True
    for name in WARM:
        importlib.import_module(name)
    json.loads(json.dumps(child.judge(REHEARSAL)))
    zygote = Zygote(layers, without)
    if launcher is not None:
        lockdown.die_with_parent()  # not before: a change of user undoes it
        if has_ended(launcher):
            return
    gc.collect()
    gc.freeze()  # children then do not copy pages just to look for garbage
    while (request := read_frame(requests)) is not None:
        for answer in zygote.answers(request, requests):
            if answer["end"] == "closed":
                return
            write_frame(answers, answer)


def wait_for_init() -> int:
    """Goes on in a child, process 1 of the new namespace; waits for it here.

    When process 1 ends, the system ends all that its namespace holds.

    Returns:
      A descriptor at whose other end the waiting process sits.
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


def has_ended(pipe: int) -> bool:
    """Whether nobody is left at the other end of a pipe that nobody writes to."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(0))


class Zygote:
    """The locked process, and how it runs programs in children."""

    def __init__(self, layers: dict[str, str], without: tuple[str, ...]):
        self._alone = layers["pids"] == ""  # with its children in its namespace
        fork_filter = self._fork_filter()
        if not self._alone and sys.platform == "linux":
            lockdown.adopt_orphans()
            # Opened now, since nothing below /proc may be opened later.
            path = f"/proc/self/task/{os.getpid()}/children"
            self._children = open(path, "rb", buffering=0)
        self.layers = layers | lockdown.drop(without, seccomp.worker_filter)
        self._hooks = "hooks" not in without
        self._forbid_forks = child.forbid_processes
        if "forks" in without:
            self._forbid_forks = lambda: None
        elif os.getuid() == 0 and fork_filter:
            self._forbid_forks = lambda: lockdown.load_filter(fork_filter)

    def _fork_filter(self) -> bytes:
        try:
            return seccomp.fork_filter()
        except OSError:
            return b""

    def answers(self, request: dict, requests: int):
        """The answers to a request, one for each batch of programs."""
        if "batches" not in request:
            yield {"end": "report", "layers": self.layers}
            return
        for batch in request["batches"]:
            yield self.run(batch, request["limits"], requests)

    def run(self, jobs: list[dict], limits: dict, requests: int) -> dict:
        """Runs programs in one child: {"end", "text", "seconds", "last"}.

        "seconds" is the processor time of all, "last" of what came after the last line.

        "end" is "answered", "timeout", "flood", "died" or, when nobody waits for the
        answer any more, "closed"; "text" is what the child wrote, not to be trusted: a
        line for each program up to the one that ended it.
        """
        allowed = [job["limits"]["cpu_seconds"] for job in jobs]
        zygote = os.getpid()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if not self._alone:
                    lockdown.die_with_parent()
                    if os.getppid() != zygote:
                        os._exit(1)  # it died before it could have told
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
            status, usage = self._bury(pid)
            os.close(reader)
        spent = usage.ru_utime + usage.ru_stime
        if end == "answered" and text.count("\n") < len(jobs):
            limited = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (
                SIGNALS_OF_LIMITS
            )
            end = "timeout" if limited or spent > sum(allowed) else "died"
        return {"end": end, "text": text, "seconds": spent, "last": spent - before}

    def _bury(self, pid: int):
        """Kills and reaps a child and all that it left; its wait status and usage."""
        if self._alone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, KILL)  # all of the namespace but this process
            _, status, usage = os.wait4(pid, 0)
            while True:
                try:
                    os.waitpid(-1, 0)
                except ChildProcessError:
                    return status, usage
        for kill in (os.killpg, os.kill):
            try:
                kill(pid, KILL)
            except (ProcessLookupError, PermissionError):
                continue  # it has no group yet, or has ended
        _, status, usage = os.wait4(pid, 0)
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            except ChildProcessError:
                return status, usage
            self._children.seek(0)
            for stray in self._children.read().split():
                os.kill(int(stray), KILL)
            os.waitpid(-1, 0)


def collect(
    pid: int, reader: int, requests: int, limits: dict, allowed: list[float]
) -> tuple[str, str, float]:
    """Reads a child's pipe until all lines are there, too late, or too much.

    Each line gives the next program its own time, of the processor and of the wall;
    `allowed` holds the former for each program.

    Returns:
      (end, text, processor seconds at the last line).
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
        if not part:
            return "answered", data.decode("ascii", "replace"), spent
        if part.count(b"\n"):
            lines += part.count(b"\n")
            spent, deadline = (
                time.clock_gettime(clock),
                time.monotonic() + limits["seconds"],
            )
        # After its last line the child is done, whatever else holds the pipe open.
        if lines >= len(allowed) and data.endswith(b"\n"):
            return "answered", data.decode("ascii", "replace"), spent


def read_exactly(fd: int, count: int) -> bytes:
    """`count` bytes, or fewer at the end of the file."""
    parts = []
    while count and (part := os.read(fd, min(count, 1 << 20))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_frame(fd: int):
    """One decoded frame, or None at the end of the file."""
    head = read_exactly(fd, 4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack(">I", head)
    body = read_exactly(fd, size)
    return json.loads(body) if len(body) == size else None


def write_frame(fd: int, value) -> None:
    """Writes one frame whole."""
    body = json.dumps(value).encode()
    child.write_all(fd, struct.pack(">I", len(body)) + body)


if __name__ == "__main__":
    main()

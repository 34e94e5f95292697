"""Worker process: forks one child for every program. Started by exec, never imported.

Runs under `python -S -s -P` with nothing of the package on its path. Standard input
is a socket that carries frames both ways: four bytes of length, big-endian, then
JSON. A request is a list of jobs, answered by one frame each, in order; see
`repair.env.sandbox.pool`. When the socket ends, so do the child and the worker.

The children inherit this process's heap, so it never holds an expected value.
"""

import bisect  # noqa: F401  what programs import is here already
import cmath  # noqa: F401
import collections  # noqa: F401
import gc
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import os
import re  # noqa: F401
import resource
import select
import signal
import struct
import sys
import time

MAX_DEPTH = 50
NODE_BYTES = 16  # of a value's encoding, apart from its digits or characters
MESSAGE_CHARS = 200
TIME_SIGNALS = (signal.SIGPROF, signal.SIGXCPU, signal.SIGALRM)
LIBRARY = os.path.realpath(os.path.dirname(os.__file__)) + os.sep
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
FORBIDDEN = frozenset(
    """
    os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system pty.spawn
    subprocess.Popen os.kill os.killpg signal.pthread_kill resource.setrlimit
    resource.prlimit ctypes.dlopen ctypes.dlsym socket.__new__ os.chflags os.chmod
    os.chown os.link os.lockf os.mkdir os.putenv os.remove os.removexattr os.rename
    os.rmdir os.setxattr os.symlink os.truncate os.unsetenv os.utime
    """.split()
)


class Forbidden(PermissionError):
    """The program tried what no repair needs."""


class OutputTooLarge(Exception):
    """The values of the tests exceed the limit."""


def main() -> None:
    """Serves requests until the socket ends."""
    memory_mb, folder = json.loads(sys.argv[1])
    control = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    # A folder that is gone: programs stand in it, and can leave nothing there.
    here = os.path.join(folder, str(os.getpid()))
    os.mkdir(here)
    os.chdir(here)
    os.rmdir(here)
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    if sys.platform == "linux":  # others refuse it
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20,) * 2)
    gc.collect()
    gc.freeze()  # children then do not copy pages just to look for garbage
    write_frame(control, "ready")
    while (jobs := read_frame(control)) is not None:
        for job in jobs:
            write_frame(control, run(job, control))


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
    write(fd, struct.pack(">I", len(body)) + body)


def write(fd: int, data: bytes) -> None:
    """Writes all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def run(job: dict, control: int) -> dict:
    """Runs a job in a child: {"end", "text", "seconds"}.

    "end" is "answered", "timeout", "flood" or "died"; "text" is what the child
    wrote, which the parent does not trust.
    """
    limits = job["limits"]
    started = time.monotonic()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(job, writer)
        finally:
            os._exit(1)
    os.close(writer)
    deadline = started + limits["seconds"]
    end, text = collect(reader, control, deadline, 4 * limits["output_bytes"] + 65536)
    os.close(reader)
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended already, or has not yet made its group
    _, status = os.waitpid(pid, 0)
    if end == "hung up":
        sys.exit()
    if end == "answered" and not text:
        late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in TIME_SIGNALS
        end = "timeout" if late else "died"
    return {"end": end, "text": text, "seconds": time.monotonic() - started}


def collect(fd: int, control: int, deadline: float, most: int) -> tuple[str, str]:
    """Reads a child's pipe until its line or it ends, too late, or too much."""
    data = b""
    while True:
        left = max(deadline - time.monotonic(), 0)
        ready, _, _ = select.select([fd, control], [], [], left)
        if control in ready:  # no request comes before the last is answered
            return "hung up", ""
        if not ready:
            return "timeout", ""
        part = os.read(fd, 65536)
        data += part
        if len(data) > most:
            return "flood", ""
        if not part or data.endswith(b"\n"):  # whatever holds the pipe open
            return "answered", data.decode("utf-8", "replace")


def child(job: dict, writer: int) -> None:
    """Limits itself, runs the program and the tests, writes one line of JSON."""
    os.setsid()
    out = os.dup2(writer, job["descriptor"], False)
    os.closerange(3, out)
    limits = job["limits"]
    cpu = int(limits["cpu_seconds"]) + 1
    # These clocks kill the child even if the worker has died.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    signal.setitimer(signal.ITIMER_PROF, limits["cpu_seconds"])
    signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
    sys.addaudithook(guard)
    write(out, (json.dumps(judge(job)) + "\n").encode())
    os._exit(0)


def guard(event: str, arguments: tuple) -> None:
    """An audit hook: nothing but computing and reading the standard library."""
    if event == "open":
        path, _, flags = arguments
        reads = isinstance(path, str) and os.path.isabs(path) and not flags & WRITING
        if not (reads and os.path.realpath(path).startswith(LIBRARY)):
            raise Forbidden("open")
    elif event in FORBIDDEN:
        raise Forbidden(event)


def judge(job: dict) -> dict:
    """Loads the program and evaluates the tests, in the child."""
    scope = {"__name__": "program", "__builtins__": __builtins__}
    answer = {"token": job.pop("token"), "tests": []}
    failure = load(job, scope)
    if failure:
        return answer | failure
    budget = [job["limits"]["output_bytes"]]
    for kind, source in job["tests"]:
        try:
            if kind == "value":
                value = eval(compile(source, "<test>", "eval"), scope)
                outcome = {"value": encode(value, budget)}
            else:
                exec(compile(source, "<test>", "exec"), scope)
                outcome = {"held": True}
        except BaseException as error:
            outcome = {"fault": fault(error)}
        answer["tests"].append(outcome)
    return answer


def load(job: dict, scope: dict) -> dict | None:
    """Runs setup and program; what went wrong, if anything did."""
    setup, again = job["setup"], False
    where = "compile"
    try:
        code = compile(job["code"], "<code>", "exec")
        if setup:
            try:
                exec(setup, scope)
            except Exception:
                again = True  # perhaps it uses what the program defines
        where = "code"
        exec(code, scope)
        if again:
            where = "setup"
            exec(setup, scope)
    except BaseException as error:
        return {"load": fault(error), "where": where}
    return None


def fault(error: BaseException) -> dict:
    """An exception as {"type", "message", "line"}, the line being the program's."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<code>":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == "<code>":
        line = error.lineno
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        message = str(message)[:MESSAGE_CHARS]
    except BaseException:
        message = ""  # the program's own __str__ failed
    return {"type": type(error).__name__, "message": message, "line": line}


def encode(value, budget: list, depth: int = 0):
    """A tagged form of plain types; anything else becomes opaque.

    Of a subclass of a container counts the content, as the container holds it.
    """
    kind = type(value)
    budget[0] -= NODE_BYTES
    if kind is str or kind is bytes:
        budget[0] -= len(value)
    elif kind is int:
        budget[0] -= value.bit_length() // 4
    if budget[0] < 0:
        raise OutputTooLarge
    if value is None:
        return ["none"]
    if kind is bool or kind is str:
        return [kind.__name__, value]
    if kind is int:
        return ["int", hex(value)]
    if kind is float:
        return ["float", value.hex()]
    if kind is complex:
        return ["complex", value.real.hex(), value.imag.hex()]
    if kind is bytes:
        return ["bytes", value.hex()]
    if depth < MAX_DEPTH:
        for base in (list, tuple, set, frozenset):
            if base in kind.__mro__:
                items = base.__iter__(value)
                return [base.__name__, [encode(x, budget, depth + 1) for x in items]]
        if dict in kind.__mro__:
            pairs = dict.items(value)
            return ["dict", [[encode(x, budget, depth + 1) for x in p] for p in pairs]]
    return ["opaque", kind.__name__]


if __name__ == "__main__":
    main()

"""The code of a forked child: set its limits, run programs, write their answers.

It imports the standard library only. Each program's answer is one line of JSON,
written as soon as it has ended.
"""

import builtins
import collections
import gc
import json
import os
import random
import re
import resource
import sys
import types
from collections.abc import Callable, Container
from typing import Any

STANDARD = 3  # standard input, output and error
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
MAX_DEPTH = 50  # of nested values
# Frames above `serve`, whatever calls it: the depth decides on a recursion's message.
FRAMES = 995
MAX_MESSAGE = 1000  # characters
NODE_BYTES = 16  # cost of a value apart from its characters
MAX_DESCRIPTORS = 32
DICTS = (dict, collections.Counter, collections.OrderedDict, collections.defaultdict)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = frozenset(
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system os.startfile "
    "pty.spawn subprocess.Popen os.kill os.killpg signal.pthread_kill "
    "resource.setrlimit resource.prlimit socket.__new__ "
    "os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod "
    "os.chown os.chflags os.utime os.setxattr os.removexattr os.chdir shutil.rmtree "
    "shutil.move syslog.openlog mmap.__new__ sys.setprofile sys.settrace".split()
)


class Forbidden(PermissionError):
    """A program tried something that programs may not do."""


class TooLarge(Exception):
    """The values of the tests exceed the limit of an answer."""


def confine(
    limits: dict, cpu_seconds: float, writer: int, forbid_forks: Callable
) -> None:
    """Set the limits of this child; the isolation is inherited.

    Args:
      limits: The limits of each of its programs.
      cpu_seconds: Processor time of all its programs together.
      writer: The pipe for answers, the only descriptor kept open above the standard
        ones, which lead to /dev/null.
      forbid_forks: Forbids new processes and threads.
    """
    os.setsid()
    os.closerange(STANDARD, writer)
    os.closerange(writer + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    forbid_forks()
    memory, cpu = limits["memory_mb"] << 20, int(cpu_seconds) + 2
    limit(resource.RLIMIT_AS, memory, memory)
    # A backstop: the zygote watches this child's clock.
    limit(resource.RLIMIT_CPU, cpu, cpu + 1)
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        limit(kind, 0, 0)
    limit(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS, MAX_DESCRIPTORS)
    limit(resource.RLIMIT_MSGQUEUE, 0, 0)


def forbid_processes() -> None:
    """Forbid new processes and threads; has no effect on the super-user."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def serve(jobs: list[dict], writer: int, hooks: bool) -> None:
    """Run every program with globals and builtins of its own."""
    if hooks:
        sys.addaudithook(make_hook(FORBIDDEN))
    depth = FRAMES
    frame: types.FrameType | None = sys._getframe()
    while frame:
        depth, frame = depth + 1, frame.f_back
    for job in jobs:
        random.seed(0)  # a fork reseeds it; equal programs must draw equal numbers
        sys.setrecursionlimit(depth)
        answer = json.dumps(run_job(job)) + "\n"
        write_all(writer, answer.encode("ascii"))
        if len(jobs) > 1:
            gc.collect(0)


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def limit(kind: int, soft: int, hard: int) -> None:
    """Set a limit, unless it is lower already."""
    _, present = resource.getrlimit(kind)
    if present != resource.RLIM_INFINITY:
        soft, hard = min(soft, present), min(hard, present)
    resource.setrlimit(kind, (soft, hard))


def make_hook(forbidden: Container[str]) -> Callable:
    """Return an audit hook; it stops accidents, not programs with machine code."""

    def hook(event: str, arguments: tuple) -> None:
        if event in forbidden or event.startswith("ctypes."):
            raise Forbidden(event)
        if event == "open" and (arguments[2] or 0) & WRITES:
            raise Forbidden("writing files")

    return hook


def run_job(job: dict) -> dict:
    """Load the program and evaluate its tests."""
    answer = {"token": job["token"]}
    scope = {"__name__": "program", "__builtins__": dict(vars(builtins))}
    try:
        failure = load(job["setup"], job["code"], scope)
        if failure:
            return answer | failure
        room = [job["limits"]["output_bytes"]]
        found = [
            test(kind, prelude, sources, scope, room)
            for kind, prelude, sources in job["tests"]
        ]
        return answer | {"tests": found}
    except MemoryError:
        scope.clear()  # makes room for the answer
        return answer | {"memory": True}


def load(setup: str, program: str, scope: dict) -> dict | None:
    """Run setup and program; return {"load", "where"} if one of them fails."""
    where, early = "compile", None
    try:
        code = compile(program, "<code>", "exec")
        try:
            exec(compile(setup, "<setup>", "exec"), scope)
        except Exception as error:
            early = error  # MBPP has setups that use the program's names
        where = "code"
        exec(code, scope)
        if early is not None:
            where = "setup"
            exec(compile(setup, "<setup>", "exec"), scope)
    except MemoryError:
        raise
    except BaseException as error:
        return {"load": fault(error), "where": where}
    return None


def test(kind: str, prelude: str, sources: list, scope: dict, room: list[int]) -> dict:
    """Return the values of a test's expressions, "held", or its exception."""
    try:
        if prelude:
            exec(compile(prelude, "<test>", "exec"), scope)
        if kind == "exec":
            return {"held": True}
        values = [eval(compile(each, "<test>", "eval"), scope) for each in sources]
        return {"values": [encode(value, room) for value in values]}
    except MemoryError:
        raise
    except TooLarge:
        return {"values": [["opaque", "too much"] for _ in sources]}
    except BaseException as error:
        return {"fault": fault(error)}


def fault(error: BaseException) -> dict:
    """Describe an exception as {"type", "message", "line", "forbidden"}."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<code>":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename in ("<code>", "<setup>"):
        line, message = error.lineno, error.msg
    else:
        try:
            message = str(error)
        except BaseException:
            message = "unprintable"  # the program's own __str__ failed
    message = ADDRESS.sub("", str(message)[:MAX_MESSAGE]).split("\n")[0]
    return {
        "type": type(error).__name__,
        "message": message,
        "line": line,
        "forbidden": isinstance(error, PermissionError),
    }


def encode(value: Any, room: list[int], depth: int = 0) -> list:
    """Encode a value of exact plain types with tags; any other becomes opaque.

    The standard library's dicts, such as Counter, count as plain.
    """
    kind = type(value)
    room[0] -= NODE_BYTES
    if kind is int:
        room[0] -= value.bit_length() // 4
    elif kind in (str, bytes):
        room[0] -= len(value)
    if room[0] < 0:
        raise TooLarge
    if value is None:
        return ["none", 0]
    if kind in (bool, str):
        return [kind.__name__, value]
    if kind is int:
        return ["int", hex(value)]
    if kind in (float, bytes):
        return [kind.__name__, value.hex()]
    if kind is complex:
        return ["complex", [value.real.hex(), value.imag.hex()]]
    if depth < MAX_DEPTH:
        if kind in (list, tuple, set, frozenset):
            return [kind.__name__, [encode(item, room, depth + 1) for item in value]]
        if kind in DICTS:
            pairs = dict.items(value)
            coded = [[encode(x, room, depth + 1) for x in pair] for pair in pairs]
            return ["dict", coded]
    return ["opaque", kind.__name__]

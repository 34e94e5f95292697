"""The code of a forked child: set its limits, read its job, run it, write the answer.

It imports the standard library only. A job arrives on the child's own socket, and the
answer is one line of JSON on the same socket. Nobody trusts it: see `verdict`.

A job is {"token", "setup", "code", "tests", "output_bytes"}. A test is a list of steps:
  ["run", statements]                          run them
  ["ask", expression, conversion, or_else]     send a value
A conversion such as "sorted(_, reverse=True)" is applied here, outside of the program's
names, if the value has no plain type. With `or_else`, a failing expression does not end
the test: Python may never evaluate it (`a or b`).
"""

import builtins
import collections
import contextlib
import gc
import json
import os
import random
import re
import resource
import signal
import socket
import struct
import sys
import types
from collections.abc import Callable, Container

STANDARD = 3  # standard input, output and error
HEADER = struct.Struct(">I")  # length of a job
NAME = "program"  # of the module that a program is
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# Frames above `answer_job`, whatever calls it: a recursion's message hangs on them.
FRAMES = 995
MAX_MESSAGE = 1000  # characters
# Python's allocator has a class for every 16 bytes up to 512. Bytes take 33 more than
# their length; smaller places are those of `object()` and of floats.
SIZES = range(1, 512 - 33, 16)
PLACES = 64  # in each class: more than a request takes
TAKEN: list[list] = []
MAX_DESCRIPTORS = 32
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = frozenset(
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system os.startfile "
    "pty.spawn subprocess.Popen os.kill os.killpg signal.pthread_kill "
    "resource.setrlimit resource.prlimit "
    "os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod "
    "os.chown os.chflags os.utime os.setxattr os.removexattr os.chdir shutil.rmtree "
    "shutil.move syslog.openlog mmap.__new__ sys.setprofile sys.settrace".split()
)
# Names of conversions, as they are before any program runs.
PRISTINE = dict(vars(builtins)) | {"Counter": collections.Counter}
BUILTIN_CLASSES = frozenset(x for x in vars(builtins).values() if isinstance(x, type))


class Forbidden(PermissionError):
    """A program tried something that programs may not do."""


def confine(
    cpu_seconds: int,
    memory_mb: int,
    keep: int,
    forbid_processes: Callable,
    *,
    file_bytes: int = 0,
    descriptors: int = MAX_DESCRIPTORS,
) -> None:
    """Set the limits of this child; the isolation is inherited.

    Args:
      cpu_seconds: Processor time after which the kernel ends it.
      memory_mb: Address space in MiB.
      keep: The socket of the job, the only descriptor kept open above the standard
        ones, which lead to /dev/null.
      forbid_processes: Forbids new processes and signals to others.
      file_bytes: Size of a file that it may write.
      descriptors: Number of descriptors.
    """
    os.setsid()
    os.closerange(STANDARD, keep)
    os.closerange(keep + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    forbid_processes()
    limit("AS", memory_mb << 20, memory_mb << 20)
    limit("CPU", cpu_seconds, cpu_seconds + 1)
    for kind in ("CORE", "MEMLOCK", "MSGQUEUE"):
        limit(kind, 0, 0)
    limit("FSIZE", file_bytes, file_bytes)
    limit("NOFILE", descriptors, descriptors)


def limit(name: str, soft: int, hard: int) -> None:
    """Set a limit of this name, if the system has it, unless it is lower already."""
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if kind is None:
        return
    _, present = resource.getrlimit(kind)
    if present != resource.RLIM_INFINITY:
        soft, hard = min(soft, present), min(hard, present)
    with contextlib.suppress(ValueError, OSError):  # macOS knows limits that it refuses
        resource.setrlimit(kind, (soft, hard))


def settle_addresses() -> None:
    """Make the addresses of new objects independent of the requests before.

    The zygote's work on a request permutes the free places of its heap. Take them: what
    is allocated next comes from memory that no request has touched.
    """
    gc.collect()  # empties the interpreter's own lists of free objects
    TAKEN.append([object() for _ in range(PLACES)])
    TAKEN.append([float(number) for number in range(PLACES)])
    for size in SIZES:
        TAKEN.append([bytes(size) for _ in range(PLACES)])


def read_job(fd: int) -> dict:
    """Read the job of this child whole."""
    (size,) = HEADER.unpack(read_exactly(fd, HEADER.size))
    return json.loads(read_exactly(fd, size))


def read_exactly(fd: int, count: int) -> bytes:
    """Read `count` bytes; raise EOFError if there are fewer."""
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def answer_job(job: dict, fd: int, hooks: bool, encoding: types.ModuleType) -> None:
    """Run a job and write its answer."""
    if hooks:
        sys.addaudithook(make_hook(FORBIDDEN))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    depth = FRAMES
    frame: types.FrameType | None = sys._getframe()
    while frame:
        depth, frame = depth + 1, frame.f_back
    random.seed(0)  # a fork reseeds it; equal programs must draw equal numbers
    sys.setrecursionlimit(depth)
    answer = json.dumps(run_job(job, encoding)) + "\n"
    write_all(fd, answer.encode("ascii"))


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def make_hook(forbidden: Container[str]) -> Callable:
    """Return an audit hook; it stops accidents, not programs with machine code."""

    def hook(event: str, arguments: tuple) -> None:
        if event in forbidden or event.startswith("ctypes."):
            raise Forbidden(event)
        if event == "open" and (arguments[2] or 0) & WRITES:
            raise Forbidden("writing files")
        if event == "socket.__new__" and arguments[1] != socket.AF_UNIX:
            raise Forbidden(event)  # asyncio has a pair of local ones

    return hook


def run_job(job: dict, encoding: types.ModuleType) -> dict:
    """Load the program as a module and take the steps of its tests."""
    answer = {"token": job["token"]}
    module = sys.modules[NAME] = types.ModuleType(NAME)
    scope = vars(module)
    try:
        failure = load(job["setup"], job["code"], scope)
        if failure:
            return answer | failure
        room = job["output_bytes"]
        found = [test(steps, scope, room, encoding) for steps in job["tests"]]
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


def test(steps: list, scope: dict, room: int, encoding: types.ModuleType) -> list:
    """Take the steps of a test; return an outcome for each, up to one that fails."""
    outcomes: list[dict] = []
    for step in steps:
        try:
            if step[0] == "run":
                exec(compile(step[1], "<test>", "exec"), scope)
                outcomes.append({})
            else:
                expression, conversion = step[1:3]
                outcomes.append(ask(expression, conversion, scope, room, encoding))
        except MemoryError:
            raise
        except BaseException as error:
            outcomes.append({"fault": fault(error)})
            if step[0] == "run" or not step[3]:
                break
    return outcomes


def ask(
    expression: str,
    conversion: str,
    scope: dict,
    room: int,
    encoding: types.ModuleType,
) -> dict:
    """Return {"value"}; "converted" is True if the conversion has been applied.

    A plain value is converted outside of this process.
    """
    value = eval(compile(expression, "<test>", "eval"), scope)
    left = [room, 0]
    try:
        sent = encoding.encode(value, left)
        if not conversion or not left[1]:
            return {"value": sent, "converted": False}
        value = eval(compile(conversion, "<test>", "eval"), PRISTINE | {"_": value})
        return {"value": encoding.encode(value, [room, 0]), "converted": True}
    except encoding.TooLarge:
        return {"value": {"opaque": ["too much", True]}, "converted": True}


def fault(error: BaseException) -> dict:
    """Describe an exception as {"type", "message", "line", "forbidden", "builtins"}.

    "builtins" names the built-in classes that it is an instance of.
    """
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
    kind = type(error)
    return {
        "type": kind.__name__,
        "message": message,
        "line": line,
        "forbidden": isinstance(error, PermissionError),
        "builtins": [k.__name__ for k in kind.__mro__ if k in BUILTIN_CLASSES],
    }

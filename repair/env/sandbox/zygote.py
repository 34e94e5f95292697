"""Worker process: forks one child for every program. Started by exec, never imported.

Runs with nothing of the package on its path. Standard input and output carry
frames: four bytes of length, big-endian, then JSON. A request is a list of jobs,
answered by one frame each, in order; see `repair.env.sandbox.worker`.

The children inherit this process's heap, so it never holds an expected value.
"""

import collections
import gc
import importlib
import json
import os
import random
import re
import resource
import select
import signal
import struct
import sys
import time

# What programs import most: a child then finds it loaded.
WARM = (
    "array bisect cmath collections copy datetime functools heapq itertools math "
    "operator string typing"
).split()
# A first compile costs a child half a millisecond if its parent has never compiled.
REHEARSAL = {
    "token": "",
    "setup": "",
    "code": "def f(x):\n    return [x, 0.5]",
    "tests": [["value", "f('a')"], ["exec", "assert not f(1)"]],
    "limits": {"output_bytes": 1000},
}
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
MAX_DEPTH = 50  # of nested values
MAX_MESSAGE = 1000  # characters
NODE_BYTES = 16  # what a value costs beside its characters
TIME_SIGNALS = (signal.SIGPROF, signal.SIGXCPU)
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
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KILL = int(signal.SIGKILL)


class Forbidden(PermissionError):
    """The program tried something that programs may not do."""


class TooLarge(Exception):
    """The values of the tests do not fit the answer."""


def main() -> None:
    """Serves requests until standard input ends or SIGTERM comes."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    sys.dont_write_bytecode = True
    sys.argv = ["program"]
    prctl = load_prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a child leaves behind comes to us
    for name in WARM:
        importlib.import_module(name)
    json.loads(json.dumps(judge(REHEARSAL)))
    gc.collect()
    gc.freeze()  # children then do not copy pages just to look for garbage
    while (jobs := read_frame(requests)) is not None:
        for job in jobs:
            answer = run(job, requests, answers, prctl)
            if answer["end"] == "closed":
                return
            write_frame(answers, answer)


def load_prctl():
    """Linux's prctl, elsewhere a function that does nothing."""
    if sys.platform != "linux":
        return lambda option, value: 0
    import ctypes

    return ctypes.CDLL(None).prctl


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
    write_all(fd, struct.pack(">I", len(body)) + body)


def write_all(fd: int, data: bytes) -> None:
    """Writes all bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def run(job: dict, requests: int, answers: int, prctl) -> dict:
    """Runs a job in a child: {"end", "text", "seconds"}.

    "end" is "answered", "timeout", "flood", "died" or, when nobody waits for the
    answer any more, "closed"; "text" is what the child wrote, not to be trusted.
    """
    limits, started, zygote = job["limits"], time.monotonic(), os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_PDEATHSIG, KILL)
            if os.getppid() != zygote:
                os._exit(1)  # it died before it could have told
            for fd in (reader, requests, answers):
                os.close(fd)
            child(job, writer)
        finally:
            os._exit(1)
    try:
        os.close(writer)
        deadline, most = started + limits["seconds"], 8 * limits["output_bytes"]
        end, text = collect(reader, requests, deadline, most)
    finally:
        status, usage = bury(pid)
        os.close(reader)
    if end == "answered" and not text:
        # The timer counts in ticks: by its usage, the child may still have had time.
        timed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in TIME_SIGNALS
        spent = usage.ru_utime + usage.ru_stime
        end = "timeout" if timed or spent > limits["cpu_seconds"] else "died"
    return {"end": end, "text": text, "seconds": time.monotonic() - started}


def collect(reader: int, requests: int, deadline: float, most: int) -> tuple[str, str]:
    """Reads a child's pipe until it closes it, too late, or too much."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(requests, 0)  # reports the end of the file only
    data = bytearray()
    while True:
        ready = dict(poll.poll(max(deadline - time.monotonic(), 0) * 1000))
        if requests in ready:
            return "closed", ""
        if not ready:
            return "timeout", ""
        part = os.read(reader, 65536)
        data += part
        if len(data) > most:
            return "flood", ""
        # After a newline the child is done, whatever else holds the pipe open.
        if not part or part.endswith(b"\n"):
            return "answered", data.decode("ascii", "replace")


def bury(pid: int):
    """Kills and reaps a child and all that it left; its wait status and usage."""
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
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            for stray in file.read().split():
                os.kill(int(stray), KILL)
        os.waitpid(-1, 0)


def child(job: dict, writer: int) -> None:
    """Limits itself, runs the program and the tests, writes one line of JSON."""
    os.setsid()
    limits = job["limits"]
    memory, cpu = limits["memory_mb"] << 20, int(limits["cpu_seconds"]) + 1
    limit(resource.RLIMIT_AS, memory, memory)
    limit(resource.RLIMIT_CPU, cpu, cpu + 1)
    limit(resource.RLIMIT_FSIZE, 0, 0)
    limit(resource.RLIMIT_CORE, 0, 0)
    # Processor time, not wall time: a busy machine must not change a verdict.
    signal.setitimer(signal.ITIMER_PROF, limits["cpu_seconds"])
    random.seed(0)  # a fork seeds it anew; equal programs must draw alike
    sys.addaudithook(make_hook(FORBIDDEN))
    answer = json.dumps(judge(job)) + "\n"
    write_all(writer, answer.encode("ascii"))
    os._exit(0)


def limit(kind: int, soft: int, hard: int) -> None:
    """Sets a limit, or keeps the one that is lower already."""
    _, present = resource.getrlimit(kind)
    if present != resource.RLIM_INFINITY:
        soft, hard = min(soft, present), min(hard, present)
    resource.setrlimit(kind, (soft, hard))


def make_hook(forbidden):
    """An audit hook that keeps a program to itself.

    It stops what happens by accident, and not one who writes machine code.
    """

    def hook(event, arguments):
        if event in forbidden or event.startswith("ctypes."):
            raise Forbidden(event)
        if event == "open" and (arguments[2] or 0) & WRITES:
            raise Forbidden("writing files")

    return hook


def judge(job: dict) -> dict:
    """Loads the program and evaluates the tests, in the child."""
    answer = {"token": job["token"]}
    scope = {"__name__": "program", "__builtins__": __builtins__}
    try:
        failure = load(job["setup"], job["code"], scope)
        if failure:
            return answer | failure
        room = [job["limits"]["output_bytes"]]
        return answer | {"tests": [test(*each, scope, room) for each in job["tests"]]}
    except MemoryError:
        scope.clear()  # so that there is room to say so
        return answer | {"memory": True}


def load(setup: str, program: str, scope: dict) -> dict | None:
    """Runs setup and program; {"load", "where"} if one of them fails."""
    where, early = "compile", None
    try:
        code = compile(program, "<code>", "exec")
        try:
            exec(compile(setup, "<setup>", "exec"), scope)
        except Exception as error:
            early = error  # MBPP has setups that use what the program defines
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


def test(kind: str, source: str, scope: dict, room: list[int]) -> dict:
    """The value of a test's expression, or whether its statement held."""
    try:
        code = compile(source, "<test>", "eval" if kind == "value" else "exec")
        if kind == "value":
            return {"value": encode(eval(code, scope), room)}
        exec(code, scope)
        return {"held": True}
    except MemoryError:
        raise
    except TooLarge:
        return {"value": ["opaque", "too much"]}
    except BaseException as error:
        return {"fault": fault(error)}


def fault(error: BaseException) -> dict:
    """An exception as {"type", "message", "line", "forbidden"}; the program's line."""
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
        "forbidden": isinstance(error, Forbidden),
    }


def encode(value, room: list[int], depth: int = 0):
    """A tagged form of exact plain types; anything else becomes opaque.

    The library's own kinds of dict, which references return, are plain by content.
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
            return [
                "dict",
                [[encode(x, room, depth + 1) for x in pair] for pair in pairs],
            ]
    return ["opaque", kind.__name__]


if __name__ == "__main__":
    main()

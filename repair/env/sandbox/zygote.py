"""Worker process: forks one child for every program. Started by exec, never imported.

Runs under `python -I -S` with nothing of the package on its path. Standard input
and output carry frames: four bytes of length, big-endian, then JSON. A request is a
list of jobs, answered by one frame each, in order; see `repair.env.sandbox.pool`.

The children inherit this process's heap, so it never holds an expected value.
"""

import gc
import json
import os
import re
import resource
import select
import signal
import struct
import sys
import time

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
MAX_DEPTH = 50


def main() -> None:
    """Serves requests until standard input ends."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    sys.dont_write_bytecode = True
    json.loads(json.dumps([0.5, "warm"]))
    gc.collect()
    gc.freeze()  # children then do not copy pages just to look for garbage
    while (jobs := read_frame(requests)) is not None:
        for job in jobs:
            write_frame(answers, run(job, (requests, answers)))


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
    data = memoryview(struct.pack(">I", len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


def run(job: dict, private: tuple[int, ...]) -> dict:
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
            os.close(reader)
            for fd in private:
                os.close(fd)
            child(job, writer)
        finally:
            os._exit(1)
    os.close(writer)
    end, text = collect(reader, started + limits["seconds"], limits["output_bytes"])
    os.close(reader)
    for kill, target in ((os.killpg, pid), (os.kill, pid)):
        try:
            kill(target, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended already, or has not yet made its group
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and end == "answered" and not text:
        spent = os.WTERMSIG(status) in (signal.SIGVTALRM, signal.SIGXCPU)
        end = "timeout" if spent else "died"
    elif end == "answered" and not text:
        end = "died"
    return {"end": end, "text": text, "seconds": time.monotonic() - started}


def collect(fd: int, deadline: float, most: int) -> tuple[str, str]:
    """Reads a child's pipe until it closes it, too late, or too much."""
    data = b""
    while True:
        ready, _, _ = select.select([fd], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return "timeout", ""
        part = os.read(fd, 65536)
        if not part:
            return "answered", data.decode("utf-8", "replace")
        data += part
        if len(data) > most:
            return "flood", ""
        if data.endswith(b"\n"):  # the child is done, whatever holds the pipe open
            return "answered", data.decode("utf-8", "replace")


def child(job: dict, writer: int) -> None:
    """Limits itself, runs the program and the tests, writes one line of JSON."""
    os.setsid()
    limits = job["limits"]
    memory = limits["memory_mb"] << 20
    cpu = int(limits["cpu_seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Processor time, not wall time: a busy machine must not change a verdict.
    signal.setitimer(signal.ITIMER_VIRTUAL, limits["cpu_seconds"])
    answer = json.dumps(judge(job)) + "\n"
    data = memoryview(answer.encode("utf-8", "backslashreplace"))
    while data:
        data = data[os.write(writer, data) :]
    os._exit(0)


def judge(job: dict) -> dict:
    """Loads the program and evaluates the tests, in the child."""
    scope = {"__name__": "program", "__builtins__": __builtins__}
    answer = {"token": job["token"], "tests": []}
    for name in ("setup", "code"):
        try:
            exec(compile(job[name], f"<{name}>", "exec"), scope)
        except BaseException as error:
            return answer | {"load": fault(error), "where": name}
    for kind, source in job["tests"]:
        try:
            if kind == "value":
                value = eval(compile(source, "<test>", "eval"), scope)
                answer["tests"].append({"value": encode(value)})
            else:
                exec(compile(source, "<test>", "exec"), scope)
                answer["tests"].append({"held": True})
        except BaseException as error:
            answer["tests"].append({"fault": fault(error)})
    return answer


def fault(error: BaseException) -> dict:
    """An exception as {"type", "message", "line"}, the line being the program's."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<code>":
            line = trace.tb_lineno
        trace = trace.tb_next
    message = ""
    if isinstance(error, SyntaxError):
        line, message = error.lineno, error.msg
    elif not isinstance(error, MemoryError):
        try:
            message = str(error)
        except BaseException:
            message = "unprintable"  # the program's own __str__ failed
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        kind = "SyntaxError" if type(error) is SyntaxError else kind
    message = ADDRESS.sub("", message).split("\n")[0][:80]
    return {"type": kind, "message": message, "line": line}


def encode(value, depth: int = 0):
    """A tagged form of exact plain types; anything else becomes opaque."""
    kind = type(value)
    if value is None:
        return ["none"]
    if kind is bool:
        return ["bool", value]
    if kind is int:
        return ["int", hex(value)]
    if kind is float:
        return ["float", value.hex()]
    if kind is complex:
        return ["complex", value.real.hex(), value.imag.hex()]
    if kind is str:
        return ["str", value]
    if kind is bytes:
        return ["bytes", value.hex()]
    if depth < MAX_DEPTH:
        if kind in (list, tuple, set, frozenset):
            return [kind.__name__, [encode(item, depth + 1) for item in value]]
        if kind is dict:
            pairs = value.items()
            return ["dict", [[encode(x, depth + 1) for x in pair] for pair in pairs]]
    return ["opaque", kind.__name__]


if __name__ == "__main__":
    main()

"""What a child of a worker can still do, found out by trying.

Runs in a real child, locked as every program is, before Python's own hooks, so it
imports the standard library only. Each attempt goes for what one layer forbids;
"refused" is the only good outcome.
"""

import contextlib
import ctypes
import json
import mmap
import os
import socket
import stat

REFUSED = "refused"


def attempt(paths: dict) -> bytes:
    """One line of JSON: {layer: "refused" or what went through}.

    Args:
      paths: "layers", the attempts to make; "readable", a file that anybody may read;
        "writable", a folder that anybody may write to; "namespaces", {name: number}
        of the trainer's own; "memory_mb".
    """
    attempts = {
        "mounts": lambda: _same_namespace("mnt", paths),
        "network": lambda: _same_namespace("net", paths),
        "ipc": lambda: _same_namespace("ipc", paths),
        "pids": lambda: _same_namespace("pid", paths),
        "user": _be_root,
        "privileges": _gain_privileges,
        "landlock": lambda: _read_file(paths["readable"]),
        "seccomp": _ask_personality,
        "forks": _fork,
        "memory": lambda: _take_memory(paths["memory_mb"]),
        "files": lambda: _write_file(paths["writable"]),
        "connections": _connect,
        "programs": _execute,
        "descriptors": _descriptors,
    }
    found = {}
    for name in paths["layers"]:
        try:
            found[name] = attempts[name]()
        except (OSError, MemoryError, OverflowError):
            found[name] = REFUSED
    return (json.dumps(found) + "\n").encode("ascii", "replace")


def _same_namespace(kind: str, paths: dict) -> str:
    # Only looked at, which no other layer forbids.
    mine = os.stat(f"/proc/self/ns/{kind}").st_ino
    return REFUSED if mine != paths["namespaces"][kind] else "the trainer's own"


def _be_root() -> str:
    libc = ctypes.CDLL(None)
    data = ctypes.create_string_buffer(24)
    libc.capget(ctypes.create_string_buffer(b"\x22\x05\x08\x20\0\0\0\0", 8), data)
    if os.getuid() != 0 and not any(data.raw[:8]) and not any(data.raw[12:20]):
        return REFUSED
    return f"user {os.getuid()}, capabilities {data.raw.hex()}"


def _gain_privileges() -> str:
    libc = ctypes.CDLL(None)
    gaining = libc.prctl(39, 0, 0, 0, 0) != 1  # PR_GET_NO_NEW_PRIVS
    dumpable = libc.prctl(3, 0, 0, 0, 0) != 0  # PR_GET_DUMPABLE
    return "possible" if gaining or dumpable else REFUSED


def _read_file(path: str) -> str:
    os.close(os.open(path, os.O_RDONLY))
    return f"{path} is open"


def _ask_personality() -> str:
    # A call that no program needs; asked for the present value it is always granted.
    if ctypes.CDLL(None).personality(0xFFFFFFFF) < 0:
        return REFUSED
    return "any system call"


def _fork() -> str:
    if os.fork() == 0:
        os._exit(0)
    return "forked"


def _take_memory(limit_mb: int) -> str:
    mmap.mmap(-1, limit_mb << 20).close()
    return f"{limit_mb} MiB more"


def _write_file(folder: str) -> str:
    path = os.path.join(folder, "probe")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(fd, b"x")
    finally:
        os.close(fd)
        os.unlink(path)
    return f"wrote {path}"


def _connect() -> str:
    # Nobody listens at port 9 here: "refused" by a peer is no refusal by a layer.
    with socket.socket() as client, contextlib.suppress(ConnectionRefusedError):
        client.connect(("127.0.0.1", 9))
    return "the network is there"


def _execute() -> str:
    os.execv("/bin/true", ["true"])


def _descriptors() -> str:
    still = []
    for fd in range(256):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        if fd > 2 and not stat.S_ISFIFO(mode) or fd <= 2 and not stat.S_ISCHR(mode):
            still.append(fd)
    return f"open: {still}" if still else REFUSED

"""A probe that tries, in a real child, everything that the isolation should refuse.

Runs in a child as every program does, but without Python's audit hook; it imports the
standard library only. Each attempt tests one layer, and should be refused.
"""

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import signal
import socket
import stat

REFUSED = "refused"


def attempt(targets: dict) -> bytes:
    """Return one line of JSON: {probe: "refused", or the result}.

    Args:
      targets: "layers", the probes to make; "readable", a file that anybody may read;
        "writable", a folder that anybody may write to; "trainer", its process;
        "packages", files of installed packages; "namespaces", {kind: number} of the
        trainer; "memory_mb".
    """
    attempts = {
        "mounts": lambda: _share_namespace("mnt", targets),
        "network": lambda: _share_namespace("net", targets),
        "ipc": lambda: _share_namespace("ipc", targets),
        "pids": lambda: _share_namespace("pid", targets),
        "user": _be_root,
        "privileges": _gain_privileges,
        "landlock": lambda: _read_file(targets["readable"]),
        "seccomp": _ask_personality,
        "forks": _fork,
        "signals": lambda: _signal(targets["trainer"]),
        "packages": lambda: _read_any(targets["packages"]),
        "memory": lambda: _take_memory(targets["memory_mb"]),
        "files": lambda: _write_file(targets["writable"]),
        "connections": _connect,
        "programs": lambda: os.execv("/bin/true", ["true"]),
        "descriptors": _inherit_descriptors,
    }
    found = {}
    for name in targets["layers"]:
        try:
            found[name] = attempts[name]()
        except (OSError, MemoryError, OverflowError):
            found[name] = REFUSED
    return (json.dumps(found) + "\n").encode("ascii", "replace")


def _share_namespace(kind: str, targets: dict) -> str:
    # No other layer forbids to look.
    mine = os.stat(f"/proc/self/ns/{kind}").st_ino
    return REFUSED if mine != targets["namespaces"][kind] else "the trainer's own"


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


def _read_any(paths: list[str]) -> str:
    for path in paths:
        with contextlib.suppress(OSError):
            return _read_file(path)
    return REFUSED


def _signal(trainer: int) -> str:
    """Try the ways to a signal for the trainer: directly, and by descriptors."""

    def own_descriptor() -> None:
        fcntl.fcntl(0, fcntl.F_SETOWN, trainer)

    ways = {
        "kill": lambda: os.kill(trainer, 0),
        "pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(trainer), 0),
        "fcntl": own_descriptor,
    }
    for name, way in ways.items():
        with contextlib.suppress(OSError):
            way()
            return f"possible by {name}"
    return REFUSED


def _ask_personality() -> str:
    # A call that no program needs; the kernel always grants a query.
    refused = ctypes.CDLL(None).personality(0xFFFFFFFF) < 0
    return REFUSED if refused else "any system call"


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
    # Nobody listens at port 9: a connection refused by the peer proves a network.
    with socket.socket() as client, contextlib.suppress(ConnectionRefusedError):
        client.connect(("127.0.0.1", 9))
    return "the network is there"


def _inherit_descriptors() -> str:
    still = []
    for fd in range(256):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        if fd > 2 or not stat.S_ISCHR(mode):
            still.append(fd)
    # Its own socket is the only other one.
    own = len(still) == 1 and stat.S_ISSOCK(os.fstat(still[0]).st_mode)
    return REFUSED if own else f"open: {still}"

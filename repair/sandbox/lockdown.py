"""What a worker gives up before it runs anything: layers, each on its own.

Runs in the zygote, so it imports the standard library only, and nothing of the
package but the filter, which the zygote hands over. Linux only; elsewhere no layer is
there to be had. A layer that cannot be had is reported with the reason and left out:
what was reached is for probes to say (`probe`), not for this file.

From first to last:
  mounts      a mount namespace, in which a standard library below a directory that
              others may not enter becomes readable, and the rest of that directory
              disappears
  network, ipc, pids    namespaces of their own; the zygote is process 1 of its own
  user        no longer root, no capability left and none to be gained; nobody of the
              same user may look into the process
  landlock    files: the standard library and shared libraries, to read only; no TCP
  seccomp     system calls: an allow-list

Two more are the child's own: "forks", no new process or thread, and "hooks", Python's
audit hook, which is there for clear messages and stops nobody who means harm.
"""

import ctypes
import errno
import os
import struct
import sys
import sysconfig

LAYERS = tuple("mounts network ipc pids user landlock seccomp forks hooks".split())
NOBODY = 65534

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x00020000, 0x08000000, 0x10000000
_NEW_PIDS, _NEW_NETWORK = 0x20000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 24, 36, 38
_CAPABILITY_VERSION = 0x20080522
# System calls without a function in the C library, by machine: numbers are shared.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
# Landlock's rights: execute 0, write 1, read a file 2, read a folder 3, ... up to the
# last that each version of the interface knows.
_LAST_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14}
_READ = 1 << 2 | 1 << 3
_BIND_CONNECT_TCP, _SCOPE_ALL = 0b11, 0b11
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def separate(without: tuple[str, ...]) -> dict[str, str]:
    """Leaves the namespaces of the caller: {layer: reason why not, "" if done}.

    The "pids" layer holds for the processes started afterwards.
    """
    wanted = {
        "mounts": _NEW_MOUNTS,
        "network": _NEW_NETWORK,
        "ipc": _NEW_IPC,
        "pids": _NEW_PIDS,
    }
    if _libc is None:
        return dict.fromkeys(wanted, f"not on {sys.platform}")
    reached = {name: "left out" for name in wanted if name in without}
    if os.geteuid() != 0:
        # A user namespace gives an ordinary user the right to the others.
        _try(_unshare, _NEW_USER)
    for name, flag in wanted.items():
        if name not in without:
            reached[name] = _try(_unshare, flag)
    if reached["mounts"] == "":
        reached["mounts"] = _try(_uncover_library)
    return reached


def drop(without: tuple[str, ...], filter_program) -> dict[str, str]:
    """Gives up all rights but those that programs need, as `separate` reports."""
    steps = {
        "user": _drop_user,
        "landlock": _landlock,
        "seccomp": lambda: _seccomp(filter_program()),
    }
    if _libc is None:
        return dict.fromkeys(steps, f"not on {sys.platform}")
    return {
        name: "left out" if name in without else _try(step)
        for name, step in steps.items()
    }


def die_with_parent() -> None:
    """Has this process killed when the thread that started it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def adopt_orphans() -> None:
    """What a child leaves behind becomes this process's child."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def load_filter(program: bytes) -> None:
    """Adds a seccomp filter to this process, for good.

    Raises:
      OSError: The system has none.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(header, len(header))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, pointer, 0, 0))


def capabilities() -> int:
    """The effective and permitted capabilities of this process, as bits."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(ctypes.create_string_buffer(header, 8), data))
    words = struct.unpack("6I", data.raw)
    return words[0] | words[1] | words[3] << 32 | words[4] << 32


def _try(step, *arguments) -> str:
    try:
        step(*arguments)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _unshare(flag: int) -> None:
    _check(_libc.unshare(flag))


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [word.encode() for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()))


def _uncover_library() -> None:
    """Makes the standard library readable where a parent of it is closed to others.

    A Python below the home of the super-user, say: the closed directory is covered by
    an empty file system, in which nothing but the library is put back.
    """
    _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    closed = _closed_parent(library)
    if closed is None or os.geteuid() != 0:
        return
    fd = os.open(library, os.O_PATH)
    try:
        _mount("none", closed, "tmpfs", 0, "mode=755,size=64k")
        os.makedirs(library)
        _mount(f"/proc/self/fd/{fd}", library, "none", _MS_BIND)
    finally:
        os.close(fd)


def _closed_parent(path: str) -> str | None:
    """The outermost directory above path that others may not enter."""
    parents, parent = [], os.path.dirname(path)
    while parent != "/":
        parents.append(parent)
        parent = os.path.dirname(parent)
    for each in reversed(parents):
        if not os.stat(each).st_mode & 0o001:
            return each
    return None


def _drop_user() -> None:
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    if os.getuid() == 0 and _closed_parent(library) is None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # the last one is passed, or we had no right to any
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _check(_libc.capset(ctypes.create_string_buffer(header, 8), bytes(24)))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    if os.getuid() == 0:
        raise OSError(errno.EACCES, f"nobody else may read {library}")


def _landlock() -> None:
    version = _check(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1))
    rights = (1 << (_LAST_RIGHT.get(version, 15) + 1)) - 1
    fields = [rights]
    if version >= 4:
        fields.append(_BIND_CONNECT_TCP)
    if version >= 6:
        fields.append(_SCOPE_ALL)
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _check(
        _libc.syscall(
            _LANDLOCK_CREATE,
            ctypes.create_string_buffer(attributes, len(attributes)),
            len(attributes),
            0,
        )
    )
    try:
        for path in _readable():
            _allow(ruleset, path)
        # The system wants this first of whoever has no rights left.
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)


def _seccomp(program: bytes) -> None:
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    load_filter(program)


def _readable() -> list[str]:
    library = sysconfig.get_paths()
    paths = [library["stdlib"], library["platstdlib"], *_LIBRARIES, *_DEVICES]
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]


def _allow(ruleset: int, path: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _READ if os.path.isdir(path) else 1 << 2
        rule = struct.pack("=Qi", rights, fd)
        buffer = ctypes.create_string_buffer(rule, len(rule))
        _check(_libc.syscall(_LANDLOCK_ADD, ruleset, 1, buffer, 0))
    finally:
        os.close(fd)

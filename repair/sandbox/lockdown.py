"""The layers of isolation that a worker puts around itself and its children.

Runs in the zygote: it imports the standard library only. Linux only; elsewhere every
layer is missing. A missing layer is reported with the reason; `probe` measures the
result.

In order:
  mounts      a mount namespace. A standard library below a directory that is closed
              to other users becomes readable, the rest of that directory disappears
  network, ipc, pids    namespaces; the zygote is process 1 of its own
  user        another user without capabilities, who cannot gain any; processes of
              the same user cannot inspect this one
  landlock    files: read the standard library, without packages installed into it, and
              shared libraries only; no TCP
  seccomp     system calls: an allow-list

Each child adds three: "forks", no new process or thread, "signals", none to another
process, and "hooks", Python's audit hook, which gives clear messages and stops
accidents, not attacks.
"""

import ctypes
import errno
import os
import pathlib
import struct
import sys
import sysconfig
from collections.abc import Callable
from typing import NamedTuple

LAYERS = tuple(
    "mounts network ipc pids user landlock seccomp forks signals hooks".split()
)
NOBODY = 65534

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x00020000, 0x08000000, 0x10000000
_NEW_PIDS, _NEW_NETWORK = 0x20000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 24, 36, 38
_CAPABILITY_VERSION = 0x20080522
# System calls without a function in the C library; numbers equal on all machines.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _RDONLY = 442, -100, 0x8000, 1
# Landlock's rights are bits: execute 0, write 1, read a file 2, read a folder 3, ...
# This is the last one that each version of the interface knows.
_LAST_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14}
_BIND_CONNECT_TCP, _SCOPE_ALL = 0b11, 0b11
_WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
# The standard library reads these on behalf of programs.
_SYSTEM_FILES = tuple(
    f"/etc/{name}"
    for name in (
        "localtime mime.types passwd group nsswitch.conf ld.so.cache os-release"
    ).split()
)
_PRIVATE_OPTIONS = "mode=1777,size=256m"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_THIRD_PARTY = frozenset(("site-packages", "dist-packages"))
_NO_RANDOM_ADDRESSES = 0x0040000  # ADDR_NO_RANDOMIZE

LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


class Reach(NamedTuple):
    """The files of a worker that runs more than one program of the standard library.

    Attributes:
      private: A folder to write to, seen by this worker only; "" for none.
      readable: Folders to read from, with all that is below them.
    """

    private: str = ""
    readable: tuple[str, ...] = ()


NOWHERE = Reach()


def separate(without: tuple[str, ...], reach: Reach = NOWHERE) -> dict[str, str]:
    """Enter new namespaces; return {layer: reason why it is missing, or ""}.

    The "pids" layer holds for the processes started afterwards.
    """
    if LINUX and os.geteuid() != 0:
        # A user namespace gives an ordinary user the right to the others.
        _reason(lambda: _unshare(_NEW_USER))
    steps = {
        "mounts": lambda: _separate_mounts(reach),
        "network": lambda: _unshare(_NEW_NETWORK),
        "ipc": lambda: _unshare(_NEW_IPC),
        "pids": lambda: _unshare(_NEW_PIDS),
    }
    return _run_steps(steps, without)


def drop(
    without: tuple[str, ...], filter_program: Callable, reach: Reach = NOWHERE
) -> dict[str, str]:
    """Give up all rights that programs do not need; report as `separate` does."""
    steps = {
        "user": _drop_user,
        "landlock": lambda: _landlock(reach),
        "seccomp": lambda: load_filter(filter_program()),
    }
    return _run_steps(steps, without)


def fix_addresses() -> bool:
    """Ask for the same addresses in every run; return True if an exec is due for it.

    Sets of objects come in the order of their addresses.
    """
    if not LINUX:
        return False
    present = _libc.personality(0xFFFFFFFF)
    if present < 0 or present & _NO_RANDOM_ADDRESSES:
        return False
    return _libc.personality(present | _NO_RANDOM_ADDRESSES) >= 0


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends."""
    if LINUX:
        _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of the processes that a child leaves behind."""
    if LINUX:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def load_filter(program: bytes) -> None:
    """Add a seccomp filter to this process, for good; OSError if there is none."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))  # the system demands it
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(header, len(header))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, pointer, 0, 0))


def _run_steps(steps: dict, without: tuple[str, ...]) -> dict[str, str]:
    if not LINUX:
        return dict.fromkeys(steps, f"not on {sys.platform}")
    return {
        name: "left out" if name in without else _reason(step)
        for name, step in steps.items()
    }


def _reason(step: Callable) -> str:
    try:
        step()
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


def _separate_mounts(reach: Reach) -> None:
    """Enter a mount namespace in which everyone may read the standard library.

    Where a directory above it is closed to others, such as the home of the super-user,
    an empty file system covers that directory, and only the library is mounted back.
    With a private folder, all else is read-only.
    """
    _unshare(_NEW_MOUNTS)
    _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
    root = os.geteuid() == 0
    if root:
        _uncover([os.path.realpath(sysconfig.get_path("stdlib")), *reach.readable])
    if reach.private:
        os.makedirs(reach.private, exist_ok=True)
        if root:
            _mount("none", reach.private, "tmpfs", 0, _PRIVATE_OPTIONS)
        else:  # who has no users to own what is in a file system of its own
            _mount(reach.private, reach.private, "none", _MS_BIND)
        _set_read_only("/", True, _AT_RECURSIVE)
        _set_read_only(reach.private, False)


def _uncover(paths: list[str]) -> None:
    """Mount paths below closed directories back over empty ones."""
    outer = [each for each in paths if not any(_below(each, p) for p in paths)]
    closed = {path: _closed_parent(path) for path in outer}
    kept = {p: os.open(p, os.O_PATH) for p, parent in closed.items() if parent}
    try:
        for parent in {parent for parent in closed.values() if parent}:
            _mount("none", parent, "tmpfs", 0, "mode=755,size=64k")
        for path, fd in kept.items():
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                os.makedirs(path, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
            _mount(f"/proc/self/fd/{fd}", path, "none", _MS_BIND)
    finally:
        for fd in kept.values():
            os.close(fd)


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def _set_read_only(path: str, on: bool, flags: int = 0) -> None:
    attributes = struct.pack("=4Q", _RDONLY * on, _RDONLY * (not on), 0, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    number, here = _MOUNT_SETATTR, _AT_FDCWD
    _check(_libc.syscall(number, here, path.encode(), flags, buffer, len(attributes)))


def _closed_parent(path: str) -> str | None:
    """Return the outermost directory above path that is closed to other users."""
    *parents, _root = pathlib.PurePath(path).parents
    closed = [each for each in parents if not os.stat(each).st_mode & 0o001]
    return str(closed[-1]) if closed else None


def _drop_user() -> None:
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    if os.getuid() == 0 and _closed_parent(library) is None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the last one, or not allowed to drop any
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _check(_libc.capset(ctypes.create_string_buffer(header, 8), bytes(24)))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    if os.getuid() == 0:
        raise OSError(errno.EACCES, f"nobody else may read {library}")


def _landlock(reach: Reach) -> None:
    version = _check(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1))
    rights = (1 << (_LAST_RIGHT.get(version, 15) + 1)) - 1
    count = 1 + (version >= 4) + (version >= 6)
    attributes = struct.pack(
        f"{count}Q", *(rights, _BIND_CONNECT_TCP, _SCOPE_ALL)[:count]
    )
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = _check(_libc.syscall(_LANDLOCK_CREATE, buffer, len(attributes), 0))
    try:
        for path in _SYSTEM_FILES if reach.readable else ():
            if os.path.exists(path):
                _allow(ruleset, path, _READ_FILE | _READ_FOLDER)
        for path in reach.readable:
            _allow(ruleset, path, _READ_FILE | _READ_FOLDER)
        if reach.private:
            _allow(ruleset, reach.private, rights)
            _allow(
                ruleset, "/dev/null", rights & (_READ_FILE | _WRITE_FILE | _TRUNCATE)
            )
        for path, wanted in _readable().items():
            _allow(ruleset, path, wanted)
        # Without rights the system demands this first.
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)


def _readable() -> dict[str, int]:
    """Return what programs may read, {path: rights}.

    Of the standard library's folders every entry by itself, since site-packages may
    lie among them; of the system's folders shared libraries only.
    """
    places = sysconfig.get_paths()
    found: dict[str, int] = dict.fromkeys(_DEVICES, _READ_FILE)
    for library in {places["stdlib"], places["platstdlib"]}:
        found[library] = _READ_FOLDER  # the import system lists it
        for entry in os.scandir(library):
            if entry.name not in _THIRD_PARTY:
                found[entry.path] = _READ_FILE
    prefix = os.path.dirname(os.path.realpath(places["stdlib"]))
    for folder in {prefix, *_LIBRARIES}:
        for directory in (folder, *_architecture_folders(folder)):
            found |= dict.fromkeys(_shared_libraries(directory), _READ_FILE)
    found["/usr/share/zoneinfo"] = _READ_FILE | _READ_FOLDER
    return {path: rights for path, rights in found.items() if os.path.exists(path)}


def _architecture_folders(folder: str) -> list[str]:
    """Return the folders of Debian for one architecture, such as x86_64-linux-gnu."""
    if not os.path.isdir(folder):
        return []
    return [entry.path for entry in os.scandir(folder) if "-linux-" in entry.name]


def _shared_libraries(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    return [
        entry.path
        for entry in os.scandir(folder)
        if ".so" in entry.name and entry.is_file()
    ]


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE  # all that a file knows
        rule = struct.pack("=Qi", rights, fd)
        buffer = ctypes.create_string_buffer(rule, len(rule))
        _check(_libc.syscall(_LANDLOCK_ADD, ruleset, 1, buffer, 0))
    finally:
        os.close(fd)

"""Seccomp filters: the system calls that a worker and its programs may make.

Runs in the zygote: it imports the standard library only. A filter is classic BPF over
`struct seccomp_data` (seccomp(2)). It checks the architecture and the x32 bit, then an
allow-list; any other call fails with EPERM.
"""

import os
import platform
import struct

ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
_X32_BIT = 0x40000000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW*

# Audit number of the machine, and its calls: name number ...
_X86_64 = (
    0xC000003E,
    (
        "read 0 write 1 close 3 stat 4 fstat 5 lstat 6 poll 7 lseek 8 mmap 9 "
        "mprotect 10 munmap 11 brk 12 rt_sigaction 13 rt_sigprocmask 14 "
        "rt_sigreturn 15 pread64 17 readv 19 writev 20 access 21 pipe 22 select 23 "
        "sched_yield 24 mremap 25 mincore 27 madvise 28 dup 32 dup2 33 pause 34 "
        "nanosleep 35 getitimer 36 alarm 37 setitimer 38 getpid 39 sendto 44 "
        "recvfrom 45 socketpair 53 exit 60 wait4 61 kill 62 uname 63 fcntl 72 "
        "getcwd 79 readlink 89 gettimeofday 96 getrlimit 97 getrusage 98 sysinfo 99 "
        "times 100 getuid 102 getgid 104 geteuid 107 getegid 108 getppid 110 setsid "
        "112 getgroups 115 getresuid 118 getresgid 120 getpgid 121 getsid 124 "
        "capget 125 sigaltstack 131 arch_prctl 158 gettid 186 time 201 futex 202 "
        "sched_getaffinity 204 getdents64 217 set_tid_address 218 restart_syscall "
        "219 clock_gettime 228 clock_getres 229 clock_nanosleep 230 exit_group 231 "
        "epoll_wait 232 epoll_ctl 233 tgkill 234 newfstatat 262 readlinkat 267 "
        "faccessat 269 pselect6 270 ppoll 271 set_robust_list 273 get_robust_list "
        "274 epoll_pwait 281 eventfd2 290 epoll_create1 291 dup3 292 pipe2 293 "
        "getcpu 309 getrandom 318 membarrier 324 statx 332 rseq 334 "
        "recvmsg 47 close_range 436 faccessat2 439 open 2 "
        "openat 257 ioctl 16 prctl 157 prlimit64 302 setrlimit 160 clone 56 fork 57 "
        "vfork 58 clone3 435 "
    ),
)
_AARCH64 = (
    0xC00000B7,
    (
        "getcwd 17 eventfd2 19 epoll_create1 20 epoll_ctl 21 epoll_pwait 22 dup 23 "
        "dup3 24 fcntl 25 faccessat 48 close 57 pipe2 59 getdents64 61 lseek 62 "
        "read 63 write 64 readv 65 writev 66 pread64 67 pselect6 72 ppoll 73 "
        "readlinkat 78 newfstatat 79 fstat 80 capget 90 exit 93 exit_group 94 "
        "set_tid_address 96 futex 98 set_robust_list 99 get_robust_list 100 "
        "nanosleep 101 getitimer 102 setitimer 103 clock_gettime 113 clock_getres "
        "114 clock_nanosleep 115 sched_getaffinity 123 sched_yield 124 "
        "restart_syscall 128 kill 129 tgkill 131 sigaltstack 132 rt_sigaction 134 "
        "rt_sigprocmask 135 rt_sigreturn 139 getresuid 148 getresgid 150 times 153 "
        "getpgid 155 getsid 156 setsid 157 getgroups 158 uname 160 getrlimit 163 "
        "getrusage 165 getcpu 168 gettimeofday 169 getpid 172 getppid 173 getuid "
        "174 geteuid 175 getgid 176 getegid 177 gettid 178 sysinfo 179 socketpair "
        "199 sendto 206 recvfrom 207 brk 214 munmap 215 mremap 216 mmap 222 "
        "mprotect 226 mincore 232 madvise 233 wait4 260 getrandom 278 membarrier "
        "283 statx 291 rseq 293 recvmsg 212 close_range "
        "436 faccessat2 439 openat 56 ioctl 29 prctl 167 prlimit64 261 setrlimit "
        "164 clone 220 clone3 435 "
    ),
)
# More calls of a worker that writes files: Landlock and mounts say where.
_FILE_CALLS = {
    "x86_64": (
        "pwrite64 18 sendfile 40 shutdown 48 getsockname 51 getpeername 52 "
        "setsockopt 54 getsockopt 55 flock 73 fsync 74 fdatasync 75 truncate 76 "
        "ftruncate 77 getdents 78 chdir 80 fchdir 81 rename 82 mkdir 83 rmdir 84 "
        "creat 85 link 86 unlink 87 symlink 88 umask 95 getpgrp 111 "
        "rt_sigpending 127 rt_sigsuspend 130 statfs 137 fstatfs 138 getxattr 191 "
        "lgetxattr 192 fgetxattr 193 listxattr 194 llistxattr 195 flistxattr 196 "
        "fadvise64 221 mkdirat 258 unlinkat 263 renameat 264 linkat 265 "
        "symlinkat 266 fallocate 285 preadv 295 pwritev 296 renameat2 316 "
        "copy_file_range 326"
    ),
    "aarch64": (
        "getxattr 8 lgetxattr 9 fgetxattr 10 listxattr 11 llistxattr 12 "
        "flistxattr 13 flock 32 mkdirat 34 unlinkat 35 symlinkat 36 linkat 37 "
        "renameat 38 statfs 43 fstatfs 44 truncate 45 ftruncate 46 fallocate 47 "
        "chdir 49 fchdir 50 pwrite64 68 preadv 69 pwritev 70 sendfile 71 fsync 82 "
        "fdatasync 83 rt_sigsuspend 133 rt_sigpending 136 umask 166 "
        "getsockname 204 getpeername 205 setsockopt 208 getsockopt 209 "
        "shutdown 210 fadvise64 223 renameat2 276 copy_file_range 285"
    ),
}
# Landlock does not govern them.
_MODE_CALLS = {
    "x86_64": "chmod 90 fchmod 91 utime 132 utimes 235 fchmodat 268 utimensat 280",
    "aarch64": "fchmod 52 fchmodat 53 utimensat 88",
}
_CLONE_THREAD = 0x00010000
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. F_SETOWN and F_SETSIG
# would let a program send signals to any process of its user.
_FCNTLS = (0, 1, 2, 3, 4, 1030)
_LOCKS = (5, 6, 7)  # F_GETLK, F_SETLK, F_SETLKW
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64, "arm64": _AARCH64}

# Of files and sockets: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME,
# PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS.
_PRCTLS = (1, 2, 3, 15, 16, 21, 22, 38, 39)


def _machine() -> tuple[int, dict[str, int]]:
    """Return this machine's audit number and its calls by name; OSError if unknown."""
    try:
        audit, table = _MACHINES[platform.machine()]
    except KeyError:
        raise OSError(f"no filter for {platform.machine()}") from None
    return audit, _numbers(table)


def _numbers(table: str) -> dict[str, int]:
    words = table.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def worker_filter(files: bool = False, modes: bool = False) -> bytes:
    """Return the filter of the zygote, which programs inherit; OSError if unknown.

    Args:
      files: Allow calls that write files.
      modes: Allow those that change a file's mode and times too; else these do nothing
        and succeed, since to copy a file is to call them.
    """
    audit, calls = _machine()
    guarded = {
        "open": _unless_any(1, _WRITES),
        "openat": _unless_any(2, _WRITES),
        "ioctl": _if_one_of(1, _IOCTLS),
        "fcntl": _if_one_of(1, _FCNTLS),
        "prctl": _if_one_of(0, _PRCTLS),
        "prlimit64": _if_one_of(0, (0,)),  # only of the caller itself
        "clone": _unless_any(0, _NEW_NAMESPACES),
        # The C library falls back to clone, whose flags can be seen.
        "clone3": [_ret(ERRNO | ENOSYS)],
    }
    program = [*_head(audit)]
    if files:
        machine = "x86_64" if platform.machine() == "x86_64" else "aarch64"
        guarded |= {"open": [_ret(ALLOW)], "openat": [_ret(ALLOW)]}
        guarded["fcntl"] = _if_one_of(1, (*_FCNTLS, *_LOCKS))
        changes = _numbers(_MODE_CALLS[machine])
        calls |= _numbers(_FILE_CALLS[machine]) | changes
        guarded |= dict.fromkeys(changes, [_ret(ALLOW if modes else ERRNO)])
    for name, number in calls.items():
        program += _when(number, guarded.get(name, [_ret(ALLOW)]))
    return b"".join([*program, _ret(ERRNO | EPERM)])


def child_filter(pid: int, forks: bool, signals: bool, threads: bool = False) -> bytes:
    """Return the filter of one child; OSError if the machine is unknown.

    Args:
      pid: The child.
      forks: Forbid new processes and threads.
      threads: Allow threads nevertheless.
      signals: Forbid signals to other processes. Kernels before 6.12 know no other way.
    """
    audit, calls = _machine()
    program = [*_head(audit)]
    if signals:
        for name in ("kill", "tgkill"):
            program += _when(calls[name], _if_one_of(0, (pid,)))
    forbidden = ["recvmsg"]  # descriptors from other processes
    if forks:
        forbidden += ["clone", "clone3", "fork", "vfork"]
    if threads:
        forbidden.remove("clone")
        program += _when(calls["clone"], _only_with(0, _CLONE_THREAD))
        # The C library falls back to clone.
        forbidden.remove("clone3")
        program += _when(calls["clone3"], [_ret(ERRNO | ENOSYS)])
    for name in forbidden:
        if name in calls:
            program += _when(calls[name], [_ret(ERRNO | EPERM)])
    return b"".join([*program, _ret(ALLOW)])


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:  # a word of seccomp_data
    return _instruction(0x20, offset)


def _ret(action: int) -> bytes:
    return _instruction(0x06, action)


def _head(audit: int) -> list[bytes]:
    """Kill the process on another architecture; load the call's number."""
    return [
        _load(4),
        _instruction(0x15, audit, 1, 0),
        _ret(KILL_PROCESS),
        _load(0),
        _instruction(0x35, _X32_BIT, 0, 1),
        _ret(KILL_PROCESS),
    ]


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """Run the body, which ends in a return, for one call."""
    return [_instruction(0x15, number, 0, len(body)), *body]


def _argument(index: int) -> bytes:  # the low half: the machines are little-endian
    return _load(16 + 8 * index)


def _unless_any(index: int, bits: int) -> list[bytes]:
    """Allow the call if an argument has none of the bits."""
    check = _instruction(0x45, bits, 0, 1)
    return [_argument(index), check, _ret(ERRNO | EPERM), _ret(ALLOW)]


def _only_with(index: int, bit: int) -> list[bytes]:
    """Allow the call if an argument has the bit."""
    check = _instruction(0x45, bit, 1, 0)
    return [_argument(index), check, _ret(ERRNO | EPERM), _ret(ALLOW)]


def _if_one_of(index: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow the call if an argument is one of the values."""
    checks = [
        _instruction(0x15, value, len(values) - i, 0) for i, value in enumerate(values)
    ]
    return [_argument(index), *checks, _ret(ERRNO | EPERM), _ret(ALLOW)]

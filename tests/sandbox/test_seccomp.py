"""The seccomp filter, run by a slow interpreter of classic BPF."""

import os
import struct

import pytest

from repair.sandbox import seccomp

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
OPENAT = {"x86_64": 257, "aarch64": 56}
NEW_USER = 0x10000000
REFUSED = seccomp.ERRNO | seccomp.EPERM


def decide(program, number, audit, arguments=()):
    """Return the filter's decision on a call: action | data."""
    arguments = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, audit, 0, *arguments)
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x20:  # load a word
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:  # return
            return value
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: accumulator & value != 0,
            }[code]
            at += if_true if holds else if_false


@pytest.fixture(params=MACHINES)
def machine(request, monkeypatch):
    monkeypatch.setattr(seccomp.platform, "machine", lambda: request.param)
    return request.param


def test_what_programs_need_is_allowed_and_the_rest_fails(machine):
    program, audit = seccomp.worker_filter(), MACHINES[machine]
    _, calls = seccomp._machine()
    guarded = {"open", "openat", "ioctl", "prctl", "clone", "clone3", "fcntl"}
    for name, number in calls.items():
        if name not in guarded:
            assert decide(program, number, audit) == seccomp.ALLOW, name
    for number in set(range(500)) - set(calls.values()):
        assert decide(program, number, audit) == REFUSED, number


def test_another_architecture_dies(machine):
    program, audit = seccomp.worker_filter(), MACHINES[machine]
    (other,) = set(MACHINES.values()) - {audit}
    for wrong in (other, 0x40000003, 0):
        assert decide(program, 0, wrong) == seccomp.KILL_PROCESS
        assert (
            decide(seccomp.child_filter(9, True, True), 0, wrong)
            == seccomp.KILL_PROCESS
        )
    # x32: the same architecture with other numbers.
    assert decide(program, 1 << 30, audit) == seccomp.KILL_PROCESS


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        (os.O_RDONLY, True),
        (os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY, True),
        (os.O_WRONLY, False),
        (os.O_RDWR, False),
        (os.O_RDONLY | os.O_CREAT, False),
        (os.O_RDONLY | os.O_TRUNC, False),
    ],
)
def test_files_open_to_read_only(machine, flags, allowed):
    program, audit = seccomp.worker_filter(), MACHINES[machine]
    found = decide(program, OPENAT[machine], audit, [3, 0, flags])
    assert found == (seccomp.ALLOW if allowed else REFUSED)


def test_arguments_that_matter(machine):
    program, audit = seccomp.worker_filter(), MACHINES[machine]
    _, calls = seccomp._machine()

    def allowed(name, *arguments):
        return decide(program, calls[name], audit, arguments) == seccomp.ALLOW

    assert allowed("clone", 0x01200011) and not allowed("clone", 0x11 | NEW_USER)
    assert decide(program, calls["clone3"], audit) == seccomp.ERRNO | seccomp.ENOSYS
    assert allowed("prctl", 1) and not allowed("prctl", 4)  # no PR_SET_DUMPABLE
    assert allowed("fcntl", 3, 1) and not allowed("fcntl", 3, 8)  # no F_SETOWN
    assert not allowed("fcntl", 3, 10)  # no F_SETSIG
    assert "pidfd_send_signal" not in calls and "rt_sigqueueinfo" not in calls
    assert allowed("prlimit64", 0) and not allowed("prlimit64", 1)
    assert allowed("ioctl", 0, 0x5401) and not allowed("ioctl", 0, 0x5412)  # TIOCSTI


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("signals", [True, False])
def test_children_without_processes_and_signals(machine, forks, signals):
    program = seccomp.child_filter(4321, forks, signals)
    audit = MACHINES[machine]
    _, calls = seccomp._machine()
    for name, number in calls.items():
        starts = name in ("clone", "clone3", "fork", "vfork")
        refused = name == "recvmsg" or forks and starts
        refused = refused or signals and name in ("kill", "tgkill")
        expected = REFUSED if refused else seccomp.ALLOW
        assert decide(program, number, audit, [77]) == expected, name
    for pid in (4321, 1, 0, 2**32 - 1):
        allowed = not signals or pid == 4321
        found = decide(program, calls["kill"], audit, [pid, 9])
        assert (found == seccomp.ALLOW) == allowed


def test_an_unknown_machine_has_no_filter(monkeypatch):
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="no filter for riscv64"):
        seccomp.worker_filter()


def test_a_worker_that_writes_files_has_their_calls_and_no_others(machine):
    audit = MACHINES[machine]
    _, calls = seccomp._machine()
    files = seccomp._numbers(seccomp._FILE_CALLS[machine])
    modes = seccomp._numbers(seccomp._MODE_CALLS[machine])
    assert not (files.keys() | modes.keys()) & calls.keys()
    numbers = [*calls.values(), *files.values(), *modes.values()]
    assert len(set(numbers)) == len(numbers)
    for allowed in (True, False):
        program = seccomp.worker_filter(files=True, modes=allowed)
        for number in files.values():
            assert decide(program, number, audit) == seccomp.ALLOW
        # A call that does nothing returns 0.
        expected = seccomp.ALLOW if allowed else seccomp.ERRNO
        for number in modes.values():
            assert decide(program, number, audit) == expected
        writing = (0, 0, os.O_WRONLY | os.O_CREAT)
        assert decide(program, OPENAT[machine], audit, writing) == seccomp.ALLOW
        for number in set(range(500)) - set(numbers):
            assert decide(program, number, audit) == REFUSED, number
        clone = calls["clone"]
        assert decide(program, clone, audit, (NEW_USER,)) == REFUSED


def test_a_child_with_threads_has_no_processes(machine):
    audit = MACHINES[machine]
    _, calls = seccomp._machine()
    program = seccomp.child_filter(7, True, False, threads=True)
    thread = (seccomp._CLONE_THREAD | 0x100,)
    assert decide(program, calls["clone"], audit, thread) == seccomp.ALLOW
    assert decide(program, calls["clone"], audit, (17,)) == REFUSED
    assert decide(program, calls["clone3"], audit) == seccomp.ERRNO | seccomp.ENOSYS
    for name in ("fork", "vfork"):
        if name in calls:
            assert decide(program, calls[name], audit) == REFUSED

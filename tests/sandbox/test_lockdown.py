"""The isolation of programs: each layer at work, and programs that try to escape.

The attacks evade Python's audit hook, which is left out here: only the isolation is
tested. Where the system lacks a layer, attacks that only it stops are skipped.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from repair.errors import UserError
from repair.sandbox import Limits, Sandbox, lockdown

ROOT = pathlib.Path(__file__).parents[2]
NOBODY = 65534
LIMITS = Limits(seconds=3.0, cpu_seconds=0.5, memory_mb=256)
RIGHT = "def f(x):\n    return x + 1"
TESTS = ("assert f(1) == 2", "assert f(2) == 3")
# Calls of the C library; `call` turns errno into an exception.
BENEATH = """\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers need Linux")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, limits=LIMITS, without=("hooks",)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def level(sandbox):
    return sandbox.level


def test_the_level_is_said_with_what_is_missing(level):
    assert level.line().startswith(f"sandbox level: {level.name}")
    assert (level.name == "full") == (not level.missing)
    level.require("weak")
    with pytest.raises(UserError, match="none of weak, standard, full"):
        level.require("strong")
    if level.name != "full":
        with pytest.raises(UserError, match="is required here"):
            level.require("full")


LEFT_OUT = {
    "mounts": "mounts",
    "network": "network",
    "ipc": "ipc",
    "pids": "pids",
    "user": "user",
    "landlock": "landlock",
    "seccomp": "seccomp",
    "forks": "forks",
}


@pytest.mark.parametrize("layer", LEFT_OUT)
def test_a_layer_left_out_is_found_missing(level, layer):
    """Show that each layer does work of its own, and that its probe can fail."""
    if layer in level.missing:
        pytest.skip(f"not to be had here: {level.line()}")
    with Sandbox(workers=1, limits=LIMITS, without=(layer,)) as open_one:
        found = open_one.level
        assert layer in found.missing
        assert found.name in ("weak", "standard")
        with pytest.raises(UserError, match="sandbox level"):
            found.require("full")
        assert open_one.run(RIGHT, TESTS).passed


def test_no_layer_at_all_is_weak_and_still_runs():
    with Sandbox(workers=1, limits=LIMITS, without=lockdown.LAYERS) as sandbox:
        assert sandbox.level.name == "weak"
        with pytest.raises(UserError, match="At least 'standard' is required"):
            sandbox.level.require("standard")
        assert sandbox.run(RIGHT, TESTS).passed


# Attacks of programs, which must fail.
ESCAPES = {
    # Files.
    "read_tests": "open({secret!r}).read()",
    "read_passwd": "open('/etc/passwd').read()",
    "read_home": "import os\nos.listdir(os.path.expanduser('~root'))",
    "list_root": "import os\nos.listdir('/')",
    "read_environment": "open('/proc/{pid}/environ').read()",
    "read_memory": "open('/proc/{pid}/mem', 'rb')",
    "read_own_memory": "open('/proc/self/mem', 'rb')",
    "list_processes": "import os\nos.listdir('/proc')",
    "write_folder": "open('x', 'w')",
    "write_tmp": "open('/tmp/repair-escape', 'w')",
    "append_tests": "open({secret!r}, 'a')",
    "make_folder": "import os\nos.mkdir('/tmp/repair-escape')",
    "unlink": "import os\nos.unlink({secret!r})",
    "rename": "import os\nos.rename({secret!r}, '/tmp/repair-escape')",
    "symlink": "import os\nos.symlink('/', 'root')",
    "hard_link": "import os\nos.link({secret!r}, 'x')",
    "chmod": "import os\nos.chmod({secret!r}, 0o777)",
    "truncate": "import os\nos.truncate({secret!r}, 0)",
    "utime": "import os\nos.utime({secret!r})",
    "named_pipe": "import os\nos.mkfifo('/tmp/repair-escape')",
    "device": "import os\nos.mknod('/tmp/repair-escape', 0o20666, 0x103)",
    "chdir": "import os\nos.chdir('/')",
    "chroot": "import os\nos.chroot('/tmp')",
    "mount": BENEATH + "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "memory_file": "import os\nos.memfd_create('x')",
    "shared_memory": "import mmap\nopen('/dev/shm/repair', 'w')",
    "open_by_handle": BENEATH + "call('open_by_handle_at', 3, None, 0)",
    # Network.
    "connect": "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "listen": "import socket\nsocket.create_server(('127.0.0.1', 0))",
    "datagram": "import socket\nsocket.socket(type=socket.SOCK_DGRAM)",
    "unix_socket": "import socket\nsocket.socket(socket.AF_UNIX).connect({unix!r})",
    "raw_socket": "import socket\nsocket.socket(type=socket.SOCK_RAW)",
    "netlink": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    # Other processes, and more rights.
    "fork": "import os\nos.fork()",
    "forkpty": "import pty\npty.fork()",
    "thread": "import threading\nthreading.Thread(target=print).start()",
    "spawn": "import subprocess\nsubprocess.run(['true'])",
    "system": "import os\nif os.system('true'): raise PermissionError",
    "exec": "import os\nos.execv('/bin/true', ['true'])",
    "multiprocessing": "import multiprocessing as m\nm.Process(target=print).start()",
    "kill_trainer": "import os\nos.kill({pid}, 9)",
    "kill_everybody": "import os\nos.kill(-1, 9)\nos.kill({pid}, 0)",
    "trace_trainer": BENEATH + "call('ptrace', 16, {pid}, 0, 0)",
    "trace_me": BENEATH + "call('ptrace', 0, 0, 0, 0)",
    "trainer_memory": BENEATH + "call('process_vm_readv', {pid}, 0, 0, 0, 0, 0)",
    "pidfd": "import os\nos.pidfd_open({pid})",
    "pidfd_signal": (
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)"
    ),
    "signal_by_owner": "import fcntl\nfcntl.fcntl(0, fcntl.F_SETOWN, {pid})",
    "owner_of_signal": "import fcntl\nfcntl.fcntl(0, 10, 9)",  # F_SETSIG
    "kill_worker": "import os\nos.kill(os.getppid(), 9)",
    "read_package": "open({package!r}).read()",
    "receive_descriptor": (
        "import socket\na, b = socket.socketpair()\n"
        "socket.send_fds(a, [b'x'], [0])\nsocket.recv_fds(b, 1, 1)"
    ),
    "nice": "import os\nos.nice(-5)",
    "set_uid": "import os\nos.setuid(0)",
    "set_groups": "import os\nos.setgroups([0])",
    "namespace": BENEATH + "call('unshare', 0x10000000)",
    "host_name": "import socket\nsocket.sethostname('x')",
    "module": BENEATH + "call('init_module', 0, 0, b'')",
    "bpf": BENEATH + "call('syscall', 321, 0, 0, 0)",
    "perf": BENEATH + "call('syscall', 298, 0, 0, 0, 0, 0)",
    "keyring": BENEATH + "call('syscall', 250, 0, 0)",
    "io_uring": BENEATH + "call('syscall', 425, 8, 0)",
    "userfault": BENEATH + "call('syscall', 323, 0)",
    "clock": "import time\ntime.clock_settime(0, 0)",
    # Limits.
    "raise_memory": "import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))",
    "raise_time": "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (99, 99))",
    "raise_forks": "import resource as r\nr.setrlimit(r.RLIMIT_NPROC, (9, 9))",
    "limits_of_trainer": "import resource as r\nr.prlimit({pid}, r.RLIMIT_AS, (1, 1))",
    "many_files": "x = [open('/dev/null') for _ in range(99)]",
}
# Layers without which the attack succeeds; by default the standard ones.
NEEDS = {
    "limits_of_trainer": ("pids",),
    "kill_trainer": ("pids",),
    "kill_everybody": ("pids",),
}


@pytest.fixture(scope="module")
def prey(tmp_path_factory):
    """Targets of the attacks: this process, a file, and two that listen."""
    folder = tmp_path_factory.mktemp("prey")
    secret = folder / "tests.jsonl"
    secret.write_text("assert f(1) == 2")
    for path in (folder, secret):
        path.chmod(0o777)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        address = f"{os.path.relpath(folder, '/tmp')}/socket"
        unix.bind(os.path.join("/tmp", address))
        unix.listen()
        yield {
            "secret": str(secret),
            "port": server.getsockname()[1],
            "unix": os.path.join("/tmp", address),
            "pid": os.getpid(),
            "package": pytest.__file__,
        }
    assert secret.read_text() == "assert f(1) == 2"
    assert not os.path.exists("/tmp/repair-escape")
    assert not os.path.exists("/dev/shm/repair")


@pytest.mark.parametrize("name", ESCAPES)
def test_no_way_out(sandbox, level, prey, name):
    needed = NEEDS.get(name, ("landlock", "seccomp", "forks"))
    if any(layer in level.missing for layer in needed):
        pytest.skip(level.line())
    attack = ESCAPES[name]
    for key, value in prey.items():
        attack = attack.replace(f"{{{key}!r}}", repr(value))
        attack = attack.replace(f"{{{key}}}", str(value))
    before = descriptors()
    result = sandbox.run(f"{attack}\n{RIGHT}", TESTS)
    # In a namespace of its own, a program can kill the process that watches it.
    apart = name in ("kill_worker", "kill_everybody")
    ended = ("crashed", "passed") if apart else ()
    assert result.status in ("forbidden", "error", *ended), result
    assert result.trust == "value"
    assert sandbox.run(RIGHT, ["assert f(3) == 4"]).passed
    assert descriptors() == before
    assert not family(sandbox)
    assert not os.listdir(sandbox._folder)


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def family(sandbox):
    """Return the processes below the zygote that do not end within half a second.

    One that has no children waits for the next request.
    """
    (worker,) = sandbox._workers
    launcher = worker._process.pid
    for _ in range(50):
        left = descendants(launcher)
        # The launcher, if it is apart, has the zygote below it.
        if len(left) <= 2:
            return []
        time.sleep(0.01)
    return left


EXHAUSTION = {
    "loop": ("while True: pass", "timeout"),
    "sleep": ("import time\ntime.sleep(99)", "timeout"),
    "ignored_signals": (
        "import signal\n"
        "for n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, lambda *_: 0)\n"
        "while True: pass",
        "timeout",
    ),
    "stop_itself": ("import os\nos.kill(os.getpid(), 19)", "timeout"),
    "no_death_with_parent": (BENEATH + "call('prctl', 1, 0)\nwhile 1: pass", "timeout"),
    "own_timer": ("import signal\nsignal.setitimer(2, 0)\nwhile 1: pass", "timeout"),
    "memory": ("x = bytearray(10**9)", "timeout"),
    "much_memory_in_parts": ("x = []\nwhile 1: x.append(bytes(10**6))", "timeout"),
    "mapped_memory": ("import mmap\nmmap.mmap(-1, 10**9)", "error"),
    "locked_memory": (BENEATH + "call('mlockall', 3)", "forbidden"),
    "deep_recursion": ("def g(): return g()\ng()", "error"),
    "stack_overflow": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef g(): return g()\ng()",
        ("crashed", "timeout", "error"),
    ),
    "segmentation_fault": (BENEATH + "ctypes.string_at(0)", "crashed"),
    "abort": ("import os\nos.abort()", "crashed"),
    "exit": ("import os\nos._exit(0)", "crashed"),
    "flood": ("import os\nwhile 1: os.write({writer}, b'x' * 65536)", "crashed"),
    "huge_value": ("def f(x): return 'a' * 10**8", ("failed", "timeout")),
    "nested_value": ("f = lambda x: x\nfor _ in range(10**5): x = [0]", "failed"),
    "huge_number": ("def f(x): return 1 << 10**7", "failed"),
    "huge_message": ("raise ValueError('x' * 10**7)", "error"),
    "slow_message": (
        "class E(Exception):\n    def __str__(self):\n        while 1: pass\nraise E",
        "timeout",
    ),
    "many_descriptors": ("import os\nwhile 1: os.dup(0)", "error"),
    "big_source": ("x = 1\n" * 20_000, "error"),
    "deep_source": ("x = " + "(" * 5000 + ")" * 5000, ("syntax_error", "timeout")),
    "regular_expression": ("import re\nre.match('(a+)+b', 'a' * 40)", "timeout"),
    "big_power": ("x = 10 ** 10 ** 9", "timeout"),
}


@pytest.mark.parametrize("name", EXHAUSTION)
def test_nothing_runs_out(sandbox, level, name):
    if "seccomp" in level.missing:
        pytest.skip(level.line())
    code, expected = EXHAUSTION[name]
    code = code.replace("{writer}", "max(int(n) for n in range(32) if open_(n))")
    if "open_" in code:
        code = (
            "import os\ndef open_(n):\n    try: os.fstat(n)\n"
            "    except OSError: return False\n    return True\n" + code
        )
    before, started = descriptors(), time.monotonic()
    result = sandbox.run(f"{code}\n", TESTS)
    assert time.monotonic() - started < LIMITS.seconds + 0.5
    expected = (expected,) if isinstance(expected, str) else expected
    assert result.status in expected, result
    assert sandbox.run(RIGHT, ["assert f(3) == 4"]).passed
    assert descriptors() == before
    assert not family(sandbox)


FORGERIES = {
    # Finds the child's secret and claims a pass.
    "claim": """
import gc, json, os
for each in gc.get_objects():
    if isinstance(each, dict) and each.get('token'):
        claim = {'token': each['token'], 'tests': [{'held': True}] * 2}
for fd in range(3, 64):
    try: os.write(fd, json.dumps(claim).encode() + b'\\n')
    except OSError: pass
os._exit(0)""",
    # Two answers: a forged one, then the child's.
    "twice": """
import gc, json, os
for each in gc.get_objects():
    if isinstance(each, dict) and each.get('token'):
        one = [{'value': 2, 'converted': False}]
        claim = {'token': each['token'], 'tests': [one] * 2}
for fd in range(3, 64):
    try: os.write(fd, json.dumps(claim).encode() + b'\\n')
    except OSError: pass
def f(x): return 5""",
    "half": "import os\nos.write(3, b'{')\nos._exit(0)",
    "equal_to_all": "class A:\n    __eq__ = lambda *_: True\nf = lambda x: A()",
    "equal_number": "class A(int):\n    __eq__ = lambda *_: True\nf = lambda x: A(0)",
    "equal_list": "class A(list):\n    __eq__ = lambda *_: True\nf = lambda x: A()",
    "no_assert": "import builtins\nbuiltins.AssertionError = Warning\nf = lambda x: 0",
    "other_encoder": """
import sys
for module in list(sys.modules.values()):
    if hasattr(module, 'encode') and hasattr(module, 'TooLarge'):
        module.encode = lambda value, room, depth=0: 2
def f(x): return 0""",
    "exit_status": "raise SystemExit(0)",
    "look_for_expected": """
import gc
found = [e for e in gc.get_objects() if isinstance(e, (list, tuple, dict))]
expected = [x for e in found for x in (e if not isinstance(e, dict) else e.values())
            if isinstance(x, str) and '== 777' in x or x == 777]
def f(x): return 777 if expected else 0""",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_forged_verdict(sandbox, name):
    result = sandbox.run(FORGERIES[name], ["assert f(1) == 777", "assert f(2) == 778"])
    assert not result.passed and result.trust == "value"
    assert result.failed_tests == (0, 1) or result.status == "failed"
    assert sandbox.run(RIGHT, TESTS).passed


def test_a_program_leaves_nothing_for_the_next(sandbox):
    leave = (
        "import builtins, sys, math, random\n"
        "builtins.len = lambda x: 99\nmath.floor = lambda x: 99\n"
        "sys.modules['bisect'] = None\nrandom.seed(5)\nsys.setrecursionlimit(50)\n"
    )
    look = (
        "import bisect, math, sys\n"
        "def f(x): return [len([1]), math.floor(2.5), sys.getrecursionlimit() > 99]"
    )
    tests = ["assert f(1) == [1, 2, True]"]
    assert sandbox.run(leave + RIGHT, TESTS).passed
    assert sandbox.run(look, tests).passed


# A trainer that prints its launcher's id once a program hangs below it.
TRAINER = """\
import time
from repair.sandbox import Limits, Sandbox
sandbox = Sandbox(workers=1, limits=Limits(seconds=60, cpu_seconds=50))
sandbox.submit("import time\\ntime.sleep(50)", ("assert True",))
print(sandbox._workers[0]._process.pid, flush=True)
time.sleep(50)
"""


@pytest.mark.parametrize("who", ["trainer", "launcher"])
def test_nothing_below_survives_a_kill(who):
    """Kill either of the upper two processes: all below end within 2 s."""
    # A process of its own, not a fork: this one may hold jax and its threads.
    command = [sys.executable, "-c", TRAINER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        launcher = int(trainer.stdout.readline())
        deadline = time.monotonic() + 10
        while len(below := descendants(launcher)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(below) >= 2  # a monitor and the program
        os.kill(trainer.pid if who == "trainer" else launcher, signal.SIGKILL)
        deadline = time.monotonic() + 2
        while any(map(alive, below)) and time.monotonic() < deadline:
            time.sleep(0.02)
        trainer.kill()
    assert not any(map(alive, below))


def descendants(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(c) for c in text.split()] + [
        d for c in text.split() for d in descendants(int(c))
    ]


def alive(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def test_the_super_user_needs_another_way_to_forbid_forks():
    """Use a filter: limits on processes do not bind the super-user."""
    if os.geteuid() != 0:
        pytest.skip("not the super-user")
    with Sandbox(workers=1, limits=LIMITS, without=("user", "hooks")) as sandbox:
        assert "forks" not in sandbox.level.missing
        result = sandbox.run(f"import os\nos.fork()\n{RIGHT}", TESTS)
        assert result.status == "forbidden"


ORDINARY = """\
import os, signal, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
from repair.sandbox import Limits, Sandbox
left_out = ("mounts", "network", "ipc", "pids", "hooks", *sys.argv[1:])
code = sys.stdin.read().replace("TRAINER", str(os.getpid()))
with Sandbox(workers=1, limits=Limits(cpu_seconds=2.0), without=left_out) as box:
    print(box.level.line(), flush=True)
    result = box.run(code, ("assert f(1) == []",))
    print(result.status, result.feedback, flush=True)
    print(box.run("def f(x): return 7", ("assert f(1) == 7",)).status, flush=True)
"""
# By numbers: the audit hook and Python's own checks are out of the way.
SIGNALS = """\
import ctypes, fcntl, os, platform, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
arm = platform.machine() in ("aarch64", "arm64")
numbers = dict(
    tkill=(200, 130), tgkill=(234, 131), sigqueue=(129, 138), tgsigqueue=(297, 240),
    kill=(62, 129), pidfd_open=(434, 434), pidfd_send=(424, 424), fcntl=(72, 25),
    prlimit=(302, 261), setpgid=(109, 154), ioctl=(16, 29),
)
def call(name, *arguments):
    number = numbers[name][arm]
    if libc.syscall(number, *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), name)
def info():
    data = ctypes.create_string_buffer(128)
    ctypes.memmove(data, (ctypes.c_int * 3)(15, 0, -1), 12)  # SI_QUEUE
    return data
def owner(number, value):
    def way():
        a, b = socket.socketpair()
        fcntl.fcntl(a, number, value)
        fcntl.fcntl(a, 4, fcntl.fcntl(a, 3) | 0o20000)  # O_ASYNC
        b.send(b'x')
    return way
def f(x):
    went = []
    for trainer in (TRAINER, os.getppid()):
        data = info()
        at = ctypes.addressof(data)
        class Owner(ctypes.Structure):
            _fields_ = [("kind", ctypes.c_int), ("pid", ctypes.c_int)]
        own = Owner(1, trainer)
        ways = {
            "kill": lambda: os.kill(trainer, 15),
            "killpg": lambda: os.killpg(os.getpgid(trainer), 15),
            "kill_group": lambda: call("kill", -trainer, 15),
            "kill_all": lambda: call("kill", -1, 15),
            "kill_zero_of_group": lambda: (
                call("setpgid", 0, os.getpgid(trainer)), call("kill", 0, 15)),
            "tkill": lambda: call("tkill", trainer, 15),
            "tgkill": lambda: call("tgkill", trainer, trainer, 15),
            "tgkill_any": lambda: call("tgkill", -1, trainer, 15),
            "sigqueue": lambda: call("sigqueue", trainer, 15, at),
            "tgsigqueue": lambda: call("tgsigqueue", trainer, trainer, 15, at),
            "pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(trainer), 15),
            "pidfd_open": lambda: call("pidfd_open", trainer, 0),
            "owner": owner(8, trainer),
            "owner_of_group": owner(8, -trainer),
            "set_signal": owner(10, 9),
            "owner_ex": owner(15, bytes(own)),
            "socket_owner": lambda: call("ioctl", 3, 0x8901, ctypes.addressof(own) + 4),
            "socket_group": lambda: call("ioctl", 3, 0x8902, ctypes.addressof(own) + 4),
            "limits": lambda: call("prlimit", trainer, 0, at, 0),
        }
        for name, way in ways.items():
            try:
                way()
                went.append(name)
            except (OSError, OverflowError):
                pass
    return went
"""


def runs_for_nobody(interpreter):
    code = "import sys; assert sys.version_info >= (3, 11); import repair.sandbox"
    try:
        done = subprocess.run(
            [interpreter, "-c", code], user=NOBODY, capture_output=True, cwd=ROOT
        )
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.parametrize("missing", [(), ("landlock",)])
def test_an_ordinary_trainer_survives_every_way_to_signal_it(missing):
    """Without namespaces, programs run as the trainer's own user.

    Landlock forbids signals by itself since Linux 6.12; before, the filter has to.
    """
    if os.geteuid() != 0:
        pytest.skip("not the super-user, who alone can become another")
    candidates = (sys.executable, "/usr/bin/python3")
    interpreter = next(filter(runs_for_nobody, candidates), None)
    if interpreter is None:
        pytest.skip("no interpreter that every user may run")
    done = subprocess.run(
        [interpreter, "-c", ORDINARY, *missing],
        input=SIGNALS,
        capture_output=True,
        text=True,
        cwd=ROOT,
        start_new_session=True,  # a group of its own, which programs try to signal
    )
    assert done.returncode == 0, done
    level, *results = done.stdout.splitlines()
    if "signals: " in level:
        pytest.skip(level)
    assert results == ["passed ", "passed"], done
    assert missing or "; landlock: " in level or "level: standard" in level

"""The isolation level of a sandbox, measured by a probe in a real child process."""

import dataclasses
import json
import os
import pathlib
import sys
import sysconfig
import tempfile

from repair.errors import UserError
from repair.sandbox.worker import Request, SandboxError, Worker

LEVELS = ("weak", "standard", "full")
REFUSED = "refused"

# "standard" needs these; "full" needs the namespaces and another user as well.
_STANDARD = (
    "privileges landlock seccomp forks signals packages memory files connections"
    " descriptors programs"
).split()
_FULL = "mounts network ipc pids user".split()
_REMEDIES = {
    **dict.fromkeys(_FULL[:4], "run as root or allow user namespaces"),
    "user": "install Python where every user may read it, or do not run as root",
    **dict.fromkeys(
        ("signals", "seccomp"), "use Linux with seccomp on x86-64 or 64-bit Arm"
    ),
    "packages": "use Linux 5.13 or later with Landlock enabled",
    "landlock": "use Linux 5.13 or later with Landlock enabled (lsm=landlock,...)",
}
_WORDS = {
    "full": "a program reaches no file, process or network",
    "standard": "a program reaches no file, process or network; a layer is missing",
    "weak": "a program that evades Python's hooks can do what your user can",
}
_SECONDS = 60.0  # of a probe: a busy machine must not read as a weak one
_MOST = 1 << 16  # bytes of a probe's answer


@dataclasses.dataclass(frozen=True)
class Level:
    """Isolation level of the programs of a sandbox.

    Attributes:
      name: "full": all probes were refused. "standard": a program reaches no file,
        process or network and gains no rights, but a layer in depth is missing.
        "weak": only Python's audit hook and resource limits hold.
      missing: Probes that were not refused, {probe: result}.
      reasons: Reasons for missing layers, {layer: error message of the system}.
    """

    name: str
    missing: dict[str, str]
    reasons: dict[str, str]

    def line(self) -> str:
        """Return one line with the level, each missing layer and its remedy."""
        text = f"sandbox level: {self.name} ({_WORDS[self.name]})"
        for probe, result in self.missing.items():
            remedy = f" ({_REMEDIES[probe]})" if probe in _REMEDIES else ""
            text += f"; {probe}: {self.reasons.get(probe) or result}{remedy}"
        return text

    def require(self, least: str) -> None:
        """Refuse a level that is too low.

        Raises:
          UserError: The level is below `least`, or `least` is unknown.
        """
        if least not in LEVELS:
            raise UserError(f"sandbox level {least!r} is none of {', '.join(LEVELS)}")
        if LEVELS.index(self.name) < LEVELS.index(least):
            raise UserError(
                f"{self.line()}. At least {least!r} is required here; accept less with"
                f" --config.sandbox_level={self.name}, if the programs are trusted"
            )


def measure_level(
    worker: Worker, memory_mb: int, allowed: tuple[str, ...] = ()
) -> Level:
    """Return the level that the probe finds in children of a worker.

    Args:
      worker: The worker.
      memory_mb: Its limit of memory.
      allowed: Probes to leave out, since the worker grants what they ask for.
    """

    def ask(*jobs: dict) -> list[str]:
        requests = [
            Request(json.dumps(job).encode(), _SECONDS, _SECONDS, memory_mb, _MOST)
            for job in jobs
        ]
        return [answer.text for answer in worker.ask(requests, requests[0])]

    (report,) = ask({"report": True})
    if not report:
        raise SandboxError("a sandbox worker does not report its isolation")
    reasons = json.loads(report)
    if sys.platform != "linux":
        return Level("weak", {"seccomp": f"not on {sys.platform}"}, reasons)
    # Last, in a child of its own: a successful exec would replace the probe.
    layers = [name for name in (*_FULL, *_STANDARD) if name not in allowed]
    *most, last = layers
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        os.chmod(folder, 0o777)
        readable = os.path.join(folder, "tests")
        with open(readable, "w", encoding="utf-8") as file:
            file.write("assert True\n")
        os.chmod(readable, 0o644)
        targets = {
            "readable": readable,
            "writable": folder,
            "trainer": os.getpid(),
            "packages": installed_files(),
            "namespaces": {
                name: os.stat(f"/proc/self/ns/{name}").st_ino
                for name in ("mnt", "net", "ipc", "pid")
            },
            "memory_mb": memory_mb + 1,
        }
        texts = ask(*({"probe": targets | {"layers": part}} for part in (most, [last])))
    found: dict[str, str] = {}
    for text in texts:
        if text.endswith("\n"):
            found |= json.loads(text)
    results = {name: found.get(name, "went through") for name in layers}
    missing = {name: text for name, text in results.items() if text != REFUSED}
    weak = any(name in _STANDARD for name in missing)
    name = "weak" if weak else "standard" if missing else "full"
    return Level(name, missing, reasons)


def installed_files() -> list[str]:
    """Return a file of each folder that holds third-party packages, or this one."""
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    folders = [
        pathlib.Path(sysconfig.get_path("purelib")),
        library / "site-packages",
        library / "dist-packages",
        *pathlib.Path("/usr/lib").glob("python3*/dist-packages"),
        *pathlib.Path("/usr/local/lib").glob("python3*/*-packages"),
        pathlib.Path(__file__).parent,
    ]
    files = (next(each.glob("**/*.py"), None) for each in folders if each.is_dir())
    return [str(each) for each in files if each]

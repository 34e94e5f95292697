"""How well programs are locked in: what a real child was refused, in one word."""

import dataclasses
import json
import os
import sys
import tempfile

from repair.errors import UserError
from repair.sandbox.worker import Worker

LEVELS = ("weak", "standard", "full")
REFUSED = "refused"

# What keeps a program from files, network, processes and tests that are not its own.
_STANDARD = (
    "privileges landlock seccomp forks memory files connections descriptors programs"
).split()
_FULL = "mounts network ipc pids user".split()
_REMEDIES = {
    "mounts": "run as root or allow user namespaces",
    "network": "run as root or allow user namespaces",
    "ipc": "run as root or allow user namespaces",
    "pids": "run as root or allow user namespaces",
    "user": "install Python where every user may read it, or do not run as root",
    "landlock": "use Linux 5.13 or later with Landlock enabled (lsm=landlock,...)",
    "seccomp": "use Linux with seccomp on x86-64 or 64-bit Arm",
}
_PATIENT = {"seconds": 10.0, "cpu_seconds": 5.0}  # a slow machine is no weak one
_NAMESPACES = ("mnt", "net", "ipc", "pid")


@dataclasses.dataclass(frozen=True)
class Level:
    """How well a sandbox's programs are locked in.

    Attributes:
      name: "full": every attempt was refused. "standard": a program can reach no
        file, process or network and gain nothing, but some layer in depth is
        missing. "weak": only Python's own hooks and resource limits hold.
      missing: What went through, {attempt: what happened}.
      reasons: Why a layer is not there, {layer: the system's answer}.
    """

    name: str
    missing: dict[str, str]
    reasons: dict[str, str]

    def line(self) -> str:
        """One line that says the level, what is missing, and its remedy."""
        text = f"sandbox level: {self.name}"
        for attempt, happened in self.missing.items():
            reason = self.reasons.get(attempt) or happened
            remedy = _REMEDIES.get(attempt)
            text += f"; {attempt}: {reason}" + (f" ({remedy})" if remedy else "")
        return text

    def require(self, least: str) -> None:
        """Refuses a level that is too low.

        Raises:
          UserError: The level is below `least`, or there is no such level.
        """
        if least not in LEVELS:
            raise UserError(f"sandbox level {least!r} is none of {', '.join(LEVELS)}")
        if LEVELS.index(self.name) < LEVELS.index(least):
            raise UserError(
                f"{self.line()}. At least {least!r} is required here; accept less with"
                f" --config.sandbox_level={self.name}, if the programs are trusted"
            )


def measure(worker: Worker, limits: dict) -> Level:
    """Lets a child of the worker try what programs must not do."""
    reasons = worker.report()
    if sys.platform != "linux":
        return Level("weak", {"seccomp": f"not on {sys.platform}"}, reasons)
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        os.chmod(folder, 0o755)
        readable, writable = os.path.join(folder, "tests"), os.path.join(folder, "out")
        with open(readable, "w", encoding="utf-8") as file:
            file.write("assert True\n")
        os.chmod(readable, 0o644)
        os.mkdir(writable)
        os.chmod(writable, 0o777)
        paths = {
            "readable": readable,
            "writable": writable,
            "namespaces": {
                name: os.stat(f"/proc/self/ns/{name}").st_ino for name in _NAMESPACES
            },
            "memory_mb": limits["memory_mb"] + 1,
        }
        # A program that could be executed takes the place of the child.
        *most, last = [*_FULL, *_STANDARD]
        limits = limits | _PATIENT
        attempts = [
            {"probe": paths | {"layers": x}, "limits": limits} for x in (most, [last])
        ]
        (answer,) = worker.ask([attempts], limits)
    found: dict[str, str] = {}
    for line in answer["text"].splitlines(keepends=True):
        if line.endswith("\n"):
            found |= json.loads(line)
    missing = {
        name: found.get(name, "went through")
        for name in [*most, last]
        if found.get(name) != REFUSED
    }
    if not missing:
        return Level("full", {}, reasons)
    standard = not any(name in _STANDARD for name in missing)
    return Level("standard" if standard else "weak", missing, reasons)

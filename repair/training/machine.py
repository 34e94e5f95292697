"""The machine and the versions that a run's bits depend on, kept in its workdir.

The same seed and config give the same bits on the same instruction set, number of cores
and devices, and versions, the commit of the source among them. WORKDIR/machine.json
lists those of each session that had others than the one before.
"""

import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Callable, Sequence

import jax

from repair.sandbox.cores import available_cores
from repair.training.workdir import load_object, write_whole

_PACKAGES = ("repair", "jax", "jaxlib", "flax", "optax", "numpy", "tokenizers")
_CPUINFO = pathlib.Path("/proc/cpuinfo")


def describe_machine(devices: Sequence) -> dict[str, str]:
    """Return what the bits of a run on these devices depend on, by name."""
    cpu = _cpu_fields()
    found = {
        "processor": cpu.get("model name", platform.processor() or platform.machine()),
        "instruction set": cpu.get("flags", platform.machine()),
        "cores": str(available_cores()),
        "devices": f"{len(devices)} of {devices[0].device_kind}",
        "processes": str(jax.process_count()),
        "python": platform.python_version(),
        "commit": source_commit(pathlib.Path(__file__).parent),
    }
    return found | {name: importlib.metadata.version(name) for name in _PACKAGES}


def note_machine(
    workdir: pathlib.Path, mesh, report: Callable[[str], None] = print
) -> None:
    """Write the machine into the workdir; say what differs from the session before."""
    path = workdir / "machine.json"
    now = describe_machine(mesh.devices.flatten().tolist())
    kept = (load_object(path) if path.exists() else None) or {}
    sessions = kept.get("sessions") or []
    if sessions and sessions[-1] == now:
        return
    if sessions:
        then = sessions[-1]
        told = [
            name if name == "instruction set" else f"{name} {then.get(name)} -> {new}"
            for name, new in now.items()
            if then.get(name) != new
        ]
        report(
            f"this session differs from the one before in {', '.join(told)}; the run"
            " goes on, though perhaps not to the same bits"
        )
    text = json.dumps({"sessions": [*sessions, now]}, indent=2)
    write_whole(path, text + "\n")


def source_commit(folder: pathlib.Path) -> str:
    """Return the git commit that a folder's files are of; "none" outside of git.

    "-dirty" at its end tells of changes since. An installed package within another
    project's repository is no part of its commits.
    """

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(folder), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not git("ls-files"):
        return "none"
    words = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return git(*words) or "none"


def _cpu_fields() -> dict[str, str]:
    if not _CPUINFO.exists():
        return {}
    lines = _CPUINFO.read_text().split("\n\n")[0].splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}

"""The machine and the versions that a run's bits depend on, kept in its workdir.

The same seed and config give the same bits on the same instruction set, number of cores
and devices, and versions, the commit of the source among them. WORKDIR/machine.json
lists those of each session that had others than the one before.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import re
import subprocess
from collections.abc import Callable, Sequence

import jax

from repair.model.llama import LlamaConfig
from repair.sandbox.cores import available_cores
from repair.training.workdir import load_object, write_whole

_PACKAGES = ("repair", "jax", "jaxlib", "flax", "optax", "numpy", "tokenizers")
_BFLOAT16_SINCE = 8.0  # compute capability of NVIDIA's first GPUs with bfloat16
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


def usable_precision(
    shape: LlamaConfig, devices: Sequence, report: Callable[[str], None] = print
) -> LlamaConfig:
    """Return the model with activations in a type that the devices compute.

    GPUs before compute capability 8.0, such as a T4, have no bfloat16, which XLA then
    emulates. float32 takes its place: float16 would need a scaled loss.
    """
    old = [device for device in devices if _capability(device) < _BFLOAT16_SINCE]
    if shape.dtype != "bfloat16" or not old:
        return shape
    report(
        f"{old[0].device_kind} has no bfloat16, which starts at compute capability"
        f" {_BFLOAT16_SINCE}: the model computes in float32, with more memory and time"
    )
    return dataclasses.replace(shape, dtype="float32")


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


def _capability(device) -> float:
    """Return the compute capability of an NVIDIA GPU; inf for other devices."""
    named = str(getattr(device, "compute_capability", ""))
    return float(named) if re.fullmatch(r"\d+\.\d+", named) else float("inf")


def _cpu_fields() -> dict[str, str]:
    if not _CPUINFO.exists():
        return {}
    lines = _CPUINFO.read_text().split("\n\n")[0].splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}

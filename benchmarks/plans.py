"""What runs would need on machines that are not here: compiled plans beside formulas.

python -m benchmarks.plans [--configs=llama32_1b,...] [--machines=v5p-64,...]
    [--override=FIELD=VALUE ...] [--out=FILE.json]

For each config of configs/ and each machine it makes the plan of `repair.train --plan`
in a process of its own, since jax reads the number of devices once, and prints for each
phase what the plan says / what benchmarks/formulas.py says = their ratio. Exits 1 where
a ratio is further from 1 than its bar; docs/scaling.md says what both are worth.
"""

import argparse
import ast
import dataclasses
import importlib
import json
import math
import pathlib
import subprocess
import sys

from benchmarks import formulas
from repair.errors import UserError
from repair.model.sharding import make_mesh, places
from repair.training import config as configs
from repair.training import plan

CONFIGS = "llama32_1b,llama32_3b,llama31_8b"
MACHINES = "v4-32,v5p-64,h200-8"
# How far each ratio may be from 1.
BARS = {
    "weights": 0.02,
    "trained": 0.02,
    "activations": 0.35,
    "caches": 0.02,
    "operations": 0.05,
    "sent": 0.10,
}
# What is divided by for people to read.
UNITS = {name: ("GiB", 2**30) for name in BARS} | {
    "operations": ("10^12", 1e12),
    "sent": ("GB", 1e9),
}


def load(name: str, overrides: list[str]) -> configs.Config:
    """A config of configs/ with FIELD=VALUE overrides.

    Raises:
      UserError: There is none of that name, or no such field.
    """
    try:
        chosen = importlib.import_module(f"configs.{name}").get_config()
        for override in overrides:
            field, _, value = override.partition("=")
            chosen.update_from_flattened_dict({field: ast.literal_eval(value)})
    except (ImportError, KeyError, TypeError, SyntaxError, ValueError) as error:
        raise UserError(f"config {name} {' '.join(overrides)}: {error}") from error
    return configs.read(chosen)


def one(name: str, machine: str, overrides: list[str]) -> dict:
    """What a plan says and what the formulas say; jax must not have started."""
    config, where = load(name, overrides), plan.machine(machine)
    plan.pretend(where.devices)
    mesh = make_mesh(**dataclasses.asdict(config.mesh))
    sizes = formulas.Mesh(**mesh.shape)
    expected = formulas.expected(config, sizes, len(places(mesh)))
    phases = plan.plan(config)
    return {
        "config": name,
        "machine": machine,
        "overrides": overrides,
        "mesh": dict(mesh.shape),
        "memory": where.memory,
        "fits": plan.fits(where, phases),
        "phases": {
            phase: {
                "total": planned.total,
                "planned": _items(planned),
                "expected": expected[phase],
            }
            for phase, planned in phases.items()
        },
    }


def _items(phase: plan.Phase) -> dict[str, float]:
    """Of a plan's phase, what the formulas know, by the formulas' names."""
    held = phase.held
    return {
        "weights": held.get("weights for rollouts", held["weights"]),
        "trained": held["trained, with its optimizer"],
        "activations": held.get("activations and gradients", 0.0),
        "caches": held.get("caches", 0.0),
        "operations": phase.operations,
        "sent": sum(phase.traffic.values()),
    }


def ratio(planned: float, expected: float) -> float:
    """Of the two; 1 where neither is there, or so little that counters make it up."""
    if max(planned, expected) < 1e4:
        return 1.0
    return planned / expected if expected else math.inf


def missed(found: dict) -> list[str]:
    """Names of the phases' items whose ratios miss their bars."""
    return [
        f"{phase}, {item}"
        for phase, both in found["phases"].items()
        for item, expected in both["expected"].items()
        if abs(ratio(both["planned"][item], expected) - 1) > BARS[item]
    ]


def _apart(name: str, machine: str, overrides: list[str]) -> dict:
    """`one` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.plans", "--one"]
    command += [f"--configs={name}", f"--machines={machine}"]
    command += [f"--override={override}" for override in overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    return json.loads(done.stdout)


def _head() -> str:
    names = [f"{name}, {UNITS[name][0]}" for name in BARS]
    titles = ["config", "machine", "phase", "memory", *names]
    return "\n".join((_row(titles), _row(["---"] * len(titles))))


def _rows(found: dict) -> str:
    lines = []
    for phase, both in found["phases"].items():
        total = both["total"]
        cells = [f"{total / 2**30:.1f} GiB, {total / found['memory']:.0%}"]
        for item in BARS:
            if item in both["expected"]:
                pair = both["planned"][item], both["expected"][item]
                shown = [f"{value / UNITS[item][1]:,.2f}" for value in pair]
                cells.append(f"{' / '.join(shown)} = {ratio(*pair):.2f}")
            else:
                cells.append("")
        lines.append(_row([found["config"], found["machine"], phase, *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Prints the table; 1 if a bar is missed, 2 if a name is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", default=CONFIGS)
    parser.add_argument("--machines", default=MACHINES)
    parser.add_argument("--override", action="append", default=[])
    parser.add_argument("--out", default="", help="JSON file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    found = []
    try:
        if args.one:
            print(json.dumps(one(args.configs, args.machines, args.override)))
            return 0
        print(_head())
        for name in args.configs.split(","):
            for machine in args.machines.split(","):
                found.append(_apart(name, machine, args.override))
                print(_rows(found[-1]), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(found, indent=2) + "\n")
    print()
    for each in found:
        where = f"{each['config']} on {each['machine']}"
        print(f"{where}: {'fits' if each['fits'] else 'DOES NOT FIT'}")
        for item in missed(each):
            print(f"{where}: {item} MISSED its bar")
    return 1 if any(map(missed, found)) else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a program costs, read off its text: operations and bytes between devices."""

import collections
import math
import re

from jax.extend.core import jaxprs_in_params

_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)


def operations(jaxpr) -> float:
    """Multiplications and additions of all matmuls, over all devices.

    What a loop repeats counts as often as it runs; of branches the dearest one. Loops
    whose turns only the device knows, as in decoding, count once.

    Args:
      jaxpr: A ClosedJaxpr, for instance `jax.jit(f).trace(*args).jaxpr`.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot(equation)
            continue
        inner = [operations(j) for j in jaxprs_in_params(equation.params)]
        if equation.primitive.name == "cond":
            total += max(inner)
        else:
            total += sum(inner) * equation.params.get("length", 1)
    return total


def _dot(equation) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    out = math.prod(equation.outvars[0].aval.shape)
    return 2.0 * out * math.prod(left[axis] for axis in contracted)


def traffic(hlo: str) -> dict[str, float]:
    """Bytes that a device sends in one run of a compiled program, by collective.

    By the usual ring: of n devices each sends (n - 1) / n of what an all-gather makes
    or a reduce-scatter takes, and twice that in an all-reduce. Every branch counts, and
    a loop whose turns only the device knows counts once.

    Args:
      hlo: `jax.stages.Compiled.as_text()`.
    """
    bodies = _computations(hlo)
    runs = _runs(bodies)
    everyone = re.search(r"num_partitions=(\d+)", hlo.partition("\n")[0])
    devices = int(everyone[1]) if everyone else 1
    sent: dict[str, float] = collections.Counter()
    for name, lines in bodies.items():
        for line in lines:
            found = re.search(rf"= (.*?) ({'|'.join(_COLLECTIVES)})(-start)?\(", line)
            if found:
                kind = found[2]
                size = _result(found[1], kind, starts=bool(found[3]))
                sent[kind] += runs[name] * _sent(kind, size, _group(line, devices))
    return dict(sent)


def _sent(kind: str, size: float, n: int) -> float:
    """Bytes that each of n devices sends for a result of so many bytes."""
    if kind == "collective-permute":
        return size
    if kind == "reduce-scatter":  # its result is the part that is left
        size *= n
    return size * (n - 1) / n * (2 if kind == "all-reduce" else 1)


def _result(shape: str, kind: str, starts: bool) -> float:
    """Bytes that a collective gives; where it only starts, its operands come first."""
    if starts and kind != "all-reduce":
        shape = _parts(shape)[1]
    return _size(shape)


def _parts(shape: str) -> list[str]:
    """The members of a tuple's shape, themselves tuples or not."""
    parts, depth = [""], 0
    for character in shape[1:-1]:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _computations(hlo: str) -> dict[str, list[str]]:
    """The lines of each computation, by name; the program's own is "ENTRY"."""
    bodies: dict[str, list[str]] = {}
    name = None
    for line in hlo.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if head:
            name = "ENTRY" if head[1] else head[2]
            bodies[name] = []
        elif name is not None:
            bodies[name].append(line)
    return bodies


def _runs(bodies: dict[str, list[str]]) -> dict[str, float]:
    """How often each computation runs: loops whose trips are known multiply."""
    calls: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
    for name, lines in bodies.items():
        for line in lines:
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            times = float(trips[1]) if trips and " while(" in line else 1.0
            pattern = (
                r"(?:body|condition|calls|to_apply|true_computation|false_computation)"
                r"=%?([\w.\-]+)"
            )
            called = re.findall(pattern, line)
            for group in re.findall(r"branch_computations=\{([^}]*)\}", line):
                called += re.findall(r"%?([\w.\-]+)", group)
            for callee in called:
                calls[callee].append((name, times))
    runs: dict[str, float] = {"ENTRY": 1.0}

    def count(name: str) -> float:
        if name not in runs:
            runs[name] = 0.0  # a computation never calls itself
            runs[name] = sum(count(caller) * n for caller, n in calls[name])
        return runs[name]

    for name in bodies:
        count(name)
    return runs


def _group(line: str, devices: int) -> int:
    """Devices of each group: of a mesh's axes, of a list, or of its short form."""
    mesh = r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\S+)? \{([^}]*)\}"
    if found := re.search(mesh, line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])  # or a part of one
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(found[1].split(","))
    return devices  # no groups: all of them


def _size(shape: str) -> float:
    """Bytes of an HLO shape, a tuple's in sum; types are named by their bits."""
    total = 0.0
    for kind, bits, dims in re.findall(r"([a-z]+)(\d*)\w*\[([\d,]*)\]", shape):
        each = 1.0 if kind == "pred" else int(bits or 0) / 8
        total += each * math.prod(int(d) for d in dims.split(",") if d)
    return total

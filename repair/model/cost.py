"""What a program costs, read off its text: operations and bytes between devices."""

import collections
import math
import re

import jax

_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4}
_BYTES |= {"f32": 4, "s64": 8, "u64": 8, "f64": 8}


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
        inner = [operations(j) for j in jax.core.jaxprs_in_params(equation.params)]
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
    or a reduce-scatter takes, and twice that in an all-reduce.

    Args:
      hlo: `jax.stages.Compiled.as_text()`.
    """
    bodies = _computations(hlo)
    runs = _runs(bodies)
    sent: dict[str, float] = collections.Counter()
    for name, lines in bodies.items():
        for line in lines:
            found = re.search(rf"= (.*?) ({'|'.join(_COLLECTIVES)})(-start)?\(", line)
            if found:
                kind, n = found[2], _group_size(line)
                size = _size(found[1], largest=bool(found[3]))
                if kind == "reduce-scatter":  # what is shown is the part that is left
                    size *= n
                share = 1.0 if kind == "collective-permute" else (n - 1) / n
                times = 2 if kind == "all-reduce" else 1
                sent[kind] += runs[name] * size * share * times
    return dict(sent)


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
            pattern = r"(?:body|condition|calls|to_apply)=%?([\w.\-]+)"
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


def _group_size(line: str) -> int:
    """Devices of each group: of a mesh's axes, of a list, or of its short form."""
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sizes[a]) for a in re.findall(r"'(\w+)'", found[2]))
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(found[1].split(","))
    return 2  # a permutation: of one to another


def _size(shape: str, largest: bool) -> float:
    """Bytes of an HLO shape; of a pair of operand and result only the larger."""
    sizes = [
        math.prod(int(d) for d in dims.split(",") if d) * _BYTES[kind]
        for kind, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape)
        if kind in _BYTES
    ]
    return float(max(sizes) if largest else sum(sizes))

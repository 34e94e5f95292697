"""What a run would need on devices that are not here: memory, operations, traffic.

The programs of training are compiled ahead of time for as many fake devices, without
weights. Formulas to hold them against are in docs/scaling.md.
"""

import collections
import dataclasses
import re

import jax
import numpy as np
from rich.table import Table

from repair.errors import UserError
from repair.model import cost
from repair.model.api import Model, unstack
from repair.model.lora import join, split
from repair.model.sharding import (
    batch_sharding,
    cache_sharding,
    make_mesh,
    param_shardings,
    places,
)
from repair.text.packing import Batch
from repair.training import rlvr, sft
from repair.training.config import Config, check_mesh
from repair.training.optimizer import init_state, make_optimizer

GIB = 2**30
# Memory of a device in GiB, and how many of a machine's numbered parts make a device:
# Google counts the cores of v4 and v5p, of which two are one device to jax.
MACHINES = {
    "a100": (80, 1),
    "h100": (80, 1),
    "h200": (131, 1),  # 141 GB
    "v4": (32, 2),
    "v5e": (16, 1),
    "v5p": (95, 2),
    "v6e": (32, 1),
}
# Share of the memory that a plan may fill: the rest is the compiler's and for pieces.
ROOM = 0.9


@dataclasses.dataclass(frozen=True)
class Machine:
    """Devices of one kind: how many, and the memory of each in bytes."""

    name: str
    devices: int
    memory: float


def machine(name: str) -> Machine:
    """The machine of a name like "v5p-64" or "h200-8".

    Raises:
      UserError: There is none of that name.
    """
    found = re.fullmatch(r"(\w+)-(\d+)", name)
    if found and found[1] in MACHINES:
        gib, parts = MACHINES[found[1]]
        count = int(found[2])
        if count > 0 and count % parts == 0:
            return Machine(name, count // parts, gib * GIB)
    raise UserError(
        f"--plan={name} is no machine; give KIND-COUNT with KIND one of"
        f" {', '.join(MACHINES)}, such as h200-8 or v5p-64 (64 cores, 32 devices)"
    )


def pretend(devices: int) -> None:
    """Makes jax see so many devices; call before it has looked for any."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase of a run, on each device.

    Attributes:
      held: Bytes by what they are for; all are there at once.
      unit: What the rest is of.
      operations: Over all devices.
      traffic: Bytes that a device sends, by collective.
    """

    held: dict[str, float]
    unit: str
    operations: float = 0.0
    traffic: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def total(self) -> float:
        """Bytes on each device."""
        return sum(self.held.values())


def plan(config: Config, devices=None) -> dict[str, Phase]:
    """The phases of a run of this config over the devices that jax sees.

    bfloat16 is compiled as float16, which is as large: this backend computes the one
    in float32, whatever it is told; other devices compute neither so.

    Raises:
      UserError: The mesh does not fit the devices, or the batches not the mesh.
    """
    half = {"bfloat16": "float16"}
    shape = dataclasses.replace(
        config.model,
        dtype=half.get(config.model.dtype, config.model.dtype),
        param_dtype=half.get(config.model.param_dtype, config.model.param_dtype),
    )
    mesh = make_mesh(**dataclasses.asdict(config.mesh), devices=devices)
    check_mesh(config, mesh)
    model = Model(shape, mesh)
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    trainable, frozen = split(params, config.train)
    weights = {"weights": _bytes(_placed(mesh, frozen))}
    phases = {}
    if "sft" in config.stages:
        phases["sft"] = _sft(config, model, trainable, frozen, weights)
    if "rlvr" in config.stages:
        state = _placed(mesh, _state(config.rlvr, trainable))
        # The policy that stage one ended with stays beside the one that learns.
        weights["policy before"] = _bytes(_placed(mesh, trainable))
        weights["trained, with its optimizer"] = _bytes(state)
        phases["rlvr: update"] = _update(config, model, state, frozen, weights)
        here = _at_a_place(model)
        if mesh.shape["fsdp"] > 1:
            phases["rlvr: gather"] = _gather(model, here, params, weights)
        phases["rlvr: rollouts"] = _rollouts(config, model, here, params, weights)
    return phases


def _state(settings, trainable):
    optimizer = make_optimizer(settings.optimizer, settings.steps)
    return jax.eval_shape(lambda t: init_state(t, optimizer), trainable)


def _placed(mesh, tree):
    """Abstract arrays with the shardings that they will have."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        tree,
        param_shardings(mesh, tree),
    )


def _bytes(tree) -> float:
    """Of the parts that one device holds."""
    return float(
        sum(
            np.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )
    )


def _batch(mesh, settings) -> Batch:
    def field(dtype):
        shape = settings.rows, settings.row_length
        return jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh))

    return Batch(*[field("int32")] * 3, *[field("float32")] * 3, field("int32"))


def _sft(config: Config, model: Model, trainable, frozen, weights) -> Phase:
    c, mesh = config.sft, model.mesh
    state = _placed(mesh, _state(c, trainable))
    batch = _batch(mesh, c)
    traced = sft.update.trace(
        model,
        state,
        _placed(mesh, frozen),
        batch,
        make_optimizer(c.optimizer, c.steps),
        c.accumulate,
        config.loss_chunk,
    )
    compiled = _compile(traced)
    held = weights | {
        "trained, with its optimizer": _bytes(state),
        "batch": _bytes(batch),
        "activations and gradients": _temporary(compiled),
    }
    sent = cost.traffic(compiled.as_text())
    return Phase(held, "a step", cost.operations(traced.jaxpr), sent)


def _update(config: Config, model: Model, state, frozen, weights) -> Phase:
    """One micro-batch; a step has a few, by the length of its episodes."""
    c, mesh = config.rlvr, model.mesh
    frozen = _placed(mesh, frozen)
    batch = _batch(mesh, c)
    scalar = jax.ShapeDtypeStruct((), "float32")
    traced = rlvr.gradients.trace(
        model,
        state.trainable,
        frozen,
        batch,
        batch.log_probs if c.loss.kl_coef else None,
        scalar,
        scalar,
        c.loss,
        config.loss_chunk,
        batch.log_probs if c.loss.importance_cap else None,
    )
    compiled = _compile(traced)
    held = weights | {
        "batch": _bytes(batch),
        "sum of gradients": _bytes(state.trainable),
        "activations and gradients": _temporary(compiled)
        + compiled.memory_analysis().output_size_in_bytes,
    }
    operations = cost.operations(traced.jaxpr)
    sent = collections.Counter(cost.traffic(compiled.as_text()))
    # Log-probs of other policies come first, and need less memory.
    if others := bool(c.loss.kl_coef) + bool(c.loss.importance_cap):
        params = join(state.trainable, frozen)
        traced = rlvr.log_probs.trace(model, params, batch, scalar, config.loss_chunk)
        operations += others * cost.operations(traced.jaxpr)
        for kind, size in cost.traffic(_compile(traced).as_text()).items():
            sent[kind] += others * size
    return Phase(held, "a micro-batch", operations, dict(sent))


def _at_a_place(model: Model) -> Model:
    """The model as a sampler has it."""
    devices = places(model.mesh)[0]
    shape = dataclasses.replace(model.config, scan_layers=False)
    return Model(shape, make_mesh(tensor=len(devices), devices=devices))


def _for_rollouts(model: Model, here: Model, params) -> dict[str, float]:
    """What a place holds beside what is trained, if it needs a copy."""
    if model.config.scan_layers:
        params = jax.eval_shape(unstack, params)
    elif model.mesh.shape["fsdp"] == 1:
        return {}
    return {"weights for rollouts": _bytes(_placed(here.mesh, params))}


def _gather(model: Model, here: Model, params, weights) -> Phase:
    """The moment when all parts of the weights come together."""
    held = weights | _for_rollouts(model, here, params)
    together = _bytes(_placed(here.mesh, params))
    parts = _bytes(_placed(model.mesh, params))
    if model.config.scan_layers:
        held["layers apart, in parts"] = parts
    sent = together - parts
    return Phase(held, "a step's rollouts", traffic={"all-gather": sent})


def _rollouts(config: Config, model: Model, here: Model, params, weights) -> Phase:
    """All slots full, of the longest episodes: the worst that may come.

    Counted, not compiled: this backend would keep the weights in float32 as well.
    """
    c, shape = config.sampler, here.config
    held = weights | _for_rollouts(model, here, params)
    rows = -(-c.slots // c.cohorts)
    # One cohort more: it is copied where its cache grows.
    count = rows * (c.cohorts + 1) + c.prefill
    cache = jax.eval_shape(
        lambda: here.init_cache(count, config.text.max_length, c.cache_dtype or None)
    )
    sharding = cache_sharding(here.mesh, shape)
    held["caches"] = _bytes(
        jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), cache
        )
    )
    # As they come, over the temperature, as log-probs and as probabilities.
    held["logits"] = 4.0 * 4 * (rows * c.cohorts + c.prefill) * shape.vocab_size
    if model.config.scan_layers:
        params = jax.eval_shape(unstack, params)
    token = cost.operations(jax.make_jaxpr(_one_token(here))(params))
    slots = c.slots * len(places(model.mesh))
    return Phase(held, "a token in all slots", token * slots)


def _one_token(model: Model):
    def forward(params):
        return model.forward(params, np.zeros((1, 1), np.int32))

    return forward


def _compile(traced):
    # Or this backend would copy all operands of float16 products to float32.
    options = {"xla_cpu_strict_dot_conv_math": True}
    return traced.lower().compile(compiler_options=options)


def _temporary(compiled) -> float:
    return float(compiled.memory_analysis().temp_size_in_bytes)


def table(where: Machine, config: Config, phases: dict[str, Phase]) -> Table:
    """The phases side by side, in GiB on each device."""
    names = dict.fromkeys(name for phase in phases.values() for name in phase.held)
    mesh = make_mesh(**dataclasses.asdict(config.mesh))
    sizes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    shown = Table(
        title=f"{where.name}: {where.devices} devices of {where.memory / GIB:.0f} GiB,"
        f" mesh {sizes}"
    )
    shown.add_column("GiB on each device")
    for name in phases:
        shown.add_column(name, justify="right")
    for name in names:
        held = [phase.held.get(name) for phase in phases.values()]
        shown.add_row(name, *("" if b is None else f"{b / GIB:.2f}" for b in held))
    shown.add_section()
    totals = [phase.total for phase in phases.values()]
    shown.add_row("together", *(f"{b / GIB:.2f}" for b in totals))
    shown.add_row("of its memory", *(f"{b / where.memory:.0%}" for b in totals))
    shown.add_section()
    shown.add_row("what follows is of", *(phase.unit for phase in phases.values()))
    work = [phase.operations / 1e12 for phase in phases.values()]
    shown.add_row("10^12 operations", *(f"{o:,.1f}" for o in work))
    sent = [sum(phase.traffic.values()) / 1e9 for phase in phases.values()]
    shown.add_row("GB sent by each device", *(f"{b:.2f}" for b in sent))
    return shown


def fits(where: Machine, phases: dict[str, Phase]) -> bool:
    """Whether every phase leaves some of the memory free."""
    return all(phase.total <= ROOM * where.memory for phase in phases.values())

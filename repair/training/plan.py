"""Memory and work of a run on devices that are not here.

The training programs are compiled ahead of time, without weights, for as many fake CPU
devices as the machine has. docs/scaling.md says how far the figures can be trusted.
"""

import dataclasses
import re

import jax
import numpy as np
from rich.table import Table

from repair.errors import UserError
from repair.model.api import Model
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
from repair.training.config import Config
from repair.training.config_checks import check_mesh
from repair.training.optimizer import init_state, make_optimizer

GIB = 2**30
# GiB of a device, and numbered parts of a machine that make a device: Google counts the
# cores of v4 and v5p, and jax sees two of them as one device.
MACHINES = {
    "t4": (15, 1),
    "l4": (22, 1),
    "a10": (22, 1),
    "rtx3090": (24, 1),
    "rtx4090": (24, 1),
    "a100": (80, 1),
    "h100": (80, 1),
    "h200": (131, 1),  # 141 GB
    "b200": (167, 1),  # 180 GB
    "v4": (32, 2),
    "v5e": (16, 1),
    "v5p": (95, 2),
    "v6e": (32, 1),
}
_WITHOUT_BFLOAT16 = ("t4",)
ROOM = 0.9  # of the memory; the compiler and fragmentation need the rest


def machine(name: str) -> tuple[int, float]:
    """Return devices and bytes of each, for a name like "v5p-64" or "24GiB-1".

    Raises:
      UserError: No machine has the name.
    """
    found = re.fullmatch(r"(\w+)-(\d+)", name)
    if found and found[1] in MACHINES:
        gib, parts = MACHINES[found[1]]
        count = int(found[2])
        if count > 0 and count % parts == 0:
            return count // parts, gib * GIB
    if (found := re.fullmatch(r"(\d+)GiB-(\d+)", name)) and int(found[2]) > 0:
        return int(found[2]), int(found[1]) * GIB
    raise UserError(
        f"--plan={name} is no machine; give KIND-COUNT with KIND one of"
        f" {', '.join(MACHINES)}, such as h200-8 or v5p-64 (64 cores, 32 devices), or"
        " the memory of a device as KIND, such as 24GiB-1"
    )


def as_computed(config: Config, name: str) -> Config:
    """Return the config in the precision that a machine computes it in.

    See `repair.training.machine.usable_precision`.
    """
    old = name.partition("-")[0] in _WITHOUT_BFLOAT16
    if not old or config.model.dtype != "bfloat16":
        return config
    model = dataclasses.replace(config.model, dtype="float32")
    return dataclasses.replace(config, model=model)


def pretend(devices: int) -> None:
    """Make jax see so many CPU devices; call before it has looked for any."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


def plan(config: Config) -> dict[str, dict[str, float]]:
    """Return the bytes that a device holds at once, by phase and purpose.

    bfloat16 is compiled as float16, which is as large: the CPU backend computes
    bfloat16 in float32, which would double the activations.

    Raises:
      UserError: No stage trains, or the mesh does not fit the devices or the batches.
    """
    if not stages(config):
        raise UserError("nothing to plan: stages has neither sft nor rlvr; name one")
    half, c = {"bfloat16": "float16"}, config.model
    types = {name: getattr(c, name) for name in ("dtype", "param_dtype")}
    shape = dataclasses.replace(c, **{k: half.get(v, v) for k, v in types.items()})
    mesh = make_mesh(**dataclasses.asdict(config.mesh))
    check_mesh(config, mesh)
    model, phases = Model(shape, mesh), {}
    for stage in stages(config):
        state, frozen = _abstract(config, model, stage)
        parameters = _bytes(state.trainable)
        held = {
            "frozen parameters": _bytes(frozen),
            "trained parameters": parameters,
            "optimizer": _bytes(state) - parameters,
        }
        # Or the CPU backend would copy the operands of float16 products to float32.
        options = {"xla_cpu_strict_dot_conv_math": True}
        program = _lower(config, model, stage)[0].compile(compiler_options=options)
        memory = program.memory_analysis()
        work = float(memory.temp_size_in_bytes)
        if stage == "rlvr":
            held["reference policy"] = parameters
            phases["rollouts"] = held | _rollouts(config, model)
            work += 2 * memory.output_size_in_bytes  # gradients, and their sum
        phases[stage] = held | {"activations, gradients": work}
    return phases


def stages(config: Config) -> list[str]:
    """Return the training stages of a run."""
    return [stage for stage in ("sft", "rlvr") if stage in config.stages]


def flops(config: Config, stage: str) -> float:
    """Return the FLOPs of an SFT step or an RLVR micro-batch, as the compiler counts.

    The compiler counts the body of a loop once, so the programs counted here have none:
    layers unrolled, the batch in one part, the loss in one chunk (which leaves out the
    logits that `loss_chunk` computes twice). One and two layers tell the rest.
    """
    sft_whole = dataclasses.replace(config.sft, accumulate=1)
    whole = dataclasses.replace(config, loss_chunk=0, sft=sft_whole)
    mesh = make_mesh(devices=jax.devices()[:1])
    counts = []
    for layers in (1, 2):
        shape = dataclasses.replace(config.model, layers=layers, scan_layers=False)
        programs = _lower(whole, Model(shape, mesh), stage)
        counts.append(sum(each.cost_analysis()["flops"] for each in programs))
    return counts[0] + (config.model.layers - 1) * (counts[1] - counts[0])


def _abstract(config: Config, model: Model, stage: str):
    """Training state and frozen parameters, with shardings and without numbers."""
    c = getattr(config, stage)
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    trainable, frozen = split(params, config.train)
    optimizer = make_optimizer(c.optimizer)
    state = jax.eval_shape(lambda t: init_state(t, optimizer), trainable)
    return _placed(model.mesh, state), _placed(model.mesh, frozen)


def _lower(config: Config, model: Model, stage: str) -> list:
    """Lower the programs of a step; the first needs most memory."""
    c, chunk, place = getattr(config, stage), config.loss_chunk, batch_sharding
    state, frozen = _abstract(config, model, stage)
    ids, floats = (
        jax.ShapeDtypeStruct((c.rows, c.row_length), dtype, sharding=place(model.mesh))
        for dtype in ("int32", "float32")
    )
    batch = Batch(ids, ids, ids, floats, floats, floats)
    if stage == "sft":
        optimizer = make_optimizer(c.optimizer)
        scale = jax.ShapeDtypeStruct((), "float32")
        step = (model, state, frozen, batch, optimizer, scale, c.accumulate, chunk)
        return [sft.update.lower(*step)]
    scalar = jax.ShapeDtypeStruct((), "float32")
    scores = rlvr.Scores(
        reference=floats,
        before=floats if c.loss.importance_cap else None,
    )
    setup = rlvr.Setup(model, c, None, chunk)
    step = (setup, state.trainable, frozen, batch, scores, scalar, scalar)
    programs = [rlvr.gradients.lower(*step)]
    params = join(state.trainable, frozen)
    for _ in [each for each in scores if each is not None]:
        programs.append(rlvr.log_probs.lower(model, params, batch, scalar, chunk))
    return programs


def _rollouts(config: Config, model: Model) -> dict[str, float]:
    """Bytes with all slots full of the longest episodes, by shapes: the worst case."""
    c, shape, devices = config.sampler, model.config, places(model.mesh)[0]
    mesh = make_mesh(tensor=len(devices), devices=devices)
    rows = -(-c.slots // c.cohorts)
    # One cohort more: its cache is copied where it grows.
    count = rows * (c.cohorts + 1) + c.prefill
    length, dtype = config.text.max_length, c.cache_dtype or None
    cache = jax.eval_shape(lambda: Model(shape, mesh).init_cache(count, length, dtype))
    heads = cache_sharding(mesh, shape)
    held = {
        "caches": _bytes(_placed(mesh, cache, jax.tree.map(lambda _: heads, cache)))
    }
    # float32: logits, logits over the temperature, log-probs and probabilities.
    held["logits"] = 4.0 * 4 * (rows * c.cohorts + c.prefill) * shape.vocab_size
    if shape.scan_layers or model.mesh.shape["fsdp"] > 1:  # a copy, whole on each place
        params = jax.eval_shape(model.init_params, jax.random.key(0))
        held["parameters for rollouts"] = _bytes(_placed(mesh, params))
    return held


def _placed(mesh, tree, shardings=None):
    """Abstract arrays with shardings, by default those of parameters."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        tree,
        shardings or param_shardings(mesh, tree),
    )


def _bytes(tree) -> float:
    """Bytes of the shards that one device holds."""
    return float(
        sum(
            np.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )
    )


def table(name: str, config: Config, phases: dict[str, dict[str, float]]) -> Table:
    """Return the phases side by side, in GiB on each device, and the FLOPs."""
    devices, memory = machine(name)
    shown = Table(title=f"{name}: {devices} devices of {memory / GIB:.0f} GiB")
    shown.add_column("GiB on each device")
    for phase in phases:
        shown.add_column(phase, justify="right")
    for item in dict.fromkeys(item for held in phases.values() for item in held):
        held = [phase.get(item) for phase in phases.values()]
        shown.add_row(item, *("" if b is None else f"{b / GIB:.2f}" for b in held))
    shown.add_section()
    totals = [sum(held.values()) for held in phases.values()]
    shown.add_row("total", *(f"{b / GIB:.2f}" for b in totals))
    shown.add_row("share of its memory", *(f"{b / memory:.0%}" for b in totals))
    shown.add_section()
    work = {stage: f"{flops(config, stage) / 1e12:,.1f}" for stage in stages(config)}
    shown.add_row("TFLOPs of a step", *(work.get(phase, "") for phase in phases))
    return shown


def remedy(phases: dict[str, dict[str, float]]) -> str:
    """Return what to change so that the fullest phase needs less."""
    phase, held = max(phases.items(), key=lambda each: sum(each[1].values()))
    item = max(held, key=lambda name: held[name])
    rows = "sft.rows, or raise sft.accumulate" if phase == "sft" else "rlvr.rows"
    known = {
        "caches": "lower sampler.slots or text.max_length, or raise mesh.tensor",
        "logits": "lower sampler.slots or sampler.prefill",
        "activations, gradients": f"lower {rows}, set loss_chunk or model.remat='full'",
    }
    change = known.get(item, "raise mesh.fsdp or mesh.tensor, or set train='lora'")
    return f"{phase} needs most, for {item}: {change}"


def fits(name: str, phases: dict[str, dict[str, float]]) -> bool:
    """Return True if every phase leaves some of the machine's memory free."""
    most = max(sum(held.values()) for held in phases.values())
    return most <= ROOM * machine(name)[1]

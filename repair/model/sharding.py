"""The placement of arrays on a mesh of devices: one mesh, one table of rules.

Devices along "data" hold different rows and the same weights; along "fsdp" different
rows and parts of the weights, gathered layer by layer; along "tensor" parts of each
layer's heads and mlp. All is `jax.jit` with shardings over Auto axes: the compiler
places the collectives.

Training uses the whole mesh. Rollouts use its places: the devices of one place differ
in "tensor" only, and hold a whole model between them.
"""

import math
import re

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from repair.errors import UserError

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")

# First match of the path wins. Specs are those of one layer; the leading axis of
# stacked leaves is not split. Adapters follow their kernel, with the rank whole.
RULES = (
    (r"embed/embedding", P("tensor", "fsdp")),
    (r"head/kernel", P("fsdp", "tensor")),
    (r"(q|k|v|gate|up)/kernel", P("fsdp", "tensor")),
    (r"(o|down)/kernel", P("tensor", "fsdp")),
    (r"(q|k|v)/bias", P("tensor")),
    (r"(q|k|v|gate|up)/a", P("fsdp", None)),
    (r"(q|k|v|gate|up)/b", P(None, "tensor")),
    (r"(o|down)/a", P("tensor", None)),
    (r"(o|down)/b", P(None, "fsdp")),
    (r"scale", P(None)),
)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None) -> Mesh:
    """Return a mesh of the devices, by default all.

    One of the three sizes may be -1, for the devices that are left.

    Raises:
      UserError: The sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [data, fsdp, tensor]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0 and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
        raise UserError(
            f"The mesh data={data}, fsdp={fsdp}, tensor={tensor} does not fit"
            f" {len(devices)} devices; the sizes must multiply to that, with -1 for"
            " at most one of them."
        )
    return jax.make_mesh(
        sizes, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES)
    )


def places(mesh: Mesh) -> list[list]:
    """Return the devices of each place of this process.

    Raises:
      UserError: The axis tensor reaches beyond a process.
    """
    this = jax.process_index()
    found = []
    for group in mesh.devices.reshape(-1, mesh.shape["tensor"]).tolist():
        owners = {device.process_index for device in group}
        if this in owners and len(owners) > 1:
            raise UserError(
                f"mesh.tensor={mesh.shape['tensor']} puts a layer's heads on devices of"
                f" processes {sorted(owners)}; use a tensor that divides the"
                f" {jax.local_device_count()} devices of one"
            )
        if owners == {this}:
            found.append(group)
    return found


def param_shardings(mesh: Mesh, abstract):
    """Return the sharding of every leaf of `abstract`, in a tree like it.

    An axis that its mesh axes do not divide stays whole, so a small model fits any
    mesh. A leaf that is no parameter, nor shaped like one as an optimizer's moments
    are, is replicated.

    Args:
      mesh: From `make_mesh`.
      abstract: Arrays or ShapeDtypeStructs: parameters, or a whole training state.

    Raises:
      ValueError: No rule matches a parameter's path.
    """

    def sharding(path, leaf):
        spec = _spec(jax.tree_util.keystr(path, simple=True, separator="/"))
        lead = len(leaf.shape) - len(spec)
        if lead < 0:  # not shaped like the parameter, such as a count
            return replicated(mesh)
        axes = [
            axis if axis and size % mesh.shape[axis] == 0 else None
            for axis, size in zip(spec, leaf.shape[lead:], strict=True)
        ]
        return NamedSharding(mesh, P(*(None,) * lead, *axes))

    return jax.tree_util.tree_map_with_path(sharding, abstract)


def constrain(mesh: Mesh | None, tree):
    """Constrain parameters, or a state, to the rules; within a jitted function."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, param_shardings(mesh, tree))


def build(mesh: Mesh, function, *args):
    """Return function(*args), parameters or a state, created sharded."""
    shardings = param_shardings(mesh, jax.eval_shape(function, *args))
    return jax.jit(function, out_shardings=shardings)(*args)


def over_rows(mesh: Mesh | None, x_B):
    """Constrain activations to rows over data and fsdp, where these divide them."""
    if mesh is None or mesh.size == 1 or x_B.shape[0] % row_parts(mesh):
        return x_B
    return jax.lax.with_sharding_constraint(x_B, batch_sharding(mesh))


def over_vocabulary(mesh: Mesh | None, weights, axis: int = 0):
    """Constrain an embedding or a head to be split along its axis of ids only."""
    if mesh is None or mesh.size == 1:
        return weights
    parts: list = [None] * weights.ndim
    if weights.shape[axis] % mesh.shape["tensor"] == 0:
        parts[axis] = "tensor"
    return jax.lax.with_sharding_constraint(weights, NamedSharding(mesh, P(*parts)))


def row_parts(mesh: Mesh) -> int:
    """Return the number of parts that the rows of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def place_batch(mesh: Mesh, batch):
    """Return host arrays, the same in all processes, as global ones split by rows."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, lambda i: x[i]),
        batch,
    )


def place_params(mesh: Mesh, params):
    """Return parameters, the same in all processes, sharded by the rules."""

    def put(x, sharding):
        host = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda i: host[i])

    return jax.tree.map(put, params, param_shardings(mesh, params))


def mesh_of(tree) -> Mesh | None:
    """Return the mesh of a tree's leaves, or None if they are on none."""
    shardings = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(tree))
    meshes = (s.mesh for s in shardings if isinstance(s, NamedSharding))
    return next(meshes, None)


def gather_params(params):
    """Return parameters gathered along "fsdp": on each place a whole model.

    Arrays on no mesh, or on one that does not split along "fsdp", stay as they are.
    """
    mesh = mesh_of(params)
    if mesh is None or mesh.shape["fsdp"] == 1:
        return params

    def whole(sharding):
        axes = [None if axis == "fsdp" else axis for axis in sharding.spec]
        return NamedSharding(mesh, P(*axes))

    shardings = jax.tree.map(whole, param_shardings(mesh, params))
    return jax.jit(_same, out_shardings=shardings)(params)


def place(mesh: Mesh, params):
    """Return gathered parameters on a place; no copy if they are there."""

    def on_place(x, sharding):
        here = set(mesh.devices.flat)
        held = {s.device: s.data for s in getattr(x, "addressable_shards", ())}
        elsewhere = not getattr(x, "is_fully_addressable", True)
        if (elsewhere or len(held) > len(here)) and here <= held.keys():
            parts = [held[device] for device in mesh.devices.flat]
            return jax.make_array_from_single_device_arrays(x.shape, sharding, parts)
        return jax.device_put(x, sharding)

    return jax.tree.map(on_place, params, param_shardings(mesh, params))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of a batch: rows over data and fsdp, other axes whole."""
    return NamedSharding(mesh, P(ROWS))


def cache_sharding(mesh: Mesh, config) -> NamedSharding:
    """Return the sharding of a sampler's cache (..BKHS, ..BKSH): heads over tensor."""
    if config.kv_heads % mesh.shape["tensor"]:
        return replicated(mesh)
    lead = (None,) * (2 if config.scan_layers else 1)
    return NamedSharding(mesh, P(*lead, "tensor"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that are whole on every device."""
    return NamedSharding(mesh, P())


def _same(tree):  # a named function, which jit compiles once
    return tree


def _spec(name: str) -> P:
    for pattern, spec in RULES:
        if re.search(rf"(^|/){pattern}$", name):
            return spec
    if re.search(r"(^|/)(params|lora)/", name):
        raise ValueError(f"no partition rule for the parameter {name}")
    return P()

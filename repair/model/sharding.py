"""Where arrays live on a mesh of devices: one mesh, one table of rules.

Axes: "data" holds different rows and the same weights, "fsdp" holds different rows
and parts of the weights (gathered layer by layer), "tensor" parts of each layer's
heads and mlp. Everything is `jax.jit` with shardings over Auto axes: the compiler
places the collectives.
"""

import math
import re

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from repair.errors import UserError

AXES = ("data", "fsdp", "tensor")

# First match of the path wins. Specs are those of one layer; a stacked leaf has one
# more axis in front, which is not split. Adapters follow the kernel they belong to,
# with the rank whole.
RULES = (
    (r"embed/embedding", P("tensor", "fsdp")),
    (r"head/kernel", P("fsdp", "tensor")),
    (r"(q|k|v|gate|up)/kernel", P("fsdp", "tensor")),
    (r"(o|down)/kernel", P("tensor", "fsdp")),
    (r"(q|k|v|gate|up)/a", P("fsdp", None)),
    (r"(q|k|v|gate|up)/b", P(None, "tensor")),
    (r"(o|down)/a", P("tensor", None)),
    (r"(o|down)/b", P(None, "fsdp")),
    (r"scale", P(None)),
)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None) -> Mesh:
    """A mesh of all devices, or of those given.

    Args:
      data: Size of the axis; one of the three may be -1, for what is left.
      fsdp: As data.
      tensor: As data.
      devices: By default `jax.devices()`.

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
            f"The mesh data={data}, fsdp={fsdp}, tensor={tensor} does not fit "
            f"{len(devices)} devices; the sizes must multiply to that, with -1 for "
            "at most one of them."
        )
    return jax.make_mesh(
        sizes, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES)
    )


def param_shardings(mesh: Mesh, abstract_params):
    """The sharding of every leaf, in a tree like `abstract_params`.

    An axis that its mesh axes do not divide stays whole, so that a small model fits
    any mesh.

    Args:
      mesh: From `make_mesh`.
      abstract_params: Arrays or ShapeDtypeStructs, for instance
        `jax.eval_shape(model.init_params, key)`.

    Raises:
      ValueError: No rule matches a leaf's path.
    """

    def sharding(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec = _spec(name)
        axes = (None,) * (len(leaf.shape) - len(spec)) + tuple(spec)
        axes = [
            axis if axis and size % mesh.shape[axis] == 0 else None
            for axis, size in zip(axes, leaf.shape, strict=True)
        ]
        return NamedSharding(mesh, P(*axes))

    return jax.tree_util.tree_map_with_path(sharding, abstract_params)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over data and fsdp together; every other axis whole."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def cache_sharding(mesh: Mesh, config) -> NamedSharding:
    """Of every leaf of a sampler's cache (..BKHS, ..BKSH): heads over tensor."""
    if config.kv_heads % mesh.shape["tensor"]:
        return replicated(mesh)
    lead = (None,) * (2 if config.scan_layers else 1)
    return NamedSharding(mesh, P(*lead, "tensor"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, P())


def _spec(name: str) -> P:
    for pattern, spec in RULES:
        if re.search(rf"(^|/){pattern}$", name):
            return spec
    raise ValueError(f"no partition rule for the parameter {name}")

"""Checkpoints of a training stage: the only file that knows orbax.

Layout, below the stage's folder (`checkpoints/sft` or `checkpoints/rlvr`):

  <step>/params   the leaves under the state's field "params", as nested dicts
  <step>/rest     every other leaf (optimizer, step, random key), as nested dicts
  <step>/extra    a JSON object: the model's config, the data position, ...

so that evaluation reads `params` and `extra` without an optimizer. Orbax writes a
step beside its place and renames it when it is whole: a killed save leaves the step
before it as the latest one.
"""

import contextlib
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from repair.errors import UserError

# What orbax, tensorstore and json raise on missing or truncated files.
_READ_ERRORS = (OSError, ValueError, KeyError)


class Checkpointer:
    """Saves and restores the training state of one stage, keeping the last few.

    The state is any pytree with a field or key "params" at its top. Leaves are
    arrays or typed random keys. Saving blocks until the step is in place.
    """

    def __init__(self, directory, keep: int = 2):
        """Opens the folder, making it when needed, and clears killed saves.

        Args:
          directory: The stage's folder.
          keep: How many of the latest steps to keep.

        Raises:
          UserError: When the folder cannot be made.
        """
        self.directory = Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
        )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.directory, options=options, item_names=_ITEMS
            )
        except OSError as error:
            raise UserError(
                f"checkpoints cannot be written to {self.directory} ({error}): "
                "choose a --workdir that can be written"
            ) from error

    def save(self, step: int, state, extra: dict) -> None:
        """Writes one step.

        Args:
          step: Its number, a step not saved before.
          state: The training state.
          extra: Any JSON object.

        Raises:
          UserError: When the disk refuses; the steps before are untouched.
        """
        params, rest = _split(_leaves(state))
        items = {
            "params": ocp.args.StandardSave(_nested(params)),
            "extra": ocp.args.JsonSave(extra),
        }
        if rest:
            items["rest"] = ocp.args.StandardSave(_nested(rest))
        try:
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        except OSError as error:
            raise UserError(
                f"checkpoint {self.directory / str(step)} cannot be written "
                f"({error}): free some space and run the same command again"
            ) from error

    def restore(self, state_like, step: int | None = None) -> tuple:
        """Reads one step, the latest by default.

        Args:
          state_like: A state of the same structure, of arrays or
            `jax.ShapeDtypeStruct`s; gives shapes, types and shardings.
          step: Its number.

        Returns:
          (state, extra), bit for bit as saved.

        Raises:
          UserError: When the step is missing, torn, or of another shape.
        """
        path = _step_folder(self.directory if step is None else self._path(step))
        wanted = _leaves(state_like)
        params, rest = _split(wanted)
        read = _read(path, {"params": params} | ({"rest": rest} if rest else {}))
        found = {("params", *name): leaf for name, leaf in read["params"].items()}
        found |= read.get("rest", {})
        structure = jax.tree.structure(state_like)
        leaves = [
            _like(found[name], leaf)
            for name, leaf in zip(wanted, jax.tree.leaves(state_like), strict=True)
        ]
        return jax.tree.unflatten(structure, leaves), read["extra"]

    def latest_step(self) -> int | None:
        """The last step that was saved whole, or None."""
        return self._manager.latest_step()

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        self._manager.close()

    def _path(self, step):
        return self.directory / str(step)


def load_params(directory) -> tuple[dict, dict]:
    """Reads the parameters alone: what evaluation needs.

    Args:
      directory: A stage's folder (its latest step is read) or a step's.

    Returns:
      (params, extra): nested dicts of arrays, and the JSON object of the save.

    Raises:
      UserError: When there is no checkpoint, or it is torn.
    """
    read = _read(_step_folder(Path(directory).absolute()), {"params": None})
    return _nested(read["params"]), read["extra"]


_ITEMS = ("params", "rest", "extra")


def _leaves(state) -> dict[tuple[str, ...], jax.Array]:
    """Leaves by path, in tree order, with typed random keys as their data."""
    return {
        tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path): (
            _plain(leaf)
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _is_key(leaf) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    leaf = jnp.asarray(leaf)
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(array, leaf):
    if hasattr(leaf, "dtype") and _is_key(leaf):
        return jax.random.wrap_key_data(array, impl=_key_impl(leaf.dtype))
    return array


def _key_impl(dtype) -> str:
    """The name of a key type's algorithm, which jax tells of arrays only."""
    return str(jax.random.key_impl(jnp.empty((0,), dtype)))


def _split(leaves) -> tuple[dict, dict]:
    params = {n[1:]: leaf for n, leaf in leaves.items() if n[0] == "params"}
    rest = {n: leaf for n, leaf in leaves.items() if n[0] != "params"}
    if not params:
        raise ValueError("a state to be saved or restored needs a field 'params'")
    return params, rest


def _nested(leaves) -> dict:
    tree: dict = {}
    for (*parents, last), leaf in leaves.items():
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def _step_folder(directory: Path) -> Path:
    """The step's folder that a stage's or a step's folder stands for."""
    if directory.name.isdigit() and any((directory / i).is_dir() for i in _ITEMS):
        return directory
    steps = []
    if directory.is_dir():
        steps = [p for p in directory.iterdir() if p.name.isdigit() and p.is_dir()]
    if not steps:
        raise UserError(
            f"no checkpoint found in {directory}: give the folder of a stage, like "
            "WORKDIR/checkpoints/rlvr, or of one of its steps, and train first if "
            "there is none"
        )
    return max(steps, key=lambda path: int(path.name))


def _read(path: Path, wanted: dict) -> dict:
    """Reads the wanted items of a step and its "extra".

    Args:
      path: The step's folder.
      wanted: For each item its leaves by path, or None for whatever is there.

    Returns:
      For each item its arrays by path; "extra" as saved.
    """
    with contextlib.closing(_reader()) as reader:
        with _torn_is_a_user_error(path):
            metadata = reader.metadata(path).item_metadata
            saved = {item: _saved_leaves(item, metadata.get(item)) for item in wanted}
        args = {"extra": ocp.args.JsonRestore()}
        for item, leaves in wanted.items():
            if leaves is not None:
                _check_fits(path, item, saved[item], leaves)
            target = {n: _abstract(x) for n, x in (leaves or saved[item]).items()}
            args[item] = ocp.args.StandardRestore(_nested(target))
        with _torn_is_a_user_error(path):
            read = reader.restore(path, args=ocp.args.Composite(**args))
    return {item: _leaves(read[item]) for item in wanted} | {"extra": read["extra"]}


def _reader() -> ocp.Checkpointer:
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(
            params=ocp.StandardCheckpointHandler(),
            rest=ocp.StandardCheckpointHandler(),
            extra=ocp.JsonCheckpointHandler(),
        )
    )


def _saved_leaves(item: str, metadata) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    if metadata is None:
        raise ValueError(f"{item}/_METADATA is missing")
    return _leaves(
        jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype), metadata.tree)
    )


def _abstract(leaf) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, jax.sharding.Sharding):
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _check_fits(path: Path, item: str, saved: dict, wanted: dict) -> None:
    for name in [*wanted, *saved]:
        found, expected = (
            f"{d[name].dtype}{list(d[name].shape)}" if name in d else "nothing"
            for d in (saved, wanted)
        )
        if found != expected:
            leaf = "/".join(("params", *name) if item == "params" else name)
            raise UserError(
                f"checkpoint {path} does not fit this run: {leaf} is {found} "
                f"there and {expected} here; use the config that it was trained "
                "with, or another --workdir"
            )


@contextlib.contextmanager
def _torn_is_a_user_error(path: Path):
    try:
        yield
    except _READ_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"checkpoint {path} is incomplete or damaged ({reason}): delete that "
            "folder to go on from the step before it, or train again"
        ) from error

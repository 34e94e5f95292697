"""Checkpoints of a training stage: the only file that knows orbax.

Layout, below the stage's folder (`checkpoints/sft` or `checkpoints/rlvr`):

  <step>/params   the leaves under the state's field "params", as nested dicts
  <step>/rest     every other leaf (optimizer, step), as nested dicts
  <step>/extra    a JSON object: the configs of run and model, the mesh

so that evaluation reads `params` and `extra` without an optimizer. Orbax writes a
step under another name and renames it when it is whole: a killed save leaves the step
before it as the latest one.
"""

import contextlib
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from repair.errors import UserError

_ITEMS = ("params", "rest", "extra")
# Errors of orbax, tensorstore and json about missing or truncated files.
_READ_ERRORS = (OSError, ValueError, KeyError)


class Checkpointer:
    """Saves and restores the training state of one stage, keeping the last few.

    The state is any pytree of arrays with a field or key "params" at its top. Saving
    blocks until the step is in place.
    """

    def __init__(self, directory, keep: int = 2):
        """Open the folder, making it when needed, and clear killed saves.

        Args:
          directory: The stage's folder.
          keep: Number of the latest steps to keep.

        Raises:
          UserError: The folder cannot be made.
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
        """Write one step that was not saved before.

        Raises:
          UserError: The disk refuses; the steps before are untouched.
        """
        items = {n: ocp.args.StandardSave(_nested(x)) for n, x in _items(state).items()}
        items["extra"] = ocp.args.JsonSave(extra)
        try:
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        except OSError as error:
            raise UserError(
                f"checkpoint {self.directory / str(step)} cannot be written "
                f"({error}): free some space and run the same command again"
            ) from error

    def restore(self, state_like, step: int | None = None) -> tuple:
        """Read one step, the latest by default: (state, extra), bit for bit as saved.

        Args:
          state_like: A state of arrays or `jax.ShapeDtypeStruct`s, which gives
            structure, shapes, types and shardings.
          step: Its number.

        Raises:
          UserError: The step is missing, torn, or of another shape.
        """
        path = self.directory if step is None else self.directory / str(step)
        read = _read(_step_folder(path), _items(state_like))
        found = {("params", *name): leaf for name, leaf in read["params"].items()}
        found |= read.get("rest", {})
        leaves = [found[name] for name in _leaves(state_like)]
        return jax.tree.unflatten(jax.tree.structure(state_like), leaves), read["extra"]

    def latest_step(self) -> int | None:
        """Return the last step that was saved whole, or None."""
        return self._manager.latest_step()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        self._manager.close()


def load_params(directory) -> tuple[dict, dict]:
    """Read the parameters alone: (nested dicts of arrays, the JSON of the save).

    Args:
      directory: A stage's folder, of which the latest step is read, or a step's.

    Raises:
      UserError: There is no checkpoint, or it is torn.
    """
    read = _read(_step_folder(Path(directory).absolute()), {"params": None})
    return _nested(read["params"]), read["extra"]


def _leaves(state) -> dict[tuple[str, ...], jax.Array]:
    """Return the leaves by path, in tree order."""
    return {
        tuple(jax.tree_util.keystr((key,), simple=True) for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _items(state) -> dict[str, dict]:
    """Return the leaves of each item, by path within it."""
    leaves = _leaves(state)
    params = {name[1:]: leaf for name, leaf in leaves.items() if name[0] == "params"}
    rest = {name: leaf for name, leaf in leaves.items() if name[0] != "params"}
    if not params:
        raise ValueError("a state to be saved or restored needs a field 'params'")
    return {"params": params} | ({"rest": rest} if rest else {})


def _nested(leaves) -> dict:
    tree: dict = {}
    for (*parents, last), leaf in leaves.items():
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        abstract = isinstance(leaf, jax.ShapeDtypeStruct)
        node[last] = leaf if abstract else jnp.asarray(leaf)
    return tree


def _step_folder(directory: Path) -> Path:
    """Return the step's folder for the folder of a stage or a step."""
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
    """Read the wanted items of a step and its "extra".

    Args:
      path: The step's folder.
      wanted: For each item its leaves by path, or None for all that is there.

    Returns:
      For each item its arrays by path; "extra" as saved.
    """
    handlers = {item: ocp.StandardCheckpointHandler() for item in ("params", "rest")}
    handler = ocp.CompositeCheckpointHandler(
        **handlers, extra=ocp.JsonCheckpointHandler()
    )
    with contextlib.closing(ocp.Checkpointer(handler)) as reader:
        with _torn_is_a_user_error(path):
            metadata = reader.metadata(path).item_metadata
            saved = {item: _saved(item, metadata.get(item)) for item in wanted}
        args = {"extra": ocp.args.JsonRestore()}
        for item, leaves in wanted.items():
            if leaves is not None:
                _check_fits(path, item, saved[item], leaves)
            target = {n: _abstract(x) for n, x in (leaves or saved[item]).items()}
            args[item] = ocp.args.StandardRestore(_nested(target))
        with _torn_is_a_user_error(path):
            read = reader.restore(path, args=ocp.args.Composite(**args))
    return {item: _leaves(read[item]) for item in wanted} | {"extra": read["extra"]}


def _saved(item: str, metadata) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
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

"""Checkpoints of a training stage: the only file that knows orbax.

Layout, below the stage's folder (`checkpoints/sft` or `checkpoints/rlvr`):

  <step>/params         the leaves under the state's field "params", as nested dicts
  <step>/rest           every other leaf (optimizer, step), as nested dicts
  <step>/extra          a JSON object: configs, base model, the loop's progress
  <step>/manifest.json  the SHA-256 of every other file
  best/                 the best step so far, without its "rest"

so that evaluation reads `params` and `extra` without an optimizer. A step is written
under another name, gets its manifest and is renamed when it is whole; only then is the
oldest one deleted. A kill at any moment leaves a whole step. Every reader compares the
files with the manifest, so a flipped bit or a missing part is never trained on.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from repair.errors import UserError
from repair.model import multihost
from repair.training.manifest import MANIFEST, OLD, find_damage, replace, write_manifest

_ITEMS = ("params", "rest", "extra")
BEST = "best"
_NEW, _DAMAGED = ".writing", ".damaged"
# Errors of orbax, tensorstore and json about missing or truncated files.
_READ_ERRORS = (OSError, ValueError, KeyError)


class Checkpointer:
    """Saves and restores the training state of one stage, keeping the last few.

    The state is any pytree of arrays with a field or key "params" at its top. Saving
    blocks until the step is in place. One process at a time may hold a folder open for
    saving; the lock of the workdir sees to it.
    """

    def __init__(self, directory, keep: int = 2, report: Callable[[str], None] = print):
        """Open the folder, making it when needed, and clear killed saves.

        A damaged newest step is set aside, under another name.

        Args:
          directory: The stage's folder.
          keep: Number of the latest steps to keep.
          report: Gets a line about each step that is set aside.

        Raises:
          UserError: The folder cannot be made.
        """
        self.directory, self._keep = Path(directory).absolute(), keep
        self._writer = _orbax()
        try:
            multihost.once(lambda: self._open(report))
        except OSError as error:
            raise UserError(
                f"checkpoints cannot be written to {self.directory} ({error}): "
                "choose a --workdir that can be written"
            ) from error

    def save(self, step: int, state, extra: dict) -> None:
        """Write one step, in the place of one with the same number.

        Raises:
          UserError: The disk refuses; the steps before are untouched.
        """
        items = {n: ocp.args.StandardSave(_nested(x)) for n, x in _items(state).items()}
        items["extra"] = ocp.args.JsonSave(extra)
        path = self.directory / f"{step}{_NEW}"
        try:
            self._writer.save(path, args=ocp.args.Composite(**items), force=True)
            multihost.once(lambda: self._finish(path, self.directory / str(step)))
        # Of a full disk tensorstore makes a ValueError.
        except (OSError, ValueError) as error:
            for torn in self.directory.glob(f"{step}{_NEW}*"):
                shutil.rmtree(torn, ignore_errors=True)
            reason = str(error).strip().splitlines()[0][:200]
            raise UserError(
                f"checkpoint {self.directory / str(step)} cannot be written "
                f"({reason}): free some space and run the same command again"
            ) from error

    def promote(self, step: int) -> None:
        """Make a saved step the best one."""
        multihost.once(lambda: self._promote(step))

    def restore(self, state_like, step: int | None = None) -> tuple:
        """Read one step, the latest by default: (state, extra), bit for bit as saved.

        Args:
          state_like: A state of arrays or `jax.ShapeDtypeStruct`s, which gives
            structure, shapes, types and shardings.
          step: Its number.

        Raises:
          UserError: The step is missing, damaged, or of another shape.
        """
        latest = self.latest_step() if step is None else None
        if latest is not None:  # compared with its manifest on opening
            path = self.directory / str(latest)
        else:
            name = "" if step is None else str(step)
            path = _step_folder(self.directory / name)
        read = _read(path, _items(state_like))
        found = {("params", *name): leaf for name, leaf in read["params"].items()}
        found |= read.get("rest", {})
        leaves = [found[name] for name in _leaves(state_like)]
        return jax.tree.unflatten(jax.tree.structure(state_like), leaves), read["extra"]

    def latest_step(self) -> int | None:
        """Return the last step that was saved whole, or None."""
        return max((int(path.name) for path in _steps(self.directory)), default=None)

    def close(self) -> None:
        """Let go of the folder."""
        self._writer.close()

    def _open(self, report: Callable[[str], None]) -> None:
        folder = self.directory
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / f"{BEST}{OLD}").is_dir() and not (folder / BEST).exists():
            os.rename(folder / f"{BEST}{OLD}", folder / BEST)
        for path in folder.iterdir():
            if _NEW in path.suffixes or path.suffix == OLD:
                shutil.rmtree(path)
        for path in sorted(_steps(folder), key=lambda p: int(p.name), reverse=True):
            if not (fault := find_damage(path)):
                break
            aside = path.with_name(path.name + _DAMAGED)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(path, aside)
            report(f"checkpoint {path} is damaged ({fault}); it is set aside")
        self._delete_oldest()  # a kill may have come before

    def _finish(self, path: Path, final: Path) -> None:
        """Give a written step its manifest and its name."""
        write_manifest(path)
        replace(path, final)
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        steps = sorted(_steps(self.directory), key=lambda p: int(p.name))
        for old in steps[: -self._keep]:
            gone = old.with_name(old.name + OLD)
            os.rename(old, gone)  # at once, so that no half of it is ever read
            shutil.rmtree(gone)

    def _promote(self, step: int) -> None:
        new = self.directory / f"{BEST}{_NEW}"
        shutil.rmtree(new, ignore_errors=True)
        leave = shutil.ignore_patterns("rest", MANIFEST)
        shutil.copytree(self.directory / str(step), new, ignore=leave)
        write_manifest(new)
        replace(new, self.directory / BEST)


def is_checkpoint(source) -> bool:
    """Return True for a path of the form WORKDIR/checkpoints/STAGE, or below it."""
    return "checkpoints" in Path(source).absolute().parts[:-1]


def load_params(directory, report: Callable[[str], None] = print) -> tuple[dict, dict]:
    """Read the parameters alone: (nested dicts of arrays, the JSON of the save).

    Args:
      directory: A stage's folder, of which the latest whole step is read; or a step's,
        or `best`.
      report: Gets a line about each damaged step that is passed over.

    Raises:
      UserError: There is no checkpoint, or it is damaged.
    """
    path = _step_folder(Path(directory).absolute(), report)
    read = _read(path, {"params": None})
    return _nested(read["params"]), read["extra"]


def checkpoint_digest(directory) -> str:
    """Return a digest of a checkpoint's parameters, from its manifest."""
    path = _step_folder(Path(directory).absolute())
    with _damage_is_a_user_error(path):
        files = json.loads((path / MANIFEST).read_text())
    parts = {name: files[name] for name in files if name.startswith("params/")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _orbax() -> ocp.Checkpointer:
    """Return orbax's reader and writer of one step."""
    handlers = {item: ocp.StandardCheckpointHandler() for item in ("params", "rest")}
    handlers["extra"] = ocp.JsonCheckpointHandler()
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(**handlers))


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


def _steps(directory: Path) -> list[Path]:
    """Return the folders of a stage's steps, in no order."""
    if not directory.is_dir():
        return []
    return [p for p in directory.iterdir() if p.name.isdigit() and p.is_dir()]


def _step_folder(directory: Path, report: Callable[[str], None] = print) -> Path:
    """Return the whole step's folder for the folder of a stage or a step."""
    one = directory.name.isdigit() or directory.name == BEST
    steps = [directory] if one and directory.is_dir() else _steps(directory)
    if not steps:
        raise UserError(
            f"no checkpoint found in {directory}: give the folder of a stage, like "
            "WORKDIR/checkpoints/rlvr, or of one of its steps, and train first if "
            "there is none"
        )
    steps = sorted(steps, key=lambda path: int(path.name) if len(steps) > 1 else 0)
    while fault := find_damage(steps[-1]):
        if len(steps) == 1:
            raise _damaged(steps[-1], fault)
        step = steps.pop()
        report(f"checkpoint {step} is damaged ({fault}); {steps[-1]} is read")
    return steps[-1]


def _read(path: Path, wanted: dict) -> dict:
    """Read the wanted items of a step and its "extra".

    Args:
      path: The step's folder.
      wanted: For each item its leaves by path, or None for all that is there.

    Returns:
      For each item its arrays by path; "extra" as saved.
    """
    with contextlib.closing(_orbax()) as reader:
        with _damage_is_a_user_error(path):
            metadata = reader.metadata(path).item_metadata
            saved = {item: _saved(item, metadata.get(item)) for item in wanted}
        args = {"extra": ocp.args.JsonRestore()}
        for item, leaves in wanted.items():
            if leaves is not None:
                _check_fits(path, item, saved[item], leaves)
            target = {n: _abstract(x) for n, x in (leaves or saved[item]).items()}
            args[item] = ocp.args.StandardRestore(_nested(target))
        with _damage_is_a_user_error(path):
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
def _damage_is_a_user_error(path: Path):
    try:
        yield
    except _READ_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise _damaged(path, reason) from error


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"checkpoint {path} is damaged ({reason}); delete that folder to go on from"
        " another step, or train again"
    )

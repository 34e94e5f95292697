"""Folders of safetensors: tensors found by name, read in parts, written in shards.

A folder holds model.safetensors, or several files named by
model.safetensors.index.json.
"""

import contextlib
import dataclasses
import json
import pathlib

import ml_dtypes  # noqa: F401  (gives numpy the type bfloat16)
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from repair.errors import UserError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Rows read at once: their transpose is written in whole lines of the processor's cache.
_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor in a file.

    Attributes:
      name: Its name there.
      path: The file.
      shape: Its shape.
      dtype: The file's name for its type, such as "BF16".
    """

    name: str
    path: pathlib.Path
    shape: tuple[int, ...]
    dtype: str

    def read_into(self, out, index, flip: bool) -> None:
        """Fills an array with a part of the tensor, and casts it.

        The file is mapped for as long as this takes and no longer: pages once touched
        count as memory of the process until then.

        Args:
          out: numpy array, filled.
          index: A slice for each axis of `out`.
          flip: Whether `out` is a part of the transpose.
        """
        rows, *rest = index[::-1] if flip else index
        target = out.T if flip else out
        start, stop, _ = rows.indices(self.shape[0])
        with _open(self.path) as file:
            stored = file.get_slice(self.name)
            for first in range(start, stop, _ROWS):
                last = min(first + _ROWS, stop)
                block = stored[(slice(first, last), *rest)]
                target[first - start : last - start] = block


def find_tensors(folder: pathlib.Path) -> dict[str, Tensor]:
    """All tensors of a folder by name; nothing but the files' headers is read.

    Raises:
      UserError: A file is missing or torn.
    """
    if (folder / WEIGHTS).exists():
        return _tensors(folder / WEIGHTS)
    if not (folder / INDEX).exists():
        raise UserError(
            f"{folder} holds neither {WEIGHTS} nor {INDEX}; give a folder with the"
            " weights in safetensors."
        )
    index = read_json(folder / INDEX).get("weight_map")
    if not isinstance(index, dict):
        raise UserError(f"{folder / INDEX} has no weight_map; copy it again.")
    found = {}
    for shard in sorted(set(index.values())):
        tensors = _tensors(folder / shard)
        found |= {name: t for name, t in tensors.items() if index.get(name) == shard}
    return found


def write_tensors(folder: pathlib.Path, tensors, shard_bytes: int) -> None:
    """Writes tensors as they come, in as many files as it takes.

    Args:
      folder: Must exist. Weights that it holds are replaced.
      tensors: Pairs (name, numpy array), none of which is kept longer than its file.
      shard_bytes: Most bytes of a file, unless a single tensor has more.
    """
    for name in (WEIGHTS, INDEX):
        (folder / name).unlink(missing_ok=True)
    written, pending, size, total = [], {}, 0, 0
    for name, array in tensors:
        if pending and size + array.nbytes > shard_bytes:
            written.append(_write(folder, len(written), pending))
            pending, size = {}, 0
        # The writer stores memory as it lies, so a transposed view would scramble.
        pending[name] = np.ascontiguousarray(array)
        size += array.nbytes
        total += array.nbytes
    written.append(_write(folder, len(written), pending))
    if len(written) == 1:
        (folder / _part(0)).rename(folder / WEIGHTS)
        return
    index = {}
    for number, names in enumerate(written):
        shard = f"model-{number + 1:05}-of-{len(written):05}.safetensors"
        (folder / _part(number)).rename(folder / shard)
        index |= dict.fromkeys(names, shard)
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict:
    """The JSON object in a file.

    Raises:
      UserError: It cannot be read, or is none.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path} ({error}); copy it again.") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} should hold a JSON object; copy it again.")
    return fields


def _part(number: int) -> str:
    return f"part-{number}.safetensors"


def _write(folder, number: int, tensors: dict) -> list[str]:
    save_file(tensors, folder / _part(number), metadata={"format": "pt"})
    return list(tensors)


def _tensors(path) -> dict[str, Tensor]:
    with _open(path) as file:
        parts = {name: file.get_slice(name) for name in file.keys()}
        return {
            name: Tensor(name, path, tuple(part.get_shape()), part.get_dtype())
            for name, part in parts.items()
        }


@contextlib.contextmanager
def _open(path):
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read {path} ({error}); copy it again.") from error

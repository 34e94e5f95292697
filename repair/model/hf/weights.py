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
# Rows read at once: their transpose is written in whole cache lines.
_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor in a file.

    Attributes:
      name: Its name in the file.
      path: The file.
      shape: Its shape.
      dtype: The file's name for its type, such as "BF16".
    """

    name: str
    path: pathlib.Path
    shape: tuple[int, ...]
    dtype: str

    def read_into(self, out, index, flip: bool) -> None:
        """Fill an array with a part of the tensor, cast to the array's type.

        The file is mapped during this call only: pages once touched count as memory of
        the process until they are unmapped.

        Args:
          out: numpy array, filled.
          index: A slice for each axis of `out`.
          flip: True if `out` is a part of the transpose.
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
    """Return all tensors of a folder by name; only the files' headers are read.

    Raises:
      UserError: A file is missing or torn.
    """
    if (folder / WEIGHTS).exists():
        return tensors_of(folder / WEIGHTS)
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
        tensors = tensors_of(folder / shard)
        found |= {name: t for name, t in tensors.items() if index.get(name) == shard}
    return found


def tensors_of(path) -> dict[str, Tensor]:
    """Return the tensors of one file by name; only its header is read.

    Raises:
      UserError: It is missing or torn.
    """
    found = {}
    with _open(path) as file:
        for name in file.keys():
            part = file.get_slice(name)
            shape = tuple(part.get_shape())
            found[name] = Tensor(name, path, shape, part.get_dtype())
    return found


def write_tensors(folder: pathlib.Path, tensors, shard_bytes: int) -> None:
    """Write tensors as they come, in as many files as it takes.

    Args:
      folder: An existing folder; weights that it holds are replaced.
      tensors: Pairs (name, numpy array), each kept until its file is written.
      shard_bytes: Largest file, unless a single tensor is larger.
    """
    for name in (WEIGHTS, INDEX):
        (folder / name).unlink(missing_ok=True)
    written, pending, size, total = [], {}, 0, 0

    def write():
        path = folder / f"part-{len(written)}.safetensors"
        save_file(pending, path, metadata={"format": "pt"})
        written.append((path, list(pending)))

    for name, array in tensors:
        if pending and size + array.nbytes > shard_bytes:
            write()
            pending, size = {}, 0
        # The writer copies memory as it lies, so it would scramble a transposed view.
        pending[name] = np.ascontiguousarray(array)
        size += array.nbytes
        total += array.nbytes
    write()
    if len(written) == 1:
        written[0][0].rename(folder / WEIGHTS)
        return
    index = {}
    for number, (path, names) in enumerate(written, 1):
        shard = f"model-{number:05}-of-{len(written):05}.safetensors"
        path.rename(folder / shard)
        index |= dict.fromkeys(names, shard)
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict:
    """Return the JSON object in a file.

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


@contextlib.contextmanager
def _open(path):
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read {path} ({error}); copy it again.") from error

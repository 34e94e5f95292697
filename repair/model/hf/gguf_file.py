"""GGUF files: values and tensors found by name, tensors read in parts.

Source: the GGUF specification of ggml, versions 2 and 3, little-endian. The gguf
package converts the types of blocks to numbers. Its own reader of the header would
make several arrays of every token of the vocabulary.
"""

import dataclasses
import mmap
import os
import pathlib
import struct

import numpy as np

from repair.errors import UserError

# Types of matrices that are written -> numbers of general.file_type.
GGUF_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}
# Rows converted at once, about as many as fit into a core's cache.
_ROWS = 64
_ALIGNMENT = 32  # of the tensors, where the file names none
# Numbers of the header's types -> codes of struct.
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_FLOAT32, _STRING, _ARRAY = 6, 8, 9


@dataclasses.dataclass(frozen=True)
class GgufTensor:
    """A tensor in a GGUF file.

    Attributes:
      name: Its name in the file.
      path: The file.
      shape: Its shape, the longest stride first.
      dtype: The gguf package's name for its type, such as "Q4_K".
      offset: Its first byte in the file.
      head_size: H, if each head's rows are stored with the halves that the rotation
        pairs interleaved (q and k of architecture llama); else 0.
    """

    name: str
    path: pathlib.Path
    shape: tuple[int, ...]
    dtype: str
    offset: int
    head_size: int = 0

    def read_into(self, out, index, flip: bool) -> None:
        """Fill an array with a part of the tensor, as `weights.Tensor.read_into`.

        The file is mapped during this call only: pages once touched count as memory of
        the process until they are unmapped.
        """
        rows, *rest = index[::-1] if flip else index
        target = out.T if flip else out
        stored = self._map()
        if len(self.shape) == 1:
            target[...] = self._numbers(stored)[0, rows]
            return
        start, stop, _ = rows.indices(self.shape[0])
        for first in range(start, stop, _ROWS):
            last = min(first + _ROWS, stop)
            block = self._numbers(stored[self._stored_rows(first, last)])
            target[first - start : last - start] = block[:, *rest]

    def read(self) -> np.ndarray:
        """Return the whole tensor in float32."""
        out = np.empty(self.shape, np.float32)
        self.read_into(out, (slice(None),) * len(self.shape), False)
        return out

    def _map(self) -> np.ndarray:
        """Return the file's bytes of each row."""
        size, kind = import_gguf().quant_shape_to_byte_shape, self._kind()
        *rows, width = size(self.shape, kind)
        shape = (*(rows or [1]), width)
        return np.asarray(np.memmap(self.path, np.uint8, "r", self.offset, shape))

    def _stored_rows(self, first: int, last: int):
        if not self.head_size:
            return slice(first, last)
        half = self.head_size // 2
        head, place = np.divmod(np.arange(first, last), self.head_size)
        return head * self.head_size + place % half * 2 + place // half

    def _numbers(self, block) -> np.ndarray:
        """Convert the bytes of rows. In one row: the package takes 16 rows at once."""
        numbers = import_gguf().dequantize(block.reshape(1, -1), self._kind())
        return numbers.reshape(len(block), -1)

    def _kind(self):
        return import_gguf().GGMLQuantizationType[self.dtype]


@dataclasses.dataclass(frozen=True)
class GgufFile:
    """The header of a GGUF file.

    Attributes:
      path: The file.
      values: Its metadata by key, such as "general.architecture".
      tensors: Its tensors by name.
    """

    path: pathlib.Path
    values: dict
    tensors: dict[str, GgufTensor]


def is_gguf(source) -> bool:
    """Return True for the path of a GGUF file, by its ending."""
    return pathlib.Path(source).suffix == ".gguf"


def import_gguf():
    """Import the gguf package.

    Raises:
      UserError: It is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise UserError(
            f"GGUF files need the package gguf ({error}); run pip install -e '.[gguf]'"
        ) from error
    return gguf


def read_gguf(path) -> GgufFile:
    """Read the header of a GGUF file.

    Raises:
      UserError: It cannot be read, is torn, or has a tensor of an unknown type.
    """
    path = pathlib.Path(path)
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _parse(path, _Cursor(data))
    except struct.error as error:
        raise UserError(f"{path} ends within its header; copy it again.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path} ({error}); copy it again.") from error


class _Cursor:
    """A place in the bytes of a header."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, code: str):
        layout = struct.Struct("<" + code)
        (value,) = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value

    def raw(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            raise struct.error
        return self.data[self.at - size : self.at]

    def value(self, kind: int):
        if kind == _STRING:
            return self.raw(self.number("Q")).decode("utf-8")
        if kind == _ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner not in _SCALARS:
                return [self.value(inner) for _ in range(count)]
            dtype = np.dtype("<" + _SCALARS[inner])
            return np.frombuffer(self.raw(count * dtype.itemsize), dtype).tolist()
        if kind not in _SCALARS:
            raise ValueError(f"its header has a value of the unknown type {kind}")
        number = self.number(_SCALARS[kind])
        # The shortest decimal of the same float32: 1e-05, not 9.999999747378752e-06.
        return float(str(np.float32(number))) if kind == _FLOAT32 else number


def _parse(path, cursor: _Cursor) -> GgufFile:
    magic, version = cursor.raw(4), cursor.number("I")
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("it is no GGUF file of version 2 or 3, little-endian")
    tensors, values = cursor.number("Q"), cursor.number("Q")
    found: dict = {}
    for _ in range(values):
        key = cursor.value(_STRING)
        found[key] = cursor.value(cursor.number("I"))
    infos = []
    for _ in range(tensors):
        name = cursor.value(_STRING)
        sizes = [cursor.number("Q") for _ in range(cursor.number("I"))]
        kind, offset = cursor.number("I"), cursor.number("Q")
        infos.append((name, tuple(sizes[::-1]), kind, offset))
    step = found.get("general.alignment", _ALIGNMENT)
    if type(step) is not int or step < 1 or not all(shape for _, shape, _, _ in infos):
        raise ValueError(f"alignment {step!r}, or a tensor without a size")
    start = -(-cursor.at // step) * step
    return GgufFile(
        path,
        found,
        {
            name: _tensor(path, name, shape, kind, start + offset)
            for name, shape, kind, offset in infos
        },
    )


def _tensor(path, name, shape, kind: int, offset: int) -> GgufTensor:
    """Return a tensor of a known type that lies in the file."""
    gguf = import_gguf()
    try:
        known = gguf.GGMLQuantizationType(kind)
        block = np.zeros((1, gguf.GGML_QUANT_SIZES[known][1]), np.uint8)
        gguf.dequantize(block, known)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise UserError(
            f"{path}: the tensor {name} has the type {kind}, which the gguf package"
            " does not convert to numbers; use a file of another type, such as Q8_0."
        ) from error
    stop = offset + int(np.prod(gguf.quant_shape_to_byte_shape(shape, known)))
    if stop > os.path.getsize(path):
        raise UserError(
            f"{path} is torn: the tensor {name} would end at byte {stop:,} of"
            f" {os.path.getsize(path):,}; copy it again."
        )
    return GgufTensor(name, path, shape, known.name, offset)

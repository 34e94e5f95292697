"""Rows of JSON lines, a JSON array or parquet; errors name file, row and field."""

import ast
import dataclasses
import gzip
import json
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Sequence

from repair.errors import UserError
from repair.sandbox.syntax import parse_program
from repair.tasks.files import row_files
from repair.tasks.parquet import MAGIC, parse_parquet

_SHAPES = "one JSON object a line, or one JSON array of them"


def read_lines(
    path: str | pathlib.Path, wanted: str = "object"
) -> Iterator[tuple[str, object]]:
    r"""Yield the JSON value of each line of a file with its place, "FILE:LINE".

    Args:
      path: The file, plain or compressed by gzip; empty lines are skipped.
      wanted: Name of the expected values, for the errors.

    Raises:
      UserError: The file cannot be read, or a line is not JSON.
    """
    yield from _parse_lines(path, _read(path, wanted), f"one {wanted} a line")


def read_objects(
    path: str | pathlib.Path, wanted: str = "object", needed: str = ""
) -> Iterator["Row"]:
    """Yield the objects of a file: one a line, of one JSON array, or of parquet.

    Args:
      path: The file; gzip may have compressed it.
      wanted: Name of the expected values, for the errors.
      needed: The fields that the reader needs, for the error of a missing one.

    Raises:
      UserError: The file cannot be read, or holds anything but objects.
    """
    data = _read(path, wanted)
    values: Iterable[tuple[str, object]] | None
    is_parquet = data.startswith(MAGIC)
    values = parse_parquet(path, data) if is_parquet else _parse_array(path, data)
    if values is None:
        values = _parse_lines(path, data, _SHAPES)
    for where, value in values:
        if not isinstance(value, dict):
            raise UserError(
                f"{where}: expected a JSON object, found {type(value).__name__}; give"
                f" {_SHAPES}"
            )
        yield Row(where, value, needed)


def read_rows(path: str | pathlib.Path, needed: str = "") -> Iterator["Row"]:
    """Yield the objects of files, as `read_objects`, with different task ids.

    Args:
      path: A file, a folder of files or a dataset on the Hub, as for `row_files`.
      needed: The fields that the reader needs, for the error of a missing one.

    Raises:
      UserError: A file cannot be had or read, none holds a row, one holds anything but
        objects, or a task_id for a second time.
    """
    seen: set[int | str] = set()
    files = row_files(path)
    for row in (row for file in files for row in read_objects(file, needed=needed)):
        if row.task_id in seen:
            raise row.error(
                "task_id", f"is {row.task_id!r} for a second time; rename one"
            )
        seen.add(row.task_id)
        yield row
    if not seen:
        raise UserError(f"{path} holds no tasks; expected {_SHAPES}")


def _read(path: str | pathlib.Path, wanted: str) -> bytes:
    """Return the bytes of a file, uncompressed and without a byte order mark."""
    try:
        data = pathlib.Path(path).read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read {path}: {reason}; give a JSONL file with one {wanted} a line,"
            " which gzip may have compressed"
        ) from error
    return data.removeprefix(b"\xef\xbb\xbf")


def _parse_array(
    path: str | pathlib.Path, data: bytes
) -> list[tuple[str, object]] | None:
    """Return the items of a file that is one JSON array; None if it is none."""
    if not data.lstrip().startswith(b"["):
        return None
    try:
        items = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None  # read by lines, it is refused with the place
    return [(f"{path}: row {number}", item) for number, item in enumerate(items, 1)]


def _parse_lines(
    path: str | pathlib.Path, data: bytes, expected: str
) -> Iterator[tuple[str, object]]:
    # Only b"\n" ends a row: JSON strings may hold other line separators.
    for number, row in enumerate(data.split(b"\n"), start=1):
        if not row.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, json.loads(row.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{where}: not valid JSON ({error}); expected {expected}"
            ) from error


def clean(text: str) -> str:
    r"""Return a text with "\n" newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_code(code: str) -> str:
    r"""Return a program with "\n" newlines, without trailing blanks and outer lines."""
    lines = clean(code).split("\n")
    return "\n".join(line.rstrip(" \t") for line in lines).strip("\n")


@dataclasses.dataclass(frozen=True)
class Row:
    """One object of a file; each accessor raises a UserError for a wrong field.

    Attributes:
      where: Its place, for errors.
      fields: Its fields; those that no reader asks for are ignored.
      needed: The fields that its reader needs, for the error of a missing one.
    """

    where: str
    fields: dict
    needed: str = ""

    @property
    def task_id(self) -> int | str:
        """The identifier, an integer or a string."""
        value = self._get("task_id", None, (int, str), "an integer or a string")
        return value if isinstance(value, int) else self._encodable("task_id", value)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string; without a default the field must be there."""
        return self._encodable(name, self._get(name, default, str, "a string"))

    def texts(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return a list of strings; without a default the field must be there."""
        values = self._get(name, default, (list, tuple), "a list of strings")
        for value in values:
            if not isinstance(value, str):
                raise self._mistyped(f"{name}[]", value, "a string")
        return tuple(self._encodable(name, value) for value in values)

    def parse(self, name: str, code: str) -> list[ast.stmt]:
        """Return the statements of a field's program."""
        try:
            return parse_program(code).body
        except (SyntaxError, ValueError, RecursionError) as error:
            raise self.error(name, f"is no Python ({error})") from error

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer; without a default the field must be there."""
        return self._get(name, default, int, "an integer")

    def row(self, name: str) -> "Row":
        """Return an object, which must be there."""
        fields = self._get(name, None, dict, "an object")
        return Row(f"{self.where}: field {name!r}", fields)

    def list(self, name: str) -> list:
        """Return a list, which must be there."""
        return self._get(name, None, list, "a list")

    def error(self, name: str, problem: str) -> UserError:
        """Return an error about a field, to be raised."""
        return UserError(f"{self.where}: field {name!r} {problem}")

    def _get(self, name: str, default, kind: type | tuple[type, ...], expected: str):
        value = self.fields.get(name, default)
        if value is None and name not in self.fields:
            expected = f"; expected {self.needed}" if self.needed else ""
            raise self.error(name, f"is missing{expected}")
        # True is an int to Python, and would be task 1.
        if isinstance(value, bool) or not isinstance(value, kind):
            raise self._mistyped(name, value, expected)
        return value

    def _mistyped(self, name: str, value, expected: str) -> UserError:
        found = "null" if value is None else type(value).__name__
        return self.error(name, f"is {found}, expected {expected}")

    def _encodable(self, name: str, text: str) -> str:
        """Return the text; half a character fits no file and no tokenizer."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise self.error(
                name, "holds a lone surrogate, expected whole characters"
            ) from error
        return text

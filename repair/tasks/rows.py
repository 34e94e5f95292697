"""Rows of JSON lines, with errors that name file, line and field."""

import ast
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence

from repair.errors import UserError
from repair.sandbox.syntax import parse_program


def read_lines(
    path: str | pathlib.Path, wanted: str = "object"
) -> Iterator[tuple[str, object]]:
    r"""Yield the JSON value of each line of a file with its place, "FILE:LINE".

    Args:
      path: The file; empty lines are skipped.
      wanted: Name of the expected values, for the errors.

    Raises:
      UserError: The file cannot be read, or a line is not JSON.
    """
    path = pathlib.Path(path)
    try:
        # Only b"\n" ends a row: JSON strings may hold other line separators.
        rows = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; give a JSONL file with one"
            f" {wanted} a line"
        ) from error
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, json.loads(row.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{where}: not valid JSON ({error}); expected one {wanted} a line"
            ) from error


def read_objects(path: str | pathlib.Path, wanted: str = "object") -> Iterator["Row"]:
    """Yield the objects of a file, one a line.

    Raises:
      UserError: The file cannot be read, or a line holds anything but an object.
    """
    for where, value in read_lines(path, wanted):
        if not isinstance(value, dict):
            raise UserError(
                f"{where}: expected a JSON object, found {type(value).__name__}"
            )
        yield Row(where, value)


def read_rows(path: str | pathlib.Path) -> Iterator["Row"]:
    """Yield the objects of a file, one a line, with different task ids.

    Raises:
      UserError: The file cannot be read or holds no row, or a line holds anything but
        an object, or a task_id for a second time.
    """
    seen: set[int | str] = set()
    for row in read_objects(path):
        if row.task_id in seen:
            raise row.error(
                "task_id", f"is {row.task_id!r} for a second time; rename one"
            )
        seen.add(row.task_id)
        yield row
    if not seen:
        raise UserError(f"{path} holds no tasks; expected one JSON object a line")


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
    """

    where: str
    fields: dict

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
            raise self.error(name, "is missing")
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

"""Rows of JSON lines and their fields, read with errors that say where."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence

from repair.errors import UserError


def read_lines(
    path: str | pathlib.Path, wanted: str = "object"
) -> Iterator[tuple[str, object]]:
    r"""The JSON values of a file, one a line, each with its place "FILE:LINE".

    Args:
      path: The file; empty lines are skipped.
      wanted: What each line should hold, for the errors.

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


def read_rows(path: str | pathlib.Path) -> Iterator["Row"]:
    """The objects of a file, one a line, no two of them with one task_id.

    Raises:
      UserError: As for `read_lines`; or a line holds something else, or a task_id that
        was there before, or the file holds no row.
    """
    seen: set[int | str] = set()
    for where, value in read_lines(path):
        if not isinstance(value, dict):
            raise UserError(
                f"{where}: expected a JSON object, found {type(value).__name__}"
            )
        row = Row(where, value)
        if row.task_id in seen:
            raise row.error(
                "task_id", f"is {row.task_id!r} for a second time; rename one"
            )
        seen.add(row.task_id)
        yield row
    if not seen:
        raise UserError(f"{path} holds no tasks; expected one JSON object a line")


def clean(text: str) -> str:
    r"""A text with "\n" newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_code(code: str) -> str:
    r"""A program with "\n" newlines, no trailing blanks, no empty lines around it."""
    lines = clean(code).split("\n")
    return "\n".join(line.rstrip(" \t") for line in lines).strip("\n")


@dataclasses.dataclass(frozen=True)
class Row:
    """One object of a file.

    Attributes:
      where: Its place, for errors.
      fields: What it holds; fields that nobody asks for are ignored.
    """

    where: str
    fields: dict

    @property
    def task_id(self) -> int | str:
        """The identifier; UserError if it is neither an integer nor a string."""
        value = self._present("task_id")
        # True is an int to Python, and would be task 1.
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self._mistyped("task_id", value, "an integer or a string")
        return value if isinstance(value, int) else self._encodable("task_id", value)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default the field must be there.

        Raises:
          UserError: It is missing or something else.
        """
        value = self._present(name, default)
        if not isinstance(value, str):
            raise self._mistyped(name, value, "a string")
        return self._encodable(name, value)

    def texts(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of strings; as for `text`."""
        values = self.list(name, default, of="strings")
        for value in values:
            if not isinstance(value, str):
                raise self._mistyped(f"{name}[]", value, "a string")
        return tuple(self._encodable(name, value) for value in values)

    def list(self, name: str, default: Sequence | None = None, of: str = "") -> list:
        """A list; as for `text`."""
        value = self._present(name, default)
        if not isinstance(value, list | tuple):
            expected = f"a list of {of}" if of else "a list"
            raise self._mistyped(name, value, expected)
        return [*value]

    def error(self, name: str, problem: str) -> UserError:
        """An error about a field, to be raised."""
        return UserError(f"{self.where}: field {name!r} {problem}")

    def _present(self, name: str, default=None):
        value = self.fields.get(name, default)
        if value is None and name not in self.fields:
            raise self.error(name, "is missing")
        return value

    def _mistyped(self, name: str, value, expected: str) -> UserError:
        found = "null" if value is None else type(value).__name__
        return self.error(name, f"is {found}, expected {expected}")

    def _encodable(self, name: str, text: str) -> str:
        """The text, which no file and no tokenizer could hold with half a character."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise self.error(
                name, "holds a lone surrogate, expected whole characters"
            ) from error
        return text

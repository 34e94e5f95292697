"""Demonstrations as records, and as lines of JSON."""

import dataclasses
import functools
import json
import os
import pathlib
import typing
from collections.abc import Iterable

from repair.errors import UserError
from repair.tasks import Bug, Task


@dataclasses.dataclass(frozen=True)
class Demo:
    """A solved episode.

    Attributes:
      bug: What is repaired.
      states: states[e] is the state that command e answers.
      commands: One line each, the last one EXIT.
    """

    bug: Bug
    states: tuple[str, ...]
    commands: tuple[str, ...]


def to_line(demo: Demo) -> str:
    """One JSON object, ASCII, without a newline.

    Fields: bug_id, corruptions (int), faulty_code, states and commands (lists of
    strings), and task, an object with the fields of `Task`.
    """
    row = dataclasses.asdict(demo.bug)
    return json.dumps(row | {"states": demo.states, "commands": demo.commands})


def from_line(line: str | bytes, where: str) -> Demo:
    """Reads what `to_line` wrote.

    Raises:
      UserError: The row is torn or wrong; the message has `where` and the field.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _wrong(where, f"it is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise _wrong(where, f"found {type(row).__name__}, expected an object")
    if "task" not in row:
        raise _wrong(where, "field 'task' is missing")
    task = Task(**_checked(row["task"], Task, "task.", where))
    bug = Bug(**_checked(row, Bug, "", where, task=task))
    demo = Demo(**_checked(row, Demo, "", where, bug=bug))
    if not demo.commands or len(demo.states) != len(demo.commands):
        counts = f"{len(demo.states)} 'states' and {len(demo.commands)} 'commands'"
        raise _wrong(where, f"{counts}, expected as many of both and at least one")
    return demo


def write_demos(path, demos: Iterable[Demo]) -> None:
    """Writes one JSON object a line, the whole file or nothing of it.

    Raises:
      UserError: The file cannot be written.
    """
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="ascii", newline="\n") as file:
            for demo in demos:
                file.write(to_line(demo) + "\n")
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"cannot write demonstrations to {path}: {error}; give a writable path"
        ) from error


def read_demos(path) -> list[Demo]:
    """Reads what `write_demos` wrote.

    Raises:
      UserError: The file cannot be read or a row is wrong; the message has the line.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read demonstrations from {path}: {error}; give a file written by"
            " repair.make_data"
        ) from error
    numbered = enumerate(text.split("\n"), 1)
    return [from_line(line, f"{path}:{n}") for n, line in numbered if line]


def _checked(row, kind: type, prefix: str, where: str, **others) -> dict:
    """A row's values as the fields of a record, lists as tuples.

    Args:
      row: What JSON gave.
      kind: The dataclass that it should be.
      prefix: What stands before the names in messages.
      where: File and line, for messages.
      **others: Values of fields that the row does not hold by themselves.
    """
    if not isinstance(row, dict):
        raise _wrong(where, f"found {type(row).__name__}, expected an object")
    hints, values = _hints(kind), dict(others)
    for field in dataclasses.fields(kind):
        name, hint = field.name, hints[field.name]
        if name in others or name not in row and _has_default(field):
            continue
        if name not in row:
            raise _wrong(where, f"field '{prefix}{name}' is missing")
        value, lists = row[name], hint == tuple[str, ...]
        if lists:
            right = isinstance(value, list) and all(isinstance(x, str) for x in value)
        else:
            right = isinstance(value, hint) and not isinstance(value, bool)
        if not right:
            expected = "a list of strings" if lists else getattr(hint, "__name__", hint)
            problem = f"field '{prefix}{name}' is {type(value).__name__}"
            raise _wrong(where, f"{problem}, expected {expected}")
        values[name] = tuple(value) if lists else value
    return values


@functools.cache
def _hints(kind: type) -> dict:
    return typing.get_type_hints(kind)


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not dataclasses.MISSING


def _wrong(where: str, problem: str) -> UserError:
    return UserError(
        f"{where} is no demonstration: {problem}; make the file anew with"
        " repair.make_data"
    )

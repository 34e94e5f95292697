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

DEMOS, SETTINGS, SUMMARY = "demos.jsonl", "settings.json", "summary.json"


@dataclasses.dataclass(frozen=True)
class Demo:
    """A solved episode.

    Attributes:
      bug: The faulty program and its task.
      states: states[e] is the state that command e answers.
      commands: One line each, the last one EXIT.
    """

    bug: Bug
    states: tuple[str, ...]
    commands: tuple[str, ...]


class DemoFile:
    """The demonstrations of a folder, appended so that a killed run can go on.

    FOLDER/settings.json holds the settings, FOLDER/demos.jsonl a demonstration a line.
    Nothing is written before the first demonstration.

    Args:
      folder: Made when needed.
      settings: Any JSON object; a folder that was begun with another one is refused.

    Attributes:
      known: Demonstrations that the file holds already, by the id of their bug.

    Raises:
      UserError: The folder cannot be written or holds demonstrations of other settings,
        or a row is wrong.
    """

    def __init__(self, folder, settings: dict):
        self._folder = pathlib.Path(folder)
        self._path = self._folder / DEMOS
        self._settings = json.loads(json.dumps(settings))
        self.known: dict[str, Demo] = {}
        if self._path.exists():
            self._check_settings()
            self._cut_torn_line()
            self.known = {demo.bug.bug_id: demo for demo in read_demos(self._path)}

    def append(self, demos: Iterable[Demo]) -> None:
        """Write those of the demonstrations that the file lacks."""
        new = [demo for demo in demos if demo.bug.bug_id not in self.known]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                text = json.dumps(self._settings, indent=1) + "\n"
                (self._folder / SETTINGS).write_text(text)
            with self._path.open("ab") as file:
                file.writelines(to_line(demo).encode("ascii") + b"\n" for demo in new)
        except OSError as error:
            raise UserError(
                f"{self._path} cannot be written ({error}); choose another folder"
            ) from error

    def _check_settings(self) -> None:
        path = self._folder / SETTINGS
        try:
            there = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._path} was made from unknown settings ({error}); choose"
                " another folder"
            ) from error
        here, absent = self._settings, "absent"
        changes = [
            f"{n}: {there.get(n, absent)!r} there, {here.get(n, absent)!r} here"
            for n in sorted(there.keys() | here.keys())
            if there.get(n, absent) != here.get(n, absent)
        ]
        if changes:
            raise UserError(
                f"{self._folder} was begun with other settings ({'; '.join(changes)});"
                " choose another folder, or give the same settings to go on"
            )

    def _cut_torn_line(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)


def to_line(demo: Demo) -> str:
    """Return a demonstration as one JSON object, ASCII, without a newline.

    Fields: bug_id, corruptions (int), faulty_code, states and commands (lists of
    strings), and task, an object with the fields of `Task`.
    """
    row = dataclasses.asdict(demo.bug)
    return json.dumps(row | {"states": demo.states, "commands": demo.commands})


def from_line(line: str | bytes, where: str) -> Demo:
    """Read a line of `to_line`.

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
    """Write one JSON object a line, the whole file or nothing of it.

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
    """Read a file of demonstrations, or the folder of a finished `repair.make_data`.

    Raises:
      UserError: The file cannot be read, a row is wrong (the message has the line), or
        the folder is unfinished.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if not (path / SUMMARY).exists():
            raise UserError(
                f"{path} holds no finished demonstrations ({SUMMARY} is missing); let"
                " repair.make_data finish it with the same command"
            )
        path /= DEMOS
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
    """Return a row's values as the fields of a record, lists as tuples.

    Args:
      row: Value that JSON gave.
      kind: The dataclass that it should be.
      prefix: Path of the row, for messages.
      where: File and line, for messages.
      **others: Values of fields that the row does not hold.
    """
    if not isinstance(row, dict):
        raise _wrong(where, f"found {type(row).__name__}, expected an object")
    hints, values = _hints(kind), dict(others)
    for field in dataclasses.fields(kind):
        name, hint = field.name, hints[field.name]
        optional = field.default is not dataclasses.MISSING
        if name in others or (name not in row and optional):
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


def _wrong(where: str, problem: str) -> UserError:
    return UserError(
        f"{where} is no demonstration: {problem}; make the file anew with"
        " repair.make_data"
    )

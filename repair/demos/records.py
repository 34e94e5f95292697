"""Demonstrations as records, and as lines of JSON."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable

from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.tasks.rows import Row, read_objects

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


def from_row(row: Row) -> Demo:
    """Return the demonstration of a line of `to_line`.

    Raises:
      UserError: A field is missing or wrong; the message has the line and the field.
    """
    fields = row.row("task")
    faulty = fields.fields.get("faulty_code")
    task = Task(
        task_id=fields.task_id,
        text=fields.text("text"),
        code=fields.text("code"),
        test_list=fields.texts("test_list"),
        test_setup_code=fields.text("test_setup_code", ""),
        hidden_test_list=fields.texts("hidden_test_list", ()),
        faulty_code=None if faulty is None else fields.text("faulty_code"),
    )
    corruptions = row.integer("corruptions", 0)
    bug = Bug(row.text("bug_id"), task, row.text("faulty_code"), corruptions)
    demo = Demo(bug, row.texts("states"), row.texts("commands"))
    if not demo.commands or len(demo.states) != len(demo.commands):
        found = f"holds {len(demo.states)} beside {len(demo.commands)} 'commands'"
        raise row.error("states", f"{found}, expected as many and at least one")
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
        partial.unlink(missing_ok=True)
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
    return [from_row(row) for row in read_objects(path, "demonstration")]

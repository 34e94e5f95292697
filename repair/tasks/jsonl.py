"""Tasks from JSON lines with MBPP's field names."""

import json
import pathlib
from collections.abc import Sequence

from repair.errors import UserError
from repair.tasks.task import Task


def read_jsonl(path: str | pathlib.Path) -> list[Task]:
    r"""Reads one task a line; unknown fields are ignored.

    Fields: task_id (int or str), text, code, test_list, and optionally
    test_setup_code, hidden_test_list, faulty_code. Newlines become "\n", blanks at
    the end of a line and empty lines around a program go, tabs stay.

    Raises:
      UserError: The file is missing or empty, or a row is malformed; the message
        holds the file, the line and the field.
    """
    path = pathlib.Path(path)
    try:
        # Only b"\n" ends a row: JSON strings may hold other line separators.
        rows = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UserError(
            f"cannot read tasks from {path}: {error.strerror}; give a JSONL file of"
            " tasks"
        ) from error
    tasks: dict[int | str, Task] = {}
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        where = f"{path}:{number}"
        task = _task(row, where)
        if task.task_id in tasks:
            raise UserError(
                f"{where}: field 'task_id' is {task.task_id!r} for a second time;"
                " rename one"
            )
        tasks[task.task_id] = task
    if not tasks:
        raise UserError(f"{path} holds no tasks; expected one JSON object a line")
    return list(tasks.values())


def clean_code(code: str) -> str:
    r"""A program with "\n" newlines, no trailing blanks, no empty lines around it."""
    lines = _clean(code).split("\n")
    return "\n".join(line.rstrip(" \t") for line in lines).strip("\n")


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _task(row: bytes, where: str) -> Task:
    try:
        fields = json.loads(row.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: not valid JSON ({error}); expected one object a line"
        ) from error
    if not isinstance(fields, dict):
        raise UserError(
            f"{where}: expected a JSON object, found {type(fields).__name__}"
        )
    faulty = fields.get("faulty_code")
    task = Task(
        task_id=_id(fields, where),
        text=_clean(_text(fields, "text", where)).strip(),
        code=clean_code(_text(fields, "code", where)),
        test_list=_tests(fields, "test_list", where),
        test_setup_code=clean_code(_text(fields, "test_setup_code", where, "")),
        hidden_test_list=_tests(fields, "hidden_test_list", where, ()),
        faulty_code=(
            None if faulty is None else clean_code(_text(fields, "faulty_code", where))
        ),
    )
    for name in ("text", "code", "test_list"):
        if not getattr(task, name):
            raise UserError(f"{where}: field {name!r} is empty")
    return task


def _id(fields: dict, where: str) -> int | str:
    value = _present(fields, "task_id", where)
    # True is an int to Python, and would be task 1.
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _mistyped("task_id", value, "an integer or a string", where)
    return value if isinstance(value, int) else _encodable(value, "task_id", where)


def _text(fields: dict, name: str, where: str, default: str | None = None) -> str:
    value = _present(fields, name, where, default)
    if not isinstance(value, str):
        raise _mistyped(name, value, "a string", where)
    return _encodable(value, name, where)


def _tests(
    fields: dict, name: str, where: str, default: Sequence[str] | None = None
) -> tuple[str, ...]:
    value = _present(fields, name, where, default)
    if not isinstance(value, list | tuple):
        raise _mistyped(name, value, "a list of strings", where)
    for test in value:
        if not isinstance(test, str):
            raise _mistyped(f"{name}[]", test, "a string", where)
    return tuple(_clean(_encodable(test, name, where)).strip() for test in value)


def _present(fields: dict, name: str, where: str, default=None):
    value = fields.get(name, default)
    if value is None and name not in fields:
        raise UserError(f"{where}: field {name!r} is missing")
    return value


def _mistyped(name: str, value, expected: str, where: str) -> UserError:
    found = "null" if value is None else type(value).__name__
    return UserError(f"{where}: field {name!r} is {found}, expected {expected}")


def _encodable(text: str, name: str, where: str) -> str:
    """The text, which no file and no tokenizer could hold with half a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: field {name!r} holds a lone surrogate, expected whole characters"
        ) from error
    return text

"""Tasks from JSON lines with MBPP's field names."""

import json
import pathlib

from repair.errors import UserError
from repair.tasks.task import Task



def read_jsonl(path) -> list[Task]:
    """Reads one task a line; unknown fields are ignored.

    Fields: task_id (int or str), text, code, test_list, and optionally
    test_setup_code, hidden_test_list, faulty_code. Newlines become "\\n", blanks at
    the end of a line and empty lines at the end of a program go, tabs stay.

    Raises:
      UserError: The file is missing or empty, or a row is malformed; the message
        holds the file, the line and the field.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read tasks from {path}: {error}; give a JSONL file of tasks"
        ) from error
    # Only "\n" ends a row: JSON strings may hold other line separators.
    numbered = enumerate(text.split("\n"), 1)
    tasks = [_task(line, f"{path}:{n}") for n, line in numbered if line.strip()]
    if not tasks:
        raise UserError(f"{path} holds no tasks; expected one JSON object a line")
    seen: set = set()
    for task in tasks:
        if task.task_id in seen:
            raise UserError(f"{path}: task_id {task.task_id!r} occurs twice; rename one")
        seen.add(task.task_id)
    return tasks


def clean_code(code: str) -> str:
    """A program with "\\n" newlines, no trailing blanks, no empty lines around it."""
    lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip(" \t") for line in lines).strip("\n")


def _task(line: str, where: str) -> Task:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}")

    def field(name, kinds, default=None):
        value = row.get(name, default)
        if value is None and name not in row:
            raise UserError(f"{where}: field {name!r} is missing")
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UserError(
                f"{where}: field {name!r} is {type(value).__name__}, expected"
                f" {' or '.join(kind.__name__ for kind in kinds)}"
            )
        return value

    def tests(name, default=None):
        value = field(name, (list,), default)
        if not all(isinstance(test, str) for test in value):
            raise UserError(f"{where}: field {name!r} must hold strings only")
        return tuple(test.replace("\r\n", "\n").strip() for test in value)

    faulty = row.get("faulty_code")
    task = Task(
        task_id=field("task_id", (int, str)),
        text=field("text", (str,)).replace("\r\n", "\n").strip(),
        code=clean_code(field("code", (str,))),
        test_list=tests("test_list"),
        test_setup_code=clean_code(field("test_setup_code", (str,), "")),
        hidden_test_list=tests("hidden_test_list", []),
        faulty_code=None if faulty is None else clean_code(field("faulty_code", (str,))),
    )
    for name in ("text", "code", "test_list"):
        if not getattr(task, name):
            raise UserError(f"{where}: field {name!r} is empty")
    return task

"""Tasks from JSON lines with MBPP's field names."""

import pathlib
from collections.abc import Sequence

from repair.tasks.rows import Row, clean, clean_code, read_rows
from repair.tasks.task import Task


def read_jsonl(path: str | pathlib.Path) -> list[Task]:
    r"""Read one task a line; unknown fields are ignored.

    Fields: task_id (int or str), text, code, test_list, and optionally
    test_setup_code, hidden_test_list, faulty_code. Newlines become "\n", blanks at
    the end of a line and empty lines around a program go, tabs stay.

    Raises:
      UserError: The file is missing or empty, or a row is malformed; the message
        holds the file, the line and the field.
    """
    return [task_of(row) for row in read_rows(path)]


def task_of(row: Row) -> Task:
    """Make the task of one row.

    Raises:
      UserError: A field is missing or wrong.
    """
    faulty = row.fields.get("faulty_code")
    task = Task(
        task_id=row.task_id,
        text=clean(row.text("text")).strip(),
        code=clean_code(row.text("code")),
        test_list=_tests(row, "test_list"),
        test_setup_code=clean_code(row.text("test_setup_code", "")),
        hidden_test_list=_tests(row, "hidden_test_list", ()),
        faulty_code=None if faulty is None else clean_code(row.text("faulty_code")),
    )
    for name in ("text", "code", "test_list"):
        if not getattr(task, name):
            raise row.error(name, "is empty")
    return task


def _tests(
    row: Row, name: str, default: Sequence[str] | None = None
) -> tuple[str, ...]:
    return tuple(clean(test).strip() for test in row.texts(name, default))

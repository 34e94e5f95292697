"""Tasks from JSON lines, a JSON array or parquet, with MBPP's field names."""

import pathlib
from collections.abc import Callable, Sequence

from repair.tasks.rows import Row, clean, clean_code, read_rows
from repair.tasks.task import Task

NEEDED = "task_id, text (or prompt), code and test_list"


def read_jsonl(
    path: str | pathlib.Path, keep: Callable[[int | str], bool] | None = None
) -> list[Task]:
    r"""Read one task a row; unknown fields are ignored.

    Fields: task_id (int or str), text, code, test_list, and optionally
    test_setup_code, hidden_test_list, faulty_code. MBPP's sanitized rows have `prompt`
    for text and the lines `test_imports` for test_setup_code. Newlines become "\n",
    blanks at the end of a line and empty lines around a program go, tabs stay.

    Args:
      path: A file, a folder of files or a dataset on the Hub, as for
        `repair.tasks.files.row_files`.
      keep: Of a task_id, True to read its row; the others are not looked at.

    Raises:
      UserError: The file is missing or empty, or a row is malformed; the message
        holds the file, the line and the field.
    """
    rows = read_rows(path, NEEDED)
    return [task_of(row) for row in rows if keep is None or keep(row.task_id)]


def task_of(row: Row) -> Task:
    """Make the task of one row.

    Raises:
      UserError: A field is missing or wrong.
    """
    faulty = row.fields.get("faulty_code")
    task = Task(
        task_id=row.task_id,
        text=clean(row.text(text_field(row))).strip(),
        code=clean_code(row.text("code")),
        test_list=_tests(row, "test_list"),
        test_setup_code=clean_code(setup_of(row)),
        hidden_test_list=_tests(row, "hidden_test_list", ()),
        faulty_code=None if faulty is None else clean_code(row.text("faulty_code")),
    )
    for name in ("text", "code", "test_list"):
        if not getattr(task, name):
            field = text_field(row) if name == "text" else name
            raise row.error(field, "is empty")
    return task


def text_field(row: Row) -> str:
    """Return the name of the field with the task's text."""
    return "prompt" if "prompt" in row.fields and "text" not in row.fields else "text"


def setup_of(row: Row) -> str:
    """Return the code that runs before a row's tests."""
    setup = row.text("test_setup_code", "")
    return "\n".join([*row.texts("test_imports", ()), *([setup] if setup else [])])


def _tests(
    row: Row, name: str, default: Sequence[str] | None = None
) -> tuple[str, ...]:
    return tuple(clean(test).strip() for test in row.texts(name, default))

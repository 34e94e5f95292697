"""Rows of a published set that cannot be read: left out by name, not in silence."""

import contextlib
from collections.abc import Iterator, Sequence

from repair.errors import UserError
from repair.tasks.task import Task, TaskList


class OddRows:
    """Record of the rows that a reader leaves out or changes.

    One odd row must not refuse a set. If none can be read, the file is another one, and
    the first row's error says so.

    Attributes:
      left_out: (name, reason) of each row that gives no task.
      changed: (name, reason) of each task that differs from its row.
      found: Rows.
    """

    def __init__(self) -> None:
        self.left_out: list[tuple[str, str]] = []
        self.changed: list[tuple[str, str]] = []
        self.found = 0
        self._first: UserError | None = None

    @contextlib.contextmanager
    def leave_out(self, name: str) -> Iterator[None]:
        """Leave a row out if the code in the `with` cannot read it."""
        self.found += 1
        try:
            yield
        except UserError as error:
            self._first = self._first or error
            self.left_out.append((name, str(error)))

    def skip(self, name: str, reason: str) -> None:
        """Leave a row out for a reason that is no fault of it."""
        self.found += 1
        self.left_out.append((name, reason))

    def finish(self, tasks: Sequence[Task]) -> TaskList:
        """Return the tasks with the record.

        Raises:
          UserError: There are none, and some row is odd.
        """
        if self._first and not tasks:
            raise self._first
        return TaskList(tasks, self.found, self.left_out, self.changed)

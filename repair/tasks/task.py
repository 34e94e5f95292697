"""Records of a task and of a bug."""

import dataclasses
from collections.abc import Iterable, Sequence

_NAMED = 10  # names listed for one reason; more are counted


@dataclasses.dataclass(frozen=True)
class Task:
    r"""A programming task in MBPP's schema.

    Attributes:
      task_id: Identifier, unique within its file or split.
      text: The task in English.
      code: A reference solution, newlines as "\n", no trailing newline.
      test_list: Asserts that the model is shown and rewarded by.
      test_setup_code: Code that runs before the tests.
      hidden_test_list: Asserts kept for evaluation; never shown.
      faulty_code: A known faulty program for this task, or None.
    """

    task_id: int | str
    text: str
    code: str
    test_list: tuple[str, ...]
    test_setup_code: str = ""
    hidden_test_list: tuple[str, ...] = ()
    faulty_code: str | None = None


@dataclasses.dataclass(frozen=True)
class Bug:
    """A task and one faulty program for it: the start of an episode.

    Attributes:
      bug_id: Identifier, unique within its split; samples of one bug form a group.
      task: The task.
      faulty_code: The program at the start of the episode.
      corruptions: How many corruptions made it; 0 when unknown.
    """

    bug_id: str
    task: Task
    faulty_code: str
    corruptions: int = 0


class TaskList(list[Task]):
    """Tasks, with a record of the programs of their file that gave none.

    Attributes:
      found: Programs in the file, or in the part of it that was asked for.
      left_out: (name, reason) of each program that gives no task.
      changed: (name, reason) of each task that differs from the file.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        found: int | None = None,
        left_out: Sequence[tuple[str, str]] = (),
        changed: Sequence[tuple[str, str]] = (),
    ):
        super().__init__(tasks)
        self.found = len(self) if found is None else found
        self.left_out, self.changed = tuple(left_out), tuple(changed)

    def first(self, count: int | None) -> "TaskList":
        """Return at most so many tasks, with the changes to these."""
        kept = self[:count]
        names = {str(task.task_id) for task in kept}
        changed = [each for each in self.changed if each[0] in names]
        return TaskList(kept, self.found, self.left_out, changed)

    def record(self) -> dict:
        """Return the whole record, for results.json."""
        return {
            "read": len(self),
            "found": self.found,
            "left_out": [list(each) for each in self.left_out],
            "changed": [list(each) for each in self.changed],
        }

    def line(self) -> str:
        """Return one line: tasks of programs found, names left out and changed."""
        text = f"{len(self)} of {self.found} programs"
        for title, notes in (("left out", self.left_out), ("changed", self.changed)):
            groups: dict[str, list[str]] = {}
            for name, reason in notes:
                groups.setdefault(reason, []).append(name)
            for reason, names in groups.items():
                more = len(names) - _NAMED
                listed = ", ".join(names[:_NAMED])
                listed += f" and {more} more" if more > 0 else ""
                text += f"; {title}: {listed} ({reason})"
        return text

"""The records that say what is to be repaired."""

import dataclasses

_NAMED = 10  # at most so many of what was left out for one reason


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
    """A task and one faulty program for it: what one episode repairs.

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


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Tasks of a file, and what became of the rest of it.

    Attributes:
      tasks: The tasks.
      found: Programs in the file, or in the part of it that was asked for.
      left_out: (name, reason) of those that give no task.
      changed: (name, what) of tasks that are not quite what the file says.
    """

    tasks: tuple[Task, ...]
    found: int
    left_out: tuple[tuple[str, str], ...] = ()
    changed: tuple[tuple[str, str], ...] = ()

    def line(self) -> str:
        """One line: how many tasks of how many programs, and what of the others."""
        text = f"{len(self.tasks)} of {self.found} programs"
        for title, notes in (("left out", self.left_out), ("changed", self.changed)):
            groups: dict[str, list[str]] = {}
            for name, why in notes:
                groups.setdefault(why, []).append(name)
            for why, names in groups.items():
                more = len(names) - _NAMED
                listed = ", ".join(names[:_NAMED])
                listed += f" and {more} more" if more > 0 else ""
                text += f"; {title}: {listed} ({why})"
        return text

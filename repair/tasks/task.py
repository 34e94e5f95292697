"""The records that say what is to be repaired."""

import dataclasses


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

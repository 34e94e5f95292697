"""The part that all integrations share: bugs, their environments and prompts."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from repair.env import Environment, Rewards, Sandbox, StepResult
from repair.errors import UserError
from repair.tasks import Bug, load_tasks
from repair.tasks.bugs import CorruptionConfig, make_bugs
from repair.text.prompts import PROMPTS, render_prompt


class Problems:
    """Bugs by their ids, environments to repair them in, and their prompts.

    Args:
      bugs: Programs to repair, at least one; their ids differ.
      make_environment: Makes an environment of the line editor. All share one sandbox,
        which its owner closes.
      prompt: "full", or "short" for a model trained from scratch on such prompts.

    Raises:
      UserError: There is no bug, two have one id, or the prompt is unknown.
    """

    def __init__(
        self,
        bugs: Sequence[Bug],
        make_environment: Callable[[], Environment],
        prompt: str = "full",
    ):
        if prompt not in PROMPTS:
            raise UserError(f"prompt is {prompt!r}; use one of {', '.join(PROMPTS)}")
        self.bugs = tuple(bugs)
        self.make_environment = make_environment
        self._prompt = prompt
        self._by_id = {bug.bug_id: bug for bug in self.bugs}
        if not self.bugs:
            raise UserError("there are no bugs to repair; give at least one")
        if len(self._by_id) < len(self.bugs):
            raise UserError(
                "two bugs have one id; samples of a group share a bug by it"
            )

    def __getitem__(self, bug_id: str) -> Bug:
        """Return the bug of an id; UserError if there is none."""
        if bug_id not in self._by_id:
            raise UserError(
                f"no bug {bug_id!r} among {len(self.bugs)}; ids are like"
                f" {self.bugs[0].bug_id!r}"
            )
        return self._by_id[bug_id]

    def prompt(self, bug: Bug) -> str:
        """Return the text before the first state, as in training with this package."""
        return render_prompt(bug.task, self._prompt)


@contextlib.contextmanager
def open_problems(
    tasks: str = "generated/train",
    *,
    path: str | None = None,
    count: int | None = None,
    bugs: CorruptionConfig | None = None,
    rewards: Rewards | None = None,
    max_turns: int | None = None,
    prompt: str = "full",
    workers: int | None = None,
) -> Iterator[Problems]:
    """Open a sandbox, make the bugs of a task set, and close the sandbox at the end.

    Args:
      tasks: Name of a task set, for `repair.tasks.load_tasks`.
      path: File or folder of a published set.
      count: Most tasks; of generated tasks the exact number. None for all.
      bugs: The bugs of a task, by default one; the seed draws generated tasks too.
      rewards: Rewards and rules; None for the defaults.
      max_turns: Most commands of an episode; None for the default of `Environment`.
      prompt: "full", or "short" for a model trained from scratch on such prompts.
      workers: Processes of the sandbox; None for one a core.

    Raises:
      UserError: A setting is wrong, or the tasks give no bug.
    """
    options = {} if max_turns is None else {"max_turns": max_turns}
    bugs = bugs or CorruptionConfig(per_task=1)
    with Sandbox(workers) as sandbox:
        found = make_bugs(
            load_tasks(tasks, path=path, seed=bugs.seed, count=count, sandbox=sandbox),
            sandbox,
            bugs,
        )
        yield Problems(found, lambda: Environment(sandbox, rewards, **options), prompt)


def outcome(step: StepResult) -> dict[str, Any]:
    """Return the facts of a step that go along with its reward."""
    return {name: getattr(step, name) for name in ("status", "passed", "malformed")}

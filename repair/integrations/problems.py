"""What other trainers are given: bugs, and how episodes are played and told."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from repair.env.environment import Environment, StepResult
from repair.errors import UserError
from repair.tasks import Bug
from repair.text.prompts import PROMPTS, render_prompt


class Problems:
    """Bugs by their ids, environments to repair them in, and the prompt.

    Args:
      bugs: What is to be repaired, at least one; ids must differ.
      make_environment: A fresh environment of the line editor; all share one sandbox,
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
        self.style = prompt
        if not self.bugs:
            raise UserError("there are no bugs to repair; give at least one")
        if len(self._by_id) < len(self.bugs):
            raise UserError(
                "two bugs have one id; samples of a group share a bug by it"
            )

    @functools.cached_property
    def _by_id(self) -> dict[str, Bug]:
        return {bug.bug_id: bug for bug in self.bugs}

    def __getitem__(self, bug_id: str) -> Bug:
        """The bug of an id.

        Raises:
          UserError: There is none.
        """
        if bug_id not in self._by_id:
            raise UserError(
                f"no bug {bug_id!r} among {len(self.bugs)}; ids are like"
                f" {self.bugs[0].bug_id!r}"
            )
        return self._by_id[bug_id]

    def prompt(self, bug: Bug) -> str:
        """What stands before the first state, as in training with this package."""
        return render_prompt(bug.task, self.style)


def outcome(turn: StepResult) -> dict[str, Any]:
    """What became of a command beside its reward, as other trainers carry it."""
    return {
        "status": turn.status,
        "passed": turn.passed,
        "malformed": turn.malformed,
    }

"""The environment in TRL: a class for GRPOTrainer's `environment_factory`."""

from typing import Any

from datasets import Dataset

from repair.env import StepResult, step_all
from repair.integrations.problems import Problems
from repair.tasks import Bug

_ENDED = "The episode has ended.\n"


class RepairEnvironment:
    """An episode behind one tool, for `GRPOTrainer(environment_factory=...)`.

    TRL makes one for each sample of a batch and resets it with the sample's row (see
    `make_dataset`); the samples of a group share a row, so they repair one bug. Every
    public method but `reset` and `get_reward` is a tool that the model may call until a
    reply calls none. TRL keeps sampled ids, appends the tool's answers as ids and masks
    them out of the loss.

    All rules of the environment hold. The state follows the prompt; `get_reward` is the
    sum of the rewards of the turns, and `turns` holds them one by one for reward
    functions that get `environments`. If the model stops calling the tool without EXIT,
    the episode is cut as by a full context; if it never called it, that is one
    malformed command.

    Limits of TRL: commands are arguments of a tool call, so the model must know how to
    call tools. A call that TRL cannot parse ends the episode, and TRL itself answers a
    call with other arguments, at no cost; `max_tool_calling_iterations` bounds these.
    After EXIT the model writes one more reply. All tokens of an episode get one
    advantage, and the samples of a batch wait for one another.

    Attributes:
      turns: Step results of the episode, one for each command.
    """

    def __init__(self, problems: Problems):
        self.turns: list[StepResult] = []
        self._problems = problems
        self._environment = problems.make_environment()

    def reset(self, bug_id: str, **row: Any) -> str:
        """Start an episode; TRL puts the returned state behind the prompt."""
        self.turns = []
        return self._environment.reset(self._problems[bug_id]).state_text

    def edit(self, command: str) -> str:
        """Carry out one line-editor command, then show the program and its tests.

        Args:
            command: One command, such as ### REPL 3 >>>    return total

        Returns:
            The numbered program, a line ***, and what the tests say.
        """
        if not self._environment.running:
            return _ENDED
        # A model may give a number. Not strict: TRL would show an exception to the
        # model and go on.
        (step,) = step_all([self._environment], [str(command)], strict=False)
        self.turns.append(step)
        return step.state_text + (_ENDED if step.done else "")

    def get_reward(self) -> float | None:
        """Return the sum of the rewards; cut an episode that has not ended.

        None if the sandbox broke: TRL leaves the sample out of its group.
        """
        if not self.turns:
            self.edit("")
        if self._environment.running:
            self.turns[-1] = self._environment.truncate()
        if any(step.fault for step in self.turns):
            return None
        return sum(step.reward for step in self.turns)


def make_dataset(problems: Problems) -> Dataset:
    """Return one row for each bug: its prompt, and the id that `reset` gets."""

    def row(bug: Bug) -> dict[str, Any]:
        message = {"role": "user", "content": problems.prompt(bug)}
        return {"prompt": [message], "bug_id": bug.bug_id}

    return Dataset.from_list([row(bug) for bug in problems.bugs])

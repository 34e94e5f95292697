"""Repairing bugs as an environment class for TRL's GRPOTrainer."""

from typing import Any

from datasets import Dataset

from repair.env.batch import step_all
from repair.env.environment import StepResult
from repair.integrations.problems import Problems

_ENDED = "The episode has ended.\n"


class RepairEnvironment:
    """An episode behind one tool, for `GRPOTrainer(environment_factory=...)`.

    TRL makes one of these for each sample of a batch, resets it with the sample's row,
    offers every public method but `reset` and `get_reward` to the model as a tool, and
    lets the model write until a reply has no call of a tool. Rows are those of
    `make_dataset`, and TRL repeats each for the samples of a group, which so repair one
    bug. Sampled ids are kept as they are: TRL appends the tool's answers as ids and
    masks them out of the loss.

    Carried over: all rules of the environment. The state follows the prompt; the sum of
    the turns' rewards is `get_reward`, and `turns` has them one by one for reward
    functions of one's own, which get `environments`. An episode without EXIT is cut
    where the model stops calling, as if its context were full; if it never gave a
    command, that is one malformed command.

    Lost: commands are arguments of a tool, in the model's own template for these, so
    the model must know how to call tools. A call that TRL cannot read is no command: it
    ends the episode rather than cost a turn, and one with other arguments TRL answers
    by itself, for nothing; `max_tool_calling_iterations` bounds these. After EXIT the
    model writes one more reply. TRL gives one advantage to all tokens of an episode,
    and it waits for the samples of a batch one after another.

    Attributes:
      turns: Of the episode, one for each command.
    """

    def __init__(self, problems: Problems):
        self.turns: list[StepResult] = []
        self._problems = problems
        self._environment = problems.make_environment()

    def reset(self, bug_id: str, **row: Any) -> str:
        """Starts an episode; what it returns TRL puts behind the prompt.

        Raises:
          UserError: There is no such bug.
          SandboxError: The sandbox failed.
        """
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
        # Models may well give a number. Not strict, since TRL would tell the model of
        # an exception and go on.
        (turn,) = step_all([self._environment], [str(command)], strict=False)
        self.turns.append(turn)
        return turn.state_text + (_ENDED if turn.done else "")

    def get_reward(self) -> float | None:
        """The sum of the turns' rewards; cuts an episode that has not ended.

        None if the sandbox broke, which TRL leaves out of the group.
        """
        if not self.turns:
            self.edit("")
        if self._environment.running:
            self.turns[-1] = self._environment.truncate()
        if any(turn.fault for turn in self.turns):
            return None
        return sum(turn.reward for turn in self.turns)


def make_dataset(problems: Problems) -> Dataset:
    """One row for each bug: the prompt, and the id by which `reset` finds it."""
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": problems.prompt(bug)}],
                "bug_id": bug.bug_id,
            }
            for bug in problems.bugs
        ]
    )

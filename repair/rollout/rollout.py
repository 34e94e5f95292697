"""The record of one episode."""

import dataclasses

import numpy as np

from repair.env import StepResult
from repair.tasks import Bug
from repair.text.episodes import Episode


@dataclasses.dataclass
class Rollout:
    """One episode: its tokens, its commands and the environment's answers.

    Attributes:
      bug: The bug to repair; samples of one bug form a group.
      sample: Index in its group.
      episode: Tokens.
      initial: The environment's answer to the reset.
      steps: Its answer to each command.
      commands: The commands as text.
      code: The program at the end; until then the faulty one.
    """

    bug: Bug
    sample: int
    episode: Episode
    initial: StepResult
    steps: list[StepResult]
    commands: list[str]
    code: str

    @property
    def results(self) -> list[StepResult]:
        """The initial result and those of all steps."""
        return [self.initial, *self.steps]

    @property
    def rewards(self) -> np.ndarray:
        """Reward of each command, E."""
        return np.array([step.reward for step in self.steps], np.float64)

    @property
    def status(self) -> str | None:
        """Status of the ended episode; None while it goes on."""
        return self.results[-1].status

    @property
    def passed(self) -> bool:
        """True if the program passes the shown tests at the end."""
        return self.results[-1].passed

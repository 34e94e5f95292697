"""What is left of an episode that was played: its tokens, turns and end."""

import dataclasses

import numpy as np

from repair.env.environment import StepResult
from repair.tasks import Bug
from repair.text.episodes import Episode


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One finished episode.

    Attributes:
      bug: What was to be repaired; samples of one bug form a group.
      sample: Which sample of its group this is.
      episode: Its tokens.
      turns: What the environment answered: turns[0] to the reset, turns[e + 1] to
        command e.
      commands: The commands as text.
      code: The program at the end.
    """

    bug: Bug
    sample: int
    episode: Episode
    turns: list[StepResult]
    commands: list[str]
    code: str

    @property
    def rewards(self) -> np.ndarray:
        """Reward of each command, E."""
        return np.array([turn.reward for turn in self.turns[1:]], np.float64)

    @property
    def status(self) -> str:
        """How the episode ended."""
        return self.turns[-1].status

    @property
    def passed(self) -> bool:
        """Whether the program passes the shown tests at the end."""
        return self.turns[-1].passed

"""Repairing a bug as a Gymnasium environment: text in, text out."""

import string
from typing import Any

import gymnasium
from gymnasium.spaces import Text

from repair.env.environment import StepResult
from repair.integrations.problems import Problems, outcome

_SAMPLED = 80  # most characters of a sampled text
# Ends of an episode that the policy did not choose.
_CUT = ("max_turns", "truncated")


class AnyText(Text):
    """Any string; samples of it are short and printable.

    Gymnasium's own Text lists the characters that it may hold. Programs, and what
    models write, keep to no such list.
    """

    def __init__(self):
        super().__init__(_SAMPLED, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        """Whether it is a string."""
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        """No array of one size holds every string."""
        return False


class RepairEnv(gymnasium.Env[str, str]):
    """One episode at a time; an action is the text of one command.

    The observation of a reset is the prompt and the first state, that of a step the
    next state alone: joined with the commands, each ended by a newline, they are the
    context that models of this package are trained on. Rewards are those of each turn.
    `terminated` is EXIT (or a solving turn, where that ends it), `truncated` an episode
    that was cut; its last command has been carried out and rewarded. `info` holds
    bug_id, status, passed and malformed, as in `repair.env.StepResult`.

    `reset(seed=...)` draws the bug by the seed, so samples that form a group get one
    seed; `reset(options={"bug_id": ...})` names it. A policy whose context is full
    calls `truncate`.

    Lost: nothing. But each step waits for the sandbox; to play many episodes at once,
    step many of these from threads, or `repair.env.step_all` without Gymnasium.

    Args:
      problems: Bugs and environments; the sandbox stays open when this is closed.
      render_mode: "ansi" for `render` to return the program, or None.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(self, problems: Problems, render_mode: str | None = None):
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self.render_mode = render_mode
        self._problems = problems
        self._environment = problems.make_environment()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Starts an episode.

        Raises:
          UserError: `options` name a bug that there is not.
        """
        super().reset(seed=seed)
        if options and "bug_id" in options:
            self._bug = self._problems[options["bug_id"]]
        else:
            bugs = self._problems.bugs
            self._bug = bugs[self.np_random.integers(len(bugs))]
        turn = self._environment.reset(self._bug)
        return self._problems.prompt(self._bug) + turn.state_text, self._info(turn)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carries out one command.

        Raises:
          RuntimeError: The episode has ended, or never began.
          SandboxError: The sandbox failed; the episode cannot go on.
        """
        return self._step(self._environment.step(action))

    def truncate(self) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Ends the episode because its context is full: the last step, told anew.

        The reward takes the place of the last step's; it holds the penalty.
        """
        return self._step(self._environment.truncate())

    def render(self) -> str | None:
        """The program as it stands."""
        return self._environment.code if self.render_mode == "ansi" else None

    def _step(self, turn: StepResult) -> tuple[str, float, bool, bool, dict[str, Any]]:
        cut = turn.status in _CUT
        terminated = turn.done and not cut
        return turn.state_text, turn.reward, terminated, cut, self._info(turn)

    def _info(self, turn: StepResult) -> dict[str, Any]:
        return {"bug_id": self._bug.bug_id, **outcome(turn)}

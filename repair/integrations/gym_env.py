"""The environment in Gymnasium: text in, text out."""

import contextlib
import string
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.spaces import Text

from repair.env import StepResult
from repair.integrations.problems import Problems, open_problems, outcome

_SAMPLED = 80  # most characters of a sampled text


class AnyText(Text):
    """Any string, where Gymnasium's own Text holds listed characters only."""

    def __init__(self):
        super().__init__(_SAMPLED, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        """Return True for a string."""
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        """False: no array of one size holds every string."""
        return False


class RepairEnv(gymnasium.Env[str, str]):
    """One episode at a time; an action is the text of one command.

    The observation of a reset is the prompt and the first state, that of a step the
    next state. Joined with the commands, each ended by a newline, they are the context
    that models of this package are trained on. Rewards are those of each turn.
    `terminated` is EXIT (or a solving turn that ends the episode), `truncated` an
    episode that was cut after its last command. `info` holds bug_id, status, passed and
    malformed, as in `repair.env.StepResult`.

    `reset(seed=...)` draws the bug by the seed, so samples of a group share a seed;
    `reset(options={"bug_id": ...})` names it. A policy whose context is full calls
    `truncate`. Each step waits for the sandbox: to play many episodes at once, step
    many environments from threads, or use `repair.env.step_all`.

    Args:
      problems: Bugs and environments; the sandbox stays open when this is closed.
      render_mode: "ansi" for `render` to return the program, or None.
      on_close: Called by `close`, perhaps more than once.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(
        self,
        problems: Problems,
        render_mode: str | None = None,
        on_close: Callable[[], None] | None = None,
    ):
        self.observation_space = self.action_space = AnyText()
        self.render_mode = render_mode
        self._on_close = on_close
        self._problems = problems
        self._environment = problems.make_environment()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode; UserError if `options` name an unknown bug."""
        super().reset(seed=seed)
        if options and "bug_id" in options:
            self._bug = self._problems[options["bug_id"]]
        else:
            bugs = self._problems.bugs
            self._bug = bugs[self.np_random.integers(len(bugs))]
        first = self._environment.reset(self._bug)
        return self._problems.prompt(self._bug) + first.state_text, self._info(first)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute one command; the errors are those of `repair.env.Environment`."""
        return self._answer(self._environment.step(action))

    def truncate(self) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """End the episode because the context is full; replaces the last step."""
        return self._answer(self._environment.truncate())

    def render(self) -> str | None:
        """Return the program as it stands."""
        return self._environment.code if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Call `on_close`."""
        if self._on_close:
            self._on_close()

    def _answer(self, step: StepResult):
        cut = step.status in ("max_turns", "truncated")
        ended = step.done and not cut
        return step.state_text, step.reward, ended, cut, self._info(step)

    def _info(self, step: StepResult) -> dict[str, Any]:
        return {"bug_id": self._bug.bug_id, **outcome(step)}


def make_env(render_mode: str | None = None, **settings: Any) -> RepairEnv:
    """Return what `gymnasium.make("repair_gym:repair/LineEditor-v0")` wraps.

    Args:
      render_mode: As for `RepairEnv`.
      **settings: Arguments of `open_problems`, whose sandbox `close` ends.
    """
    with contextlib.ExitStack() as stack:
        problems = stack.enter_context(open_problems(**settings))
        return RepairEnv(problems, render_mode, stack.pop_all().close)

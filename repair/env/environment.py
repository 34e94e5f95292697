"""One episode: commands go in, states and rewards come out.

What the paper leaves open is a field of `Rewards`. The editor stands behind the
`Tool` protocol, so that another stateful tool can take its place.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from repair.env import editor
from repair.env.sandbox import Result, Sandbox
from repair.tasks import Bug


@dataclasses.dataclass(frozen=True)
class Rewards:
    """Rewards of a turn, and the rules that the paper leaves open.

    Attributes:
      solved: At the turn that first passes all shown tests (paper: 1.0).
      malformed: For a command that cannot be read or does not apply (paper: -0.5).
        The state stays, the feedback says so and the episode goes on.
      missing_exit: Added to the last turn of an episode that was cut (paper: -0.5).
      exit_unsolved: For EXIT while a test fails.
      end_on_solve: Whether the solving turn ends the episode, so that no EXIT is
        needed.
      trust_in_child: Whether a pass counts although some test ran beside the program,
        which could have claimed it (`Result.trust`).
    """

    solved: float = 1.0
    malformed: float = -0.5
    missing_exit: float = -0.5
    exit_unsolved: float = 0.0
    end_on_solve: bool = False
    trust_in_child: bool = False


@dataclasses.dataclass(frozen=True)
class Turn:
    """What the environment answers to a reset or to a command.

    Attributes:
      state_text: The numbered program, a line "***" and one line of feedback, which
        is empty when all tests pass.
      reward: Of the command; 0 for a reset.
      done: Whether the episode has ended.
      status: How it ended: "solved", "exited_unsolved", "max_turns" or "truncated";
        None before.
      passed: Whether the program passes the shown tests now.
      malformed: Whether the command was malformed.
    """

    state_text: str
    reward: float
    done: bool
    status: str | None
    passed: bool
    malformed: bool


class Tool(Protocol):
    """A stateful tool that changes a program by commands of one line."""

    @property
    def code(self) -> str:
        """The program as it stands."""

    def apply(self, command_text: str) -> bool:
        """Carries out a command; True if it ends the episode.

        Raises:
          MalformedCommand: It cannot be carried out; nothing has changed.
        """

    def render(self) -> str:
        """The program as the model sees it, each line ended by a newline."""


class LineEditor:
    """The paper's tool: the commands of `repair.env.editor`, lines as "L n text"."""

    def __init__(self, code: str):
        self._lines = editor.split_program(code)

    @property
    def code(self) -> str:
        """The program as it stands."""
        return "\n".join(self._lines)

    def apply(self, command_text: str) -> bool:
        """Parses and applies one command; True for EXIT."""
        command = editor.parse(command_text)
        self._lines = editor.apply(self._lines, command)
        return isinstance(command, editor.Exit)

    def render(self) -> str:
        """Lines numbered from 1."""
        return "".join(f"L {n} {line}\n" for n, line in enumerate(self._lines, 1))


class Environment:
    """An episode of repairing one bug; `reset` starts the next.

    Args:
      sandbox: Runs the tests; shared by many environments.
      rewards: Rewards and rules.
      max_turns: The last command of an episode that reaches this many is carried
        out and rewarded like any other, then the episode is cut.
      make_tool: From a program to the tool that edits it.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        rewards: Rewards | None = None,
        max_turns: int = 10,
        make_tool: Callable[[str], Tool] = LineEditor,
    ):
        self.sandbox = sandbox
        self._rewards = rewards or Rewards()
        self._max_turns = max_turns
        self._make_tool = make_tool
        self._turn: Turn | None = None

    @property
    def code(self) -> str:
        """The program as it stands."""
        return self._tool.code

    @property
    def running(self) -> bool:
        """Whether an episode has begun and not ended."""
        return self._turn is not None and not self._turn.done

    def reset(self, bug: Bug) -> Turn:
        """Starts an episode."""
        return reset_all([self], [bug])[0]

    def step(self, command_text: str) -> Turn:
        """Carries out one command.

        Raises:
          RuntimeError: The episode has ended, or never began.
          SandboxError: The sandbox failed; the episode cannot go on.
        """
        return step_all([self], [command_text])[0]

    def truncate(self) -> Turn:
        """Ends the episode because its context is full; treated like the cap.

        The penalty joins the reward of the last turn, which this returns anew.
        """
        turn = self._live_turn()
        penalty = self._rewards.missing_exit if self._count else 0.0
        self._turn = dataclasses.replace(
            turn, reward=turn.reward + penalty, done=True, status="truncated"
        )
        return self._turn

    def job(self) -> tuple:
        """The sandbox job that judges the program as it stands."""
        task = self._bug.task
        return self.code, task.test_list, task.test_setup_code, self._cpu_seconds

    def begin(self, bug: Bug, cpu_seconds: float) -> None:
        """First half of a reset; `settle` is the second.

        Args:
          bug: What is to be repaired.
          cpu_seconds: What each program may take; see `Sandbox.allowances`.
        """
        self._bug, self._cpu_seconds = bug, cpu_seconds
        self._tool = self._make_tool(bug.faulty_code)
        self._turn = None
        self._count = 0
        self._solved_once = False

    def act(self, command_text: str) -> bool:
        """First half of a step; True if the program changed and must be judged."""
        self._live_turn()
        self._turn = None  # no episode to go on with, should the sandbox fail now
        before = self.code
        self._malformed, self._exited = None, False
        try:
            self._exited = self._tool.apply(command_text)
        except editor.MalformedCommand as error:
            self._malformed = error.reason
        self._count += 1
        return self.code != before

    def settle(self, result: Result | None) -> Turn:
        """Second half: makes the turn from the tests' result, None if unchanged."""
        if result is not None:
            self._result = result
        if self._count == 0:
            self._solved_once = self._result.passed
            self._turn = self._make_turn(0.0, None, False)
            return self._turn
        rules, passed = self._rewards, self._result.passed
        reward, status = 0.0, None
        if self._malformed is not None:
            reward += rules.malformed
        if passed and not self._solved_once:
            trusted = self._result.trust == "value" or rules.trust_in_child
            reward += rules.solved if trusted else 0.0
            self._solved_once = True
        if self._exited or (passed and rules.end_on_solve):
            status = "solved" if passed else "exited_unsolved"
            reward += 0.0 if passed else rules.exit_unsolved
        elif self._count >= self._max_turns:
            status = "max_turns"
            reward += rules.missing_exit
        self._turn = self._make_turn(reward, status, self._malformed is not None)
        return self._turn

    def _make_turn(self, reward: float, status: str | None, malformed: bool) -> Turn:
        feedback = (
            f"malformed: {self._malformed}" if malformed else self._result.feedback
        )
        return Turn(
            state_text=f"{self._tool.render()}***\n{feedback}\n",
            reward=reward,
            done=status is not None,
            status=status,
            passed=self._result.passed,
            malformed=malformed,
        )

    def _live_turn(self) -> Turn:
        if not self.running:
            raise RuntimeError("no episode is running here; call reset")
        return self._turn


def reset_all(environments: Sequence[Environment], bugs: Sequence[Bug]) -> list[Turn]:
    """Starts an episode in each environment, with one call to their sandbox.

    Raises:
      SandboxError: The sandbox failed; no episode has begun.
    """
    if not environments:
        return []
    sandbox = environments[0].sandbox
    allowed = sandbox.allowances(
        [(bug.task.code, bug.task.test_list, bug.task.test_setup_code) for bug in bugs]
    )
    for environment, bug, seconds in zip(environments, bugs, allowed, strict=True):
        environment.begin(bug, seconds)
    results = sandbox.map([e.job() for e in environments])
    return [e.settle(r) for e, r in zip(environments, results, strict=True)]


def step_all(
    environments: Sequence[Environment], commands: Sequence[str]
) -> list[Turn]:
    """One command in each environment, with one call to their sandbox.

    Raises:
      RuntimeError: An episode has ended, or never began; none has been touched.
      SandboxError: The sandbox failed; these episodes cannot go on.
    """
    if not all(environment.running for environment in environments):
        raise RuntimeError("no episode is running in one of them; call reset")
    changed = [
        environment.act(command)
        for environment, command in zip(environments, commands, strict=True)
    ]
    judged = [e for e, new in zip(environments, changed, strict=True) if new]
    results = iter(judged[0].sandbox.map([e.job() for e in judged]) if judged else [])
    return [
        e.settle(next(results) if new else None)
        for e, new in zip(environments, changed, strict=True)
    ]

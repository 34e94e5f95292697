"""One episode: commands go in, states and rewards come out.

The editor stands behind the `Tool` protocol, so that another stateful tool can take
its place.
"""

import dataclasses
from collections.abc import Callable, Sequence

from repair.env import editor, state_text
from repair.env.edit_distance import levenshtein
from repair.env.rewards import Rewards
from repair.env.tools import LineEditor, Tool
from repair.env.verifier import Verifier
from repair.sandbox import Result, SandboxError
from repair.tasks import Bug


@dataclasses.dataclass(frozen=True)
class StepResult:
    """What the environment answers to a reset or to a command.

    Attributes:
      state_text: The numbered program and one line of feedback, which is empty when
        all shown tests pass (`repair.env.state_text`).
      reward: Of the command; 0 for a reset.
      done: Whether the episode has ended.
      status: How it ended: "solved", "exited_unsolved", "max_turns" or "truncated",
        or "fault" if something broke that is not the policy's doing; None before.
      passed: Whether the program passes the shown tests now.
      malformed: Whether the command was malformed.
      fault: What broke.
    """

    state_text: str
    reward: float
    done: bool
    status: str | None
    passed: bool
    malformed: bool
    fault: str = ""


class Environment:
    """An episode of repairing one bug; `reset` starts the next.

    Args:
      sandbox: Runs the tests, or judges without; shared by many environments.
      rewards: Rewards and rules.
      max_turns: The last command of an episode that reaches this many is carried
        out and rewarded like any other, then the episode is cut.
      make_tool: From a program to the tool that edits it.
    """

    def __init__(
        self,
        sandbox: Verifier,
        rewards: Rewards | None = None,
        max_turns: int = 10,
        make_tool: Callable[[str], Tool] = LineEditor,
    ):
        self.sandbox = sandbox
        self._rewards = rewards or Rewards()
        self._max_turns = max_turns
        self._make_tool = make_tool
        self._turn: StepResult | None = None

    @property
    def code(self) -> str:
        """The program as it stands."""
        return self._tool.code

    @property
    def running(self) -> bool:
        """Whether an episode has begun and not ended."""
        return self._turn is not None and not self._turn.done

    def reset(self, bug: Bug) -> StepResult:
        """Starts an episode."""
        return reset_all([self], [bug])[0]

    def step(self, command_text: str) -> StepResult:
        """Carries out one command.

        Raises:
          RuntimeError: The episode has ended, or never began.
          SandboxError: The sandbox failed; the episode cannot go on.
        """
        return step_all([self], [command_text])[0]

    def truncate(self) -> StepResult:
        """Ends the episode because its context is full; treated like the cap.

        The penalty joins the reward of the last turn, which this returns anew.
        """
        turn = self._live_turn()
        penalty = self._rewards.missing_exit if self._count else 0.0
        self._turn = dataclasses.replace(
            turn, reward=turn.reward + penalty, done=True, status="truncated"
        )
        return self._turn

    def fail(self, error: Exception) -> StepResult:
        """Ends the episode because of an error that the policy did not make."""
        self._turn = StepResult(
            state_text="",
            reward=0.0,
            done=True,
            status="fault",
            passed=False,
            malformed=False,
            fault=f"{type(error).__name__}: {error}",
        )
        return self._turn

    def reference(self, bug: Bug) -> tuple:
        """The job of the task's own program, for the time that attempts may take."""
        hidden = bug.task.hidden_test_list if self._rewards.tests == "all" else ()
        tests = (*bug.task.test_list, *hidden)
        return bug.task.code, tests, bug.task.test_setup_code

    def job(self) -> tuple:
        """The sandbox job that judges the program as it stands."""
        task = self._bug.task
        return self.code, task.test_list, task.test_setup_code, self._cpu_seconds

    def hidden_job(self) -> tuple:
        """The same by the hidden tests."""
        task = self._bug.task
        return self.code, task.hidden_test_list, task.test_setup_code, self._cpu_seconds

    def asks_hidden(self, result: Result) -> bool:
        """Whether hidden tests decide, given what became of the shown ones."""
        counted = self._rewards.tests == "all" and self._bug.task.hidden_test_list
        return result.passed and bool(counted)

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
        self._edited = 0
        if self._rewards.edit_cost and self.code != before:
            self._edited = levenshtein(before, self.code)
        return self.code != before

    def settle(self, result: Result | None, hidden: Result | None = None) -> StepResult:
        """Second half: makes the turn from the tests' results.

        Args:
          result: Of the shown tests; None if the program is unchanged.
          hidden: Of the hidden ones, where `asks_hidden`.
        """
        if result is not None:
            self._result = result
            self._counted = [result] if hidden is None else [result, hidden]
        passed = all(each.passed for each in self._counted)
        share = 1 - len(self._result.failed_tests) / len(self._bug.task.test_list)
        if self._count == 0:
            self._solved_once, self._best_share = passed, share
            self._turn = self._make_turn(0.0, None, False)
            return self._turn
        rules = self._rewards
        reward, status = -rules.turn_cost - rules.edit_cost * self._edited, None
        by_value = all(each.trust == "value" for each in self._counted)
        trusted = by_value or rules.trust_in_child
        if self._malformed is not None:
            reward += rules.malformed
        if passed and not self._solved_once:
            reward += rules.solved if trusted else 0.0
            self._solved_once = True
        if trusted and share > self._best_share:
            reward += rules.dense * (share - self._best_share)
            self._best_share = share
        if self._exited or (passed and rules.end_on_solve):
            status = "solved" if passed else "exited_unsolved"
            reward += 0.0 if passed else rules.exit_unsolved
        elif self._count >= self._max_turns:
            status = "max_turns"
            reward += rules.missing_exit
        self._turn = self._make_turn(reward, status, self._malformed is not None)
        return self._turn

    def _make_turn(
        self, reward: float, status: str | None, malformed: bool
    ) -> StepResult:
        feedback = (
            f"malformed: {self._malformed}" if malformed else self._result.feedback
        )
        return StepResult(
            state_text=state_text.join_state(self._tool.render(), feedback),
            reward=reward,
            done=status is not None,
            status=status,
            passed=self._result.passed,
            malformed=malformed,
        )

    def _live_turn(self) -> StepResult:
        if not self.running:
            raise RuntimeError("no episode is running here; call reset")
        return self._turn


def reset_all(
    environments: Sequence[Environment], bugs: Sequence[Bug], *, strict: bool = True
) -> list[StepResult]:
    """Starts an episode in each environment, with one call to their sandbox.

    Args:
      environments: All with the same sandbox.
      bugs: One for each.
      strict: Raise what breaks; else it costs its own episode only, which ends at
        once with status "fault".

    Raises:
      SandboxError: The sandbox failed; no episode has begun.
    """
    if not environments:
        return []
    references = _each(Environment.reference, True, environments, bugs)
    allowed = _guarded(environments[0].sandbox.allowances, references, strict)

    def begin(environment, bug, seconds):
        if not isinstance(seconds, Exception):
            environment.begin(bug, seconds)
            return True
        return seconds

    begun = _each(begin, strict, environments, bugs, allowed)
    return _settle_all(environments, begun, strict)


def step_all(
    environments: Sequence[Environment],
    commands: Sequence[str],
    *,
    strict: bool = True,
) -> list[StepResult]:
    """One command in each environment, with one call to their sandbox.

    Args:
      environments: All with the same sandbox.
      commands: One for each.
      strict: As in `reset_all`.

    Raises:
      RuntimeError: An episode has ended, or never began; none has been touched.
      SandboxError: The sandbox failed; these episodes cannot go on.
    """
    if not all(environment.running for environment in environments):
        raise RuntimeError("no episode is running in one of them; call reset")
    changed = _each(Environment.act, strict, environments, commands)
    return _settle_all(environments, changed, strict)


def _settle_all(environments, changed: list, strict: bool) -> list[StepResult]:
    """Judges the programs that changed, in one call, and makes the turns.

    A second call is for hidden tests, of programs that pass the shown ones.

    Args:
      environments: Between the halves of a step.
      changed: For each whether its program must be judged, or what it has raised.
      strict: Raise what breaks.
    """
    shown: list = [None if new is False else new for new in changed]
    hidden: list = [None] * len(shown)
    judged = [i for i, new in enumerate(changed) if new is True]
    _judge(environments, judged, Environment.job, shown, strict)
    passing = [i for i in judged if not isinstance(shown[i], Exception)]
    passing = [i for i in passing if environments[i].asks_hidden(shown[i])]
    _judge(environments, passing, Environment.hidden_job, hidden, strict)

    def settle(environment, *answers):
        for answer in answers:
            if isinstance(answer, Exception):
                return environment.fail(answer)
        return environment.settle(*answers)

    turns = _each(settle, strict, environments, shown, hidden)
    return [
        environment.fail(turn) if isinstance(turn, Exception) else turn
        for environment, turn in zip(environments, turns, strict=True)
    ]


def _judge(environments, places: list[int], make_job, answers: list, strict) -> None:
    """Puts the results of some environments' jobs into `answers`, with one call."""
    jobs = _each(make_job, strict, [environments[i] for i in places])
    sound = [job for job in jobs if not isinstance(job, Exception)]
    found = iter(_guarded(environments[0].sandbox.map, sound, strict) if sound else [])
    for i, job in zip(places, jobs, strict=True):
        answers[i] = job if isinstance(job, Exception) else next(found)


def _each(function: Callable, strict: bool, *columns: Sequence) -> list:
    """The function's values row by row; unless strict, what it raises instead."""

    def one(*row):
        try:
            return function(*row)
        except Exception as error:  # a user's tool may raise anything
            if strict:
                raise
            return error

    return [one(*row) for row in zip(*columns, strict=True)]


def _guarded(call: Callable[[list], list], jobs: list, strict: bool) -> list:
    """One call for all jobs; unless strict, one by one should that break."""
    try:
        return call(jobs)
    except SandboxError:
        if strict:
            raise
        return _each(lambda job: call([job])[0], strict, jobs)

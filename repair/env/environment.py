"""One episode: commands go in, states and rewards come out.

A reset and a step are coroutines that yield questions to the verifier and are sent the
answers. `Environment` runs one by itself; `repair.env.batch` runs those of many
environments with one call to their verifier.
"""

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from repair.env import editor, state_text
from repair.env.edit_distance import levenshtein
from repair.env.rewards import Rewards, TurnFacts, turn_reward
from repair.env.tools import LineEditor, Tool
from repair.env.verifier import Verifier
from repair.sandbox import Result
from repair.tasks import Bug


@dataclasses.dataclass(frozen=True)
class StepResult:
    """The environment's answer to a reset or to a command.

    Attributes:
      state_text: The numbered program and one line of feedback, which is empty when
        all shown tests pass (`repair.env.state_text`).
      reward: Reward of the command; 0 for a reset.
      done: True once the episode has ended.
      status: How it ended: "solved", "exited_unsolved", "max_turns", "truncated", or
        "fault" if something broke that is not the policy's doing; None before.
      passed: True if the program passes the shown tests now.
      malformed: True if the command was malformed.
      fault: The error behind the status "fault".
    """

    state_text: str
    reward: float
    done: bool
    status: str | None
    passed: bool
    malformed: bool
    fault: str = ""


class Question(NamedTuple):
    """A question to the verifier: a method that answers many jobs, and one job."""

    ask: Callable[[Sequence[tuple]], list]
    job: tuple


Turn = Generator[Question, Any, StepResult]


class Environment:
    """An episode of repairing one bug; `reset` starts the next.

    Args:
      verifier: Runs the tests; many environments may share it.
      rewards: Rewards and rules.
      max_turns: Most commands of an episode. The last one is executed and rewarded like
        any other, then the episode is cut.
      make_tool: Makes the tool that edits a program.
    """

    def __init__(
        self,
        verifier: Verifier,
        rewards: Rewards | None = None,
        max_turns: int = 10,
        make_tool: Callable[[str], Tool] = LineEditor,
    ):
        self.verifier = verifier
        self._rewards = rewards or Rewards()
        self._max_turns = max_turns
        self._make_tool = make_tool
        self._last: StepResult | None = None  # of the episode; None outside of one

    @property
    def code(self) -> str:
        """The program as it stands."""
        return self._tool.code

    @property
    def running(self) -> bool:
        """True while an episode has begun and not ended."""
        return self._last is not None and not self._last.done

    def reset(self, bug: Bug) -> StepResult:
        """Start an episode."""
        return _finish(self.start(bug))

    def step(self, command_text: str) -> StepResult:
        """Execute one command.

        Raises:
          RuntimeError: No episode is running.
          SandboxError: The sandbox failed; the episode cannot go on.
        """
        return _finish(self.act(command_text))

    def truncate(self) -> StepResult:
        """End the episode because the context is full; treated like the cap.

        The penalty joins the reward of the last command: the result replaces the last.
        """
        last = self._running()
        penalty = self._rewards.missing_exit if self._count else 0.0
        self._last = dataclasses.replace(
            last, reward=last.reward + penalty, done=True, status="truncated"
        )
        return self._last

    def fail(self, error: Exception) -> StepResult:
        """End the episode because of an error that the policy did not make."""
        fault = f"{type(error).__name__}: {error}"
        self._last = StepResult("", 0.0, True, "fault", False, False, fault)
        return self._last

    def start(self, bug: Bug) -> Turn:
        """Start an episode, as a coroutine."""
        self._last = None
        self._bug, self._count = bug, 0
        self._tool = self._make_tool(bug.faulty_code)
        yield from self._measure_reference()
        yield from self._verify()
        self._solved, self._best_share = self._passed, self._share()
        return self._end_turn(0.0)

    def act(self, command_text: str) -> Turn:
        """Execute one command, as a coroutine."""
        self._running()
        self._last = None  # no episode to go on with, should anything fail here
        before, exited, malformed = self.code, False, None
        held = self._passed and self._trusted()
        try:
            exited = self._tool.apply(command_text)
        except editor.MalformedCommand as error:
            malformed = error.reason
        self._count += 1
        edited = 0
        if self.code != before:
            if self._rewards.edit_cost:
                edited = levenshtein(before, self.code)
            yield from self._verify()
        exited = exited or (self._passed and self._rewards.end_on_solve)
        turn = TurnFacts(
            malformed=malformed is not None,
            edited=edited,
            passed=self._passed,
            newly_solved=self._passed and not self._solved,
            held=held,
            by_value=self._by_value,
            share_gained=max(0.0, self._share() - self._best_share),
            exited=exited,
            cut=not exited and self._count >= self._max_turns,
        )
        self._solved = self._solved or self._passed
        if self._trusted():
            self._best_share = max(self._best_share, self._share())
        status = "max_turns" if turn.cut else None
        if exited:
            status = "solved" if self._passed else "exited_unsolved"
        return self._end_turn(turn_reward(self._rewards, turn), status, malformed)

    def show(self, feedback: str) -> str:
        """Return the text of the state; a subclass may show less."""
        return state_text.join_state(self._tool.render(), feedback)

    def _measure_reference(self) -> Generator[Question, float, None]:
        """Bound the time of the attempts by that of the task's own program."""
        task = self._bug.task
        tests = (*task.test_list, *self._hidden_tests())
        job = task.code, tests, task.test_setup_code
        self._cpu_seconds = yield Question(self.verifier.allowances, job)

    def _verify(self) -> Generator[Question, Result, None]:
        """Run the tests that count: the hidden ones only if the shown ones pass."""
        self._shown = yield self._question(self._bug.task.test_list)
        counted = [self._shown]
        if self._shown.passed and self._hidden_tests():
            counted.append((yield self._question(self._hidden_tests())))
        self._passed = all(result.passed for result in counted)
        self._by_value = all(result.trust == "value" for result in counted)

    def _trusted(self) -> bool:
        """Return True if a pass of the program counts."""
        return self._by_value or self._rewards.trust_in_child

    def _question(self, tests: Sequence[str]) -> Question:
        job = self.code, tests, self._bug.task.test_setup_code, self._cpu_seconds
        return Question(self.verifier.map, job)

    def _hidden_tests(self) -> tuple[str, ...]:
        """Return the hidden tests that count."""
        return self._bug.task.hidden_test_list if self._rewards.tests == "all" else ()

    def _share(self) -> float:
        """Return the share of shown tests that hold."""
        return 1 - len(self._shown.failed_tests) / len(self._bug.task.test_list)

    def _end_turn(
        self, reward: float, status: str | None = None, malformed: str | None = None
    ) -> StepResult:
        slip = malformed is not None
        self._last = StepResult(
            state_text=self.show(
                f"malformed: {malformed}" if slip else self._shown.feedback
            ),
            reward=reward,
            done=status is not None,
            status=status,
            passed=self._shown.passed,
            malformed=slip,
        )
        return self._last

    def _running(self) -> StepResult:
        if self._last is None or self._last.done:
            raise RuntimeError("no episode is running here; call reset")
        return self._last


def _finish(turn: Turn) -> StepResult:
    """Run one coroutine to its end."""
    answer = None
    try:
        while True:
            question = turn.send(answer)
            (answer,) = question.ask([question.job])
    except StopIteration as end:
        return end.value

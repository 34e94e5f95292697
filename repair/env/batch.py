"""Episodes in lockstep: one call to the verifier for a whole batch of environments."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from repair.env.environment import Environment, Question, StepResult, Turn
from repair.sandbox import SandboxError
from repair.tasks import Bug


def reset_all(
    environments: Sequence[Environment], bugs: Sequence[Bug], *, strict: bool = True
) -> list[StepResult]:
    """Start an episode in each environment, with one call to their verifier.

    Args:
      environments: Environments that share a verifier.
      bugs: One for each.
      strict: True to raise errors; else an error costs its own episode only, which
        ends at once with status "fault".

    Raises:
      SandboxError: The sandbox failed; no episode has begun.
    """
    pairs = zip(environments, bugs, strict=True)
    return _run([_Pending(e, e.start(bug), strict) for e, bug in pairs])


def step_all(
    environments: Sequence[Environment], commands: Sequence[str], *, strict: bool = True
) -> list[StepResult]:
    """Execute one command in each environment, with one call to their verifier.

    A second call runs hidden tests, of programs that pass the shown ones.

    Args:
      environments: Environments that share a verifier.
      commands: One for each.
      strict: As for `reset_all`.

    Raises:
      RuntimeError: One of the episodes is not running; none has been touched.
      SandboxError: The sandbox failed; these episodes cannot go on.
    """
    if not all(environment.running for environment in environments):
        raise RuntimeError("no episode is running in one of them; call reset")
    pairs = zip(environments, commands, strict=True)
    return _run([_Pending(e, e.act(command), strict) for e, command in pairs])


@dataclasses.dataclass
class _Pending:
    """A reset or step of one environment, under way.

    Attributes:
      environment: The environment.
      turn: The coroutine of the reset or step.
      strict: True to raise errors; else they end this episode with status "fault".
      question: The question whose answer it waits for.
      result: Its step result, once there is one.
    """

    environment: Environment
    turn: Turn
    strict: bool
    question: Question | None = None
    result: StepResult | None = None

    def resume(self, answer: Any = None) -> None:
        """Run the coroutine up to its next question, or to its end."""
        with self.guarded():
            try:
                self.question = self.turn.send(answer)
            except StopIteration as end:
                self.question, self.result = None, end.value

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Charge an error to this episode alone, unless strict."""
        try:
            yield
        except Exception as error:  # a tool may raise anything
            if self.strict:
                raise
            self.question, self.result = None, self.environment.fail(error)


def _run(batch: list[_Pending]) -> list[StepResult]:
    """Run all coroutines to their ends."""
    for pending in batch:
        pending.resume()
    while waiting := [pending for pending in batch if pending.question]:
        _answer(waiting, [pending.question for pending in waiting if pending.question])
    return [pending.result for pending in batch if pending.result]


def _answer(waiting: list[_Pending], questions: list[Question]) -> None:
    """Answer all questions with one call: in lockstep they are of one kind.

    If the sandbox breaks as a whole, unless strict, jobs go one by one: one that breaks
    it again is a fault of its own episode.
    """
    ask = questions[0].ask
    jobs = [question.job for question in questions]
    try:
        answers = ask(jobs)
    except SandboxError:
        if waiting[0].strict:
            raise
        for pending, job in zip(waiting, jobs, strict=True):
            with pending.guarded():
                pending.resume(ask([job])[0])
    else:
        for pending, answer in zip(waiting, answers, strict=True):
            pending.resume(answer)

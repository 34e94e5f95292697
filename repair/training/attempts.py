"""Attempts to repair one program, followed turn by turn until one passes every test."""

import dataclasses
from collections.abc import Callable

from repair.env import LineEditor
from repair.env.state_text import split_state
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.rollout import Rollout
from repair.tasks import Bug
from repair.training.policy import Policy


@dataclasses.dataclass(frozen=True)
class AttemptStep:
    """One turn of an attempt.

    Attributes:
      command: The model's command.
      before: The program until then.
      after: The program from then on.
      said: The answer of the tests or of the editor; "" if all tests pass.
    """

    command: str
    before: str
    after: str
    said: str


@dataclasses.dataclass
class Attempt:
    """An attempt, finished or not.

    Attributes:
      number: From 1, the greedy one of a view first.
      code: The program as it stands.
      steps: Its turns.
      passed: True if the program passes every test.
      ended: How the episode ended; None while it goes on.
    """

    number: int
    code: str
    steps: list[AttemptStep] = dataclasses.field(default_factory=list)
    passed: bool = False
    ended: str | None = None

    @property
    def edits(self) -> int:
        """Commands that changed the program."""
        return sum(step.before != step.after for step in self.steps)

    def follow(self, rollout: Rollout) -> list[AttemptStep]:
        """Add the new turns of the attempt's episode, and return them."""
        editor, done = LineEditor(self.code), len(self.steps)
        pairs = zip(rollout.commands[done:], rollout.steps[done:], strict=True)
        for command, result in pairs:
            before = editor.code
            if not (result.malformed or result.fault):
                editor.apply(command)
            said = result.fault or split_state(result.state_text)[1]
            self.steps.append(AttemptStep(command, before, editor.code, said))
            self.passed = result.passed
        self.code, self.ended = editor.code, rollout.status
        return self.steps[done:]


def try_repairs(
    policy: Policy,
    bug: Bug,
    *,
    samples: int,
    temperature: float,
    seed: int = 0,
    first: int = 1,
    watch: Callable[[Attempt, list[AttemptStep]], None],
) -> list[Attempt]:
    """Try greedily, then by samples in parallel; stop at the first that passes.

    Args:
      policy: A policy of mode "coe".
      bug: The program and its tests.
      samples: Attempts after the greedy one.
      temperature: Their temperature.
      seed: Another gives other samples.
      first: Number of the first attempt.
      watch: Called with an attempt and its new steps after each of its turns.

    Returns:
      The attempts that have made a turn. Only the last to do so can have passed; the
      others that were under way then are as far as they were.
    """
    attempts: list[Attempt] = []
    for count, heat in ((1, 0.0), (samples, temperature)):
        start = first + len(attempts)
        here: dict[int, Attempt] = {}

        def follow(rollout: Rollout, start=start, here=here) -> bool:
            if any(attempt.passed for attempt in here.values()):
                return True
            number = start + rollout.sample
            attempt = here.setdefault(number, Attempt(number, bug.faulty_code))
            watch(attempt, attempt.follow(rollout))
            return attempt.passed

        if count:
            collect_rollouts(
                policy.engine,
                policy.params,
                [bug],
                count,
                policy.config.sampler.sampling(heat),
                RolloutSeed(policy.config.seed, step=seed),
                Observer(watch=follow),
            )
        attempts += [here[number] for number in sorted(here)]
        if any(attempt.passed for attempt in attempts):
            break
    return attempts

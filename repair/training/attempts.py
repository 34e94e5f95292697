"""Attempts to repair one program, followed turn by turn until one passes every test."""

import dataclasses
from collections.abc import Callable

from repair.env.state_text import split_state
from repair.env.tools import LineEditor
from repair.rollout.rollouts import Rollout
from repair.tasks import Bug
from repair.training.policy import Policy


@dataclasses.dataclass(frozen=True)
class Step:
    """One turn of an attempt.

    Attributes:
      command: What the model wrote.
      before: The program until then.
      after: The program from then on.
      said: What the tests, or the editor, answered; "" if all tests pass.
    """

    command: str
    before: str
    after: str
    said: str


@dataclasses.dataclass
class Attempt:
    """An attempt, as far as it is.

    Attributes:
      number: From 1, the greedy one first.
      code: The program as it stands.
      steps: Its turns.
      passed: Whether the program passes every test.
      ended: How the episode ended; None while it goes on.
      failing: How many tests the program fails; known once it has ended.
    """

    number: int
    code: str
    steps: list[Step] = dataclasses.field(default_factory=list)
    passed: bool = False
    ended: str | None = None
    failing: int | None = None

    @property
    def edits(self) -> int:
        """Commands that changed the program."""
        return sum(step.before != step.after for step in self.steps)

    def follow(self, rollout: Rollout) -> list[Step]:
        """Takes in the turns of its episode that are new."""
        editor, new = LineEditor(self.code), []
        done = len(self.steps)
        pairs = zip(rollout.commands[done:], rollout.turns[done + 1 :], strict=True)
        for command, turn in pairs:
            before = editor.code
            if not (turn.malformed or turn.fault):
                editor.apply(command)
            said = turn.fault or split_state(turn.state_text)[1]
            new.append(Step(command, before, editor.code, said))
            self.code, self.passed = editor.code, turn.passed
        self.steps += new
        self.ended = rollout.status
        return new


def try_repairs(
    policy: Policy,
    params,
    bug: Bug,
    *,
    samples: int,
    temperature: float,
    seed: int = 0,
    watch: Callable[[Attempt, list[Step]], None],
) -> list[Attempt]:
    """Tries greedily, then by samples at once; stops at the first that passes.

    Args:
      policy: Of mode "coe".
      params: Its parameters.
      bug: The program and its tests.
      samples: Attempts after the greedy one.
      temperature: Of these.
      seed: Another gives other samples.
      watch: Called with an attempt and its new steps after each of its turns.

    Returns:
      The attempts that have made a turn. Only the last to do so can have passed; the
      others that were under way then are as far as they were.
    """
    attempts: list[Attempt] = []
    for count, heat in ((1, 0.0), (samples, temperature)):
        first = len(attempts) + 1
        here: dict[int, Attempt] = {}

        def follow(rollout: Rollout, first=first, here=here) -> bool:
            if any(attempt.passed for attempt in here.values()):
                return True
            number = first + rollout.sample
            attempt = here.setdefault(number, Attempt(number, bug.faulty_code))
            watch(attempt, attempt.follow(rollout))
            return attempt.passed

        if count:
            policy.play(params, [bug], count, heat, step=seed, watch=follow)
        attempts += [here[number] for number in sorted(here)]
        if any(attempt.passed for attempt in attempts):
            break
    return attempts


def best_of(attempts: list[Attempt], policy: Policy, bug: Bug) -> Attempt:
    """The attempt that passes; else of the most tests passed, then the fewest edits."""
    task = bug.task
    results = policy.sandbox.map(
        [(each.code, task.test_list, task.test_setup_code) for each in attempts]
    )
    for attempt, result in zip(attempts, results, strict=True):
        attempt.failing = len(result.failed_tests)
    return min(attempts, key=lambda a: (not a.passed, a.failing, a.edits, a.number))

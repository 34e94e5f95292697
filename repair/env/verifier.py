"""Who says whether a state is right: the sandbox, or a function of one's own."""

import collections
from collections.abc import Callable, Sequence
from typing import Protocol

from repair.sandbox import Level, Result


class Verifier(Protocol):
    """What episodes, training and evaluation use of a `Sandbox`; a context manager.

    Attributes:
      level: How well that which it runs is locked in; None if it runs nothing.
      counts: How many answers were given of each status and trust.
    """

    level: Level | None
    counts: collections.Counter[str]

    def map(self, jobs: Sequence[tuple]) -> list[Result]:
        """Results in order of jobs (state, tests, setup[, seconds allowed])."""

    def allowances(self, references: Sequence[tuple]) -> list[float]:
        """Seconds for attempts at what each of these jobs solves."""

    def __enter__(self) -> "Verifier":
        """Itself."""

    def __exit__(self, *exception) -> None:
        """Lets go of what it holds."""


class FunctionVerifier:
    """Judges by a function, here and at once; for states that nothing has to run.

    Args:
      check: From a state and one test of its task to what is wrong, in one line that
        is the same every time, or to "" if the test holds. The state is what the
        policy's commands have made of the tool: compare it, and never evaluate it.
    """

    level = None

    def __init__(self, check: Callable[[str, str], str]):
        self._check = check
        self.counts: collections.Counter[str] = collections.Counter()

    def map(self, jobs: Sequence[tuple]) -> list[Result]:
        """Results in order of jobs (state, tests, ...).

        Raises:
          TypeError: The function gave something else than a line.
        """
        return [self._judge(state, tests) for state, tests, *_ in jobs]

    def allowances(self, references: Sequence[tuple]) -> list[float]:
        """No limit: nothing runs."""
        return [float("inf")] * len(references)

    def _judge(self, state: str, tests: Sequence[str]) -> Result:
        said = [self._check(state, test) for test in tests]
        for text in said:
            if not isinstance(text, str) or "\n" in text:
                raise TypeError(
                    f"check gave {text!r}; expected one line, '' if it holds"
                )
        failed = tuple(i for i, text in enumerate(said) if text)
        status = "failed" if failed else "passed"
        self.counts.update([status, "trust_value"])
        feedback = said[failed[0]] if failed else ""
        return Result(not failed, status, feedback, failed, 0.0, "value")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Nothing is held."""

"""Verifiers: the sandbox, or a plain function, decides if a state passes its tests."""

import collections
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from repair.sandbox import Level, Result


class Verifier(Protocol):
    """The part of a `Sandbox` that episodes, training and evaluation use."""

    @property
    def level(self) -> Level | None:
        """Isolation level of the programs that run; None if nothing runs."""

    @property
    def counts(self) -> collections.Counter[str]:
        """Number of results by status and by trust."""

    def map(self, jobs: Sequence[tuple]) -> list[Result]:
        """Return results in the order of jobs (state, tests, setup[, seconds])."""

    def allowances(self, references: Sequence[tuple]) -> list[float]:
        """Return the seconds that attempts may take, given jobs that pass."""

    def __enter__(self) -> Self:
        """Return self."""

    def __exit__(self, *exception: object) -> None:
        """Release all resources."""


class FunctionVerifier:
    """A verifier for states that nothing has to run: it calls a function.

    Args:
      check: Maps a state and one test to an error message, or to "" if the test holds.
        A message is one line, and the same every time. The state comes from the
        policy's commands: compare it, and never evaluate it.
    """

    level = None

    def __init__(self, check: Callable[[str, str], str]):
        self._check = check
        self.counts: collections.Counter[str] = collections.Counter()

    def map(self, jobs: Sequence[tuple]) -> list[Result]:
        """Return results in the order of jobs (state, tests, ...).

        Raises:
          TypeError: The function returned something else than one line.
        """
        return [self._verify(state, tests) for state, tests, *_ in jobs]

    def allowances(self, references: Sequence[tuple]) -> list[float]:
        """Return no limit for each: nothing runs."""
        return [float("inf")] * len(references)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def _verify(self, state: str, tests: Sequence[str]) -> Result:
        messages = [self._check(state, test) for test in tests]
        for message in messages:
            if not isinstance(message, str) or "\n" in message:
                raise TypeError(
                    f"check gave {message!r}; expected one line, '' if it holds"
                )
        failed = tuple(i for i, message in enumerate(messages) if message)
        status = "failed" if failed else "passed"
        self.counts.update([status, "trust_value"])
        feedback = messages[failed[0]] if failed else ""
        return Result(not failed, status, feedback, failed, 0.0, "value")

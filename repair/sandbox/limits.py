"""Limits of one program, and its request under them."""

import dataclasses
import json
from collections.abc import Sequence

from repair.errors import MOST, expect_between
from repair.sandbox.outcomes import Step
from repair.sandbox.worker import Request

_ANSWER_BYTES = 8  # times the size of a value, of an answer that is read


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of one program with all its tests; FieldError if out of range.

    Attributes:
      seconds: Wall time, a backstop for a machine that is too busy. It gives no
        verdict: the program runs once more with four times as much.
      cpu_seconds: Processor time. A program that sleeps has four times as long.
      memory_mb: Address space in MiB.
      output_bytes: Approximate size of each value of a test; a larger one fails. A list
        of 50,000 integers has about a million.
    """

    seconds: float = 20.0
    cpu_seconds: float = 1.0
    memory_mb: int = 512
    output_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        names = [field.name for field in dataclasses.fields(self)]
        # System calls take no more.
        expect_between(self, 0, MOST, *names, above=True)


def make_request(
    code: str,
    tests: Sequence[Sequence[Step]],
    limits: Limits,
    *,
    setup: str = "",
    token: str = "",
    cpu_seconds: float | None = None,
) -> Request:
    """Return the request of a program under limits.

    Args:
      code: The program.
      tests: The steps of each test.
      limits: Its limits.
      setup: Statements that run before it.
      token: A secret that a true answer holds.
      cpu_seconds: Processor time of this program; by default that of the limits.
    """
    job = {
        "token": token,
        "setup": setup,
        "code": code,
        "tests": [[step.request() for step in steps] for steps in tests],
        "output_bytes": limits.output_bytes,
    }
    return Request(
        json.dumps(job).encode(),
        limits.seconds,
        limits.cpu_seconds if cpu_seconds is None else cpu_seconds,
        limits.memory_mb,
        _ANSWER_BYTES * limits.output_bytes + (1 << 16),
    )

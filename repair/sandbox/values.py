"""What expressions evaluate to, beside a program that is trusted to say.

For the references of tasks that come without expected values. They run locked in like
any program, but are taken at their word: no program of a model's may come this way.
"""

import dataclasses
import os
import secrets
import tempfile
from collections.abc import Sequence

from repair.sandbox import verdict, worker
from repair.sandbox.asserts import Test
from repair.sandbox.pool import Limits

# References may return much; what is too large to be judged later is left out later.
_LIMITS = Limits(output_bytes=1 << 22)


def evaluate(
    jobs: Sequence[tuple[str, Sequence[str]]], limits: Limits = _LIMITS
) -> list[list[tuple[object] | None]]:
    """Evaluates the expressions of each (program, expressions).

    Args:
      jobs: Programs and expressions; those of one program run together, and one by one
        if that ends early.
      limits: What a program with one or all of its expressions may use.

    Returns:
      For each expression its value in a tuple of one; None where it fails, does not end
      in time or is of no plain type.

    Raises:
      SandboxError: The sandbox itself failed.
    """
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        os.chmod(folder, 0o755)  # the worker is another user
        process = worker.Worker(folder)
        try:
            return [
                _evaluate(process, code, expressions, dataclasses.asdict(limits))
                for code, expressions in jobs
            ]
        finally:
            process.terminate()
            process.stop()


def _evaluate(process, code: str, expressions: Sequence[str], limits: dict) -> list:
    values, ended = _ask(process, code, expressions, limits)
    if ended or len(expressions) < 2:
        return values
    return [_ask(process, code, [each], limits)[0][0] for each in expressions]


def _ask(process, code: str, expressions: Sequence[str], limits: dict):
    """The values, and whether the program got to the end of them."""
    keepers = [_Keeper() for _ in expressions]
    token = secrets.token_hex(8)
    request = {
        "token": token,
        "setup": "",
        "code": code,
        "tests": [["value", "", [expression]] for expression in expressions],
        "limits": limits,
    }
    (answer,) = process.ask([[request]], limits)
    tests = [
        Test("value", sources=(source,), holds=keeper)
        for source, keeper in zip(expressions, keepers, strict=True)
    ]
    job = (0, tests, token, limits["cpu_seconds"])
    ((_, result),) = verdict.judge([job], answer, ())
    ended = result.status not in ("timeout", "memory", "crashed")
    return [keeper.value for keeper in keepers], ended


class _Keeper:
    """A test that holds, and keeps what it was given."""

    value: tuple[object] | None = None

    def __call__(self, values: Sequence) -> bool:
        self.value = (values[0],)
        return True

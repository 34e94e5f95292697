"""Values of expressions after trusted programs: references without expected values.

These programs run isolated, but their answers are believed: never evaluate a model's
program here.
"""

import os
import secrets
import tempfile
from collections.abc import Sequence

from repair.sandbox import verdict
from repair.sandbox.limits import Limits, make_request
from repair.sandbox.outcomes import Step
from repair.sandbox.worker import Worker

# Far above the output that a verdict allows: callers drop large values themselves.
_LIMITS = Limits(output_bytes=1 << 22)


def evaluate_expressions(
    jobs: Sequence[tuple[str, Sequence[str]]], limits: Limits = _LIMITS
) -> list[list[tuple[object] | None]]:
    """Evaluate the expressions of each (program, expressions).

    The expressions of a program share a child; if it ends early, each runs again in a
    child of its own.

    Returns:
      For each expression a 1-tuple of its value, or None where it fails, takes too
      long or has no plain type.
    """
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        os.chmod(folder, 0o755)  # the worker is another user
        worker = Worker(folder)
        try:
            return [_evaluate(worker, code, each, limits) for code, each in jobs]
        finally:
            worker.terminate()
            worker.stop()


def _evaluate(
    worker: Worker, code: str, expressions: Sequence[str], limits: Limits
) -> list:
    values = _ask(worker, code, expressions, limits)
    if values is None and len(expressions) > 1:
        each = [_ask(worker, code, [one], limits) or [None] for one in expressions]
        return [value for (value,) in each]
    return values or [None] * len(expressions)


def _ask(
    worker: Worker, code: str, expressions: Sequence[str], limits: Limits
) -> list | None:
    """Return the values of one child, or None if it ended early."""
    token = secrets.token_hex(8)
    steps = [[Step(expression)] for expression in expressions]
    request = make_request(code, steps, limits, token=token)
    (answer,) = worker.ask([request], request)
    return verdict.read_values(answer, token, len(expressions))

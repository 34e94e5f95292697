"""Classes of failure, as the paper counts them, and shares of outcomes."""

import collections
import re

from repair.sandbox.verdict import STATUSES, Result

# "line 2: NameError: name 'y' is not defined", also of a test or the setup.
_FAULT = re.compile(r"(?:setup: |test \d+: )?(?:line \d+: )?([A-Za-z_]\w*)(?::|$)")


def exception_in(feedback: str) -> str | None:
    """Return the exception's name in a line of feedback, or None."""
    found = _FAULT.match(feedback)
    return found[1] if found else None


def failure_class(result: Result) -> str:
    """Return the name of the exception of an "error", else the status."""
    if result.status != "error":
        return result.status
    return exception_in(result.feedback) or "error"


def sandbox_shares(counts: collections.Counter) -> dict[str, float]:
    """Return the shares of answers by status, and of those that ran in the child.

    Args:
      counts: A difference of two `Sandbox.counts`. Answers from the cache count as
        others do, so that a resumed run, whose cache is empty, reads the same.
    """
    answers = sum(counts[status] for status in STATUSES)
    return {
        f"sandbox_{name}": counts[name] / max(answers, 1)
        for name in (*STATUSES, "trust_in_child")
    }

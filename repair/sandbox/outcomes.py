"""Classes of failure, as the paper counts them."""

import re

from repair.sandbox import Result

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

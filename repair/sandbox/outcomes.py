"""How programs fail, in the few classes that the paper counts."""

import re

from repair.sandbox import Result

# "line 2: NameError: name 'y' is not defined", also of a test or the setup.
_FAULT = re.compile(r"(?:setup: |test \d+: )?(?:line \d+: )?([A-Za-z_]\w*)(?::|$)")


def exception_in(feedback: str) -> str | None:
    """The name of the exception that a line of feedback tells of, or None."""
    found = _FAULT.match(feedback)
    return found[1] if found else None


def failure_class(result: Result) -> str:
    """Of a result: "passed", "failed" (a test), an exception's name, another status."""
    if result.status != "error":
        return result.status
    return exception_in(result.feedback) or "error"

"""How programs fail, in the few classes that the paper counts."""

import re

from repair.env.sandbox import Result

# What stands before the colon in "test 1: line 2: NameError: name 'y' is not defined".
_EXCEPTION = re.compile(r"(?:^|: )([A-Za-z_]\w*)(?::|$)")


def failure_class(result: Result) -> str:
    """Of a result: "passed", "failed" (a test), an exception's name, another status."""
    if result.status != "error":
        return result.status
    names = _EXCEPTION.findall(result.feedback)
    return names[0] if names else "error"

"""A thread-safe `ast.parse`.

CPython 3.11 before 3.11.8 counts the depth of syntax trees in one place for all
threads, and garbage collection lets another thread in (python/cpython#106905): now
and then a correct program raises SystemError.
"""

import ast
import threading

# The lock costs nothing: parsing holds the interpreter's own lock anyway.
_LOCK = threading.Lock()


def parse_program(source: str) -> ast.Module:
    """Parse as `ast.parse` does, from any thread; raise the same exceptions."""
    with _LOCK:
        try:
            return ast.parse(source)
        except SystemError:  # a thread outside of the sandbox parsed, too
            return ast.parse(source)

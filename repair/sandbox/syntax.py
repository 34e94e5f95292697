"""Syntax trees from several threads.

CPython 3.11 before 3.11.8 counts the depth of the tree that it builds in one place for
all threads, and loses count when garbage collection lets another thread in
(python/cpython#106905): a sound program then is a SystemError, now and then.
"""

import ast
import threading

# The lock costs nothing: parsing holds the interpreter's own lock anyway.
_LOCK = threading.Lock()


def parse(source: str) -> ast.Module:
    """As `ast.parse`, from any thread.

    Raises:
      SyntaxError, ValueError, MemoryError, RecursionError: As `ast.parse` does.
    """
    with _LOCK:
        try:
            return ast.parse(source)
        except SystemError:  # a thread outside of the sandbox parsed, too
            return ast.parse(source)

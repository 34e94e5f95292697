"""A thread-safe and silent `ast.parse`.

CPython 3.11 before 3.11.8 counts the depth of syntax trees in one place for all
threads, and garbage collection lets another thread in (python/cpython#106905): now
and then a correct program raises SystemError. From 3.12 on, an odd escape in a program
prints a warning.
"""

import ast
import threading
import warnings

# The lock costs nothing: parsing holds the interpreter's own lock anyway.
_LOCK = threading.Lock()


def parse_program(source: str) -> ast.Module:
    """Parse as `ast.parse` does, from any thread; raise the same exceptions."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except SystemError:  # a thread outside of the sandbox parsed, too
            return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """Parse one expression."""
    (statement,) = parse_program(source).body
    if not isinstance(statement, ast.Expr):
        raise SyntaxError(f"{source!r} is no expression")
    return statement.value

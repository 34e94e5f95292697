"""Asserts for known values: exact, or within a tolerance where floats are.

A call stands on one side and a literal on the other, so that the sandbox can keep the
value to itself (docs/sandbox.md).
"""

import ast
import math

# Rounding errors that sound programs may differ by.
_RELATIVE, _ABSOLUTE = 1e-7, 1e-6


def as_literal(value) -> str | None:
    """Return the value's source, the same in every process; None if it has none."""
    try:
        text = _literal(value)
        return text if ast.literal_eval(text) == value else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _literal(value) -> str:
    kind = dict if isinstance(value, dict) else type(value)  # a Counter equals a dict
    if kind is float and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    if kind is list:
        return f"[{', '.join(map(_literal, value))}]"
    if kind is tuple:
        return f"({', '.join(map(_literal, value))}{',' * (len(value) == 1)})"
    if kind is dict:
        pairs = (f"{_literal(k)}: {_literal(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if kind is set and value:
        # The order of a set depends on the process's hash seed.
        return "{" + ", ".join(sorted(map(_literal, value))) + "}"
    if kind in (bool, int, float, complex, str, bytes, set, type(None)):
        return repr(value)
    raise TypeError(f"{kind.__name__} has no literal")


def expectation(
    call: str, value, tolerance: float = 0.0, *, typed: bool = False
) -> str | None:
    """Return an assert that a call gives a value; None if the value has no literal.

    Args:
      call: An expression.
      value: Its value. A float, alone or in a list or tuple, is compared within a
        tolerance, and then a list may be a tuple.
      tolerance: The absolute tolerance; at least 1e-6 is allowed.
      typed: A list may not be a tuple, nor a tuple a list.
    """
    if as_literal(value) is None:
        return None
    if isinstance(value, list | tuple) and _has_floats(value):
        terms = _terms("result", value, tolerance)
        if typed:
            terms.insert(0, f"isinstance(result, {type(value).__name__})")
        return f"result = {call}; assert {' and '.join(terms)}"
    return f"assert {_terms(call, value, tolerance)[0]}"


def expect_one_of(call: str, *values) -> str | None:
    """Return an assert that a call gives one of some values; None without literals."""
    found = [as_literal(value) for value in values]
    texts = list(dict.fromkeys(filter(None, found)))
    if None in found:
        return None
    if len(texts) == 1:
        return f"assert {call} == {texts[0]}"
    return f"assert {call} in ({', '.join(texts)})"


def _has_floats(value) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_floats, value))
    return isinstance(value, float)


def _near(source: str, value: float, tolerance: float) -> str:
    if math.isinf(value):
        return f"{source} == {as_literal(value)}"
    allowed = max(tolerance, _ABSOLUTE) + _RELATIVE * abs(value)
    return f"abs({source} - {value!r}) <= {float(f'{allowed:.2g}')!r}"


def _terms(source: str, value, tolerance: float) -> list[str]:
    """Return the conditions under which the source is nearly the value."""
    if isinstance(value, float):
        return [_near(source, value, tolerance)]
    if not _has_floats(value):
        return [f"{source} == {as_literal(value)}"]
    terms = [f"len({source}) == {len(value)}"]
    for place, item in enumerate(value):
        terms += _terms(f"{source}[{place}]", item, tolerance)
    return terms

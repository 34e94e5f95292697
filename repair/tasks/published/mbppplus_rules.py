"""EvalPlus's rules for MBPP+: the types of arguments and the comparison of results.

JSON has no tuples, sets or complex numbers. Which arguments are what, and which results
count as equal, stands in no row but in the package evalplus (0.3.1: `data/mbpp.py`,
`eval/__init__.py`), by task; `benchmarks.references` compares with it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from repair.tasks.published.expect import as_literal, expect_one_of, expectation


def _same(value: Any) -> Any:
    return value


def _tuples(value: Sequence) -> list[tuple]:
    return [tuple(item) for item in value]


def _deep(value: Any) -> Any:
    return tuple(map(_deep, value)) if isinstance(value, list) else value


def _two_deep(value: Sequence) -> tuple:
    return tuple(tuple(x) if isinstance(x, list) else x for x in value)


def _sets(value: Sequence) -> list[set | dict]:
    # An empty one is a dict there, which equals no set.
    return [set(item) if item else {} for item in value]


def _tuple_values(value: dict) -> dict:
    return {key: tuple(item) for key, item in value.items()}


# Of each argument; the last one serves all further arguments too.
_Converters = tuple[Callable[[Any], Any], ...]
_ARGUMENTS: tuple[tuple[_Converters, str], ...] = (
    (
        (tuple,),
        "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740"
        " 744 809",
    ),
    ((_tuples,), "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    ((_tuples, _same), "75 413 444 753"),
    ((_same, tuple), "106 750"),
    ((tuple, _same), "250 307 405 446 617 720 763 808"),
    ((_deep,), "259 401 445 580 615 791"),
    ((_two_deep,), "278"),
    ((_sets,), "115"),
    ((float, complex), "124"),
    ((complex,), "252"),
    ((_tuple_values, _same), "722"),
)
_CONVERTERS = {
    int(number): converters for converters, ids in _ARGUMENTS for number in ids.split()
}
# Results that are compared as sets.
_AS_SETS = frozenset((2, 7, 111, 140, 232, 249, 579, 769))
# Results of which only None and False mean no: the others may be matches, for example.
FOUND_OR_NOT = frozenset((737, 787, 794))


def convert_arguments(number: int, arguments: Sequence) -> list:
    """Return the arguments of a JSON row in EvalPlus's types.

    Args:
      number: MBPP's task id.
      arguments: The arguments of one call.

    Raises:
      ValueError: An argument has another form than the task's others.
      TypeError: The same.
    """
    converters = _CONVERTERS.get(number, (_same,))
    last = len(converters) - 1
    return [converters[min(i, last)](value) for i, value in enumerate(arguments)]


def asked(number: int, call: str) -> str:
    """Return the expression whose value on the reference a test needs."""
    return f"{call} is not None" if number in FOUND_OR_NOT else call


def expect_result(
    number: int, call: str, arguments: Sequence, value: Any, tolerance: float
) -> str | None:
    """Return an assert that holds for the results that EvalPlus accepts.

    Args:
      number: MBPP's task id.
      call: The call.
      arguments: Its arguments.
      value: The value of `asked` on the reference.
      tolerance: The row's `atol`.

    Returns:
      The assert; None if the value has no literal.
    """
    if number in FOUND_OR_NOT:
        return f"assert repr({call}) {'not in' if value else 'in'} ('None', 'False')"
    if number in _AS_SETS:
        literal = as_literal(set(value))
        return literal and f"assert set({call}) == {literal}"
    if number in _OTHER_RESULTS:
        return expect_one_of(call, value, _OTHER_RESULTS[number](*arguments))
    if tolerance or _are_floats(value):
        return expectation(call, value, tolerance, typed=True)
    literal = as_literal(value)
    return literal and f"assert {call} == {literal}"


def _are_floats(value: Any) -> bool:
    """Return True where EvalPlus allows an error; floats further inside are exact."""
    if isinstance(value, list | tuple) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _digit_distance(one: int, two: int) -> int:
    """Return the sum of differences of two numbers' digits, of equal place."""
    width = max(len(str(one)), len(str(two)))
    pairs = zip(str(one).zfill(width), str(two).zfill(width), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)


def _surface_by_height(edge: float, height: float) -> int:
    """Return a square pyramid's surface, rounded; the reference has a side's height."""
    return round(edge**2 + 2 * edge * math.sqrt((edge / 2) ** 2 + height**2))


# A second result that counts as right: another reading of the task.
_OTHER_RESULTS = {558: _digit_distance, 581: _surface_by_height}

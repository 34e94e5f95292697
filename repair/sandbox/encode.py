"""Values of a program as JSON, written in the child; `decoding` reads them.

It imports the standard library only. None, booleans, strings, floats, small integers
and lists are JSON's own. Any other value is an object with one key, the name of its
type: see `_parts`. A value of an unknown type is opaque: {"opaque": [type, truth]}.
"""

import collections
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 50  # of nested values
NODE_BYTES = 16  # cost of a value apart from its characters
MAX_RANGE = 100_000  # numbers of a range
_JSON_BITS = 64  # larger integers are sent as hexadecimal digits
# Programs may derive from these. A value is plain if its class compares as they do.
_BASES = (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset)
_DICTS = (dict, collections.Counter, collections.OrderedDict, collections.defaultdict)
_UNORDERED = frozenset(("set", "frozenset", "dict_keys", "dict_items"))


class TooLarge(Exception):
    """A value exceeds the limit of an answer."""


def encode(value: Any, room: list[int], depth: int = 0) -> Any:
    """Return a value as JSON.

    Args:
      value: Any object of a program.
      room: [bytes that are left, values so far that are not the same outside: opaque
        ones, and sets, whose order may differ]. Both are brought up to date.
      depth: Number of values around this one.

    Raises:
      TooLarge: No room is left.
    """
    room[0] -= NODE_BYTES
    kind = type(value)
    if value is None or kind is bool or kind is float:
        _check(room)
        return value
    base = kind if kind in _BASES else _base_of(kind)
    if base is int:
        bits = int.bit_length(value)
        room[0] -= bits // 4
        _check(room)
        number = int.__pos__(value)
        return number if bits <= _JSON_BITS else {"int": hex(number)}
    if base is str:
        room[0] -= str.__len__(value)
        _check(room)
        return str.__str__(value)
    _check(room)
    if base is float:
        return float.__pos__(value)
    if depth < MAX_DEPTH:
        if base is list:
            return [encode(item, room, depth + 1) for item in list.__iter__(value)]
        if found := _parts(value, kind, base):
            name, parts = found
            room[1] += name in _UNORDERED
            if isinstance(parts, str):
                room[0] -= len(parts)
                _check(room)
                return {name: parts}
            return {name: [encode(part, room, depth + 1) for part in parts]}
    room[1] += 1
    return {"opaque": [kind.__name__, _truth(value)]}


def _check(room: list[int]) -> None:
    if room[0] < 0:
        raise TooLarge


def _base_of(kind: type) -> type | None:
    """Return the plain type that a class derives from, if it compares alike."""
    for base in (*_BASES, dict):
        if base in kind.__mro__:
            return base if _compares_alike(kind, base) else None
    return None


def _compares_alike(kind: Any, base: Any) -> bool:
    return kind.__eq__ is base.__eq__ and kind.__ne__ is base.__ne__


def _parts(value: Any, kind: type, base: type | None) -> tuple[str, Any] | None:
    """Return (name of the type, parts that rebuild it), or None for other types."""
    if base in (tuple, set, frozenset):
        return base.__name__, base.__iter__(value)
    if base in (bytes, bytearray):
        return base.__name__, base.hex(value)
    if base is complex:
        return "complex", (value.real, value.imag)
    if kind in _DICTS or base is dict:
        name = kind.__name__ if kind in _DICTS[1:3] else "dict"
        return name, dict.items(value)
    if found := _STANDARD.get(kind):
        return found(value)
    return None


def _range(value: range) -> tuple | None:
    parts = value.start, value.stop, value.step
    return ("range", parts) if len(value) <= MAX_RANGE else None


def _moment(value: datetime.datetime) -> tuple | None:
    if value.tzinfo is not None:
        return None
    return "datetime", (*value.timetuple()[:6], value.microsecond)


_STANDARD: dict[type, Callable] = {
    range: _range,
    collections.deque: lambda x: ("deque", x),
    type({}.keys()): lambda x: ("dict_keys", x),
    type({}.items()): lambda x: ("dict_items", x),
    fractions.Fraction: lambda x: ("Fraction", (x.numerator, x.denominator)),
    decimal.Decimal: lambda x: ("Decimal", str(x)),
    datetime.date: lambda x: ("date", (x.year, x.month, x.day)),
    datetime.datetime: _moment,
    datetime.timedelta: lambda x: ("timedelta", (x.days, x.seconds, x.microseconds)),
}


def _truth(value: Any) -> bool:
    """Return the truth of an object; False if it has none, as an assert would fail."""
    try:
        return bool(value)
    except Exception:
        return False

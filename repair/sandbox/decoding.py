"""Values that a child sends, rebuilt and compared outside of it; see `encode`.

The text comes from the program. Every step here takes time that the size of the text
bounds: a set of integers that hash alike, for example, is refused.
"""

import collections
import datetime
import decimal
import fractions
import itertools
from collections.abc import Callable, Iterable
from typing import Any

MAX_ALIKE = 64  # elements of a set, or keys of a dict, with one hash
MAX_ITEMS = 1_000_000  # of anything built here
_MAX_INT_BITS = 10_000  # str() refuses larger integers
_SHOWN = 1000  # items
_MAX_EXPONENT = 10_000  # of a Decimal: int() of a larger one takes too long


class Garbled(Exception):
    """A text that `encode` does not write."""


class Opaque:
    """An object of a program of which only the type's name and the truth are known.

    It equals nothing but itself.
    """

    def __init__(self, name: str, truth: bool):
        self.name, self._truth = name, truth

    def __bool__(self) -> bool:
        return self._truth


def rebuild(sent: Any) -> Any:
    """Rebuild a value from parsed JSON; raise Garbled if `encode` did not send it."""
    try:
        return _rebuild(sent)
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        raise Garbled from None


def _rebuild(sent: Any) -> Any:
    kind = type(sent)
    if kind is list:
        return [_rebuild(x) if type(x) in (list, dict) else x for x in sent]
    if kind is not dict:
        return sent
    ((name, parts),) = sent.items()
    if name == "opaque":
        label, truth = parts
        if type(label) is not str or type(truth) is not bool:
            raise Garbled
        return Opaque(label, truth)
    if name not in _KINDS:
        raise Garbled
    return _KINDS[name](parts if isinstance(parts, str) else _rebuild(parts))


def has_opaque(value: Any) -> bool:
    """Return True if a value is opaque or holds such a one."""
    if isinstance(value, dict):
        return any(map(has_opaque, value.keys())) or any(
            map(has_opaque, value.values())
        )
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return any(map(has_opaque, value))
    return isinstance(value, Opaque)


def distinct(items: Iterable) -> list:
    """Return items that a set can hold in bounded time; raise Garbled if it cannot."""
    items = list(items)
    counts = collections.Counter(map(hash, items))
    groups: dict[int, list] = {
        key: [] for key, count in counts.items() if count > MAX_ALIKE
    }
    for item in items if groups else ():
        group = groups.get(hash(item))
        if group is not None and item not in group:
            if len(group) == MAX_ALIKE:
                raise Garbled
            group.append(item)
    return items


def _pairs(kind: Callable) -> Callable:
    def build(pairs: list) -> Any:
        pairs = [(key, value) for key, value in pairs]
        distinct(key for key, _ in pairs)
        return kind(pairs)

    return build


def _counter(pairs: list) -> collections.Counter:
    counter: collections.Counter = collections.Counter()
    dict.update(counter, pairs)
    return counter


def _range(parts: list) -> range:
    found = range(*parts)
    if len(found) > MAX_ITEMS:
        raise Garbled
    return found


def _decimal(text: str) -> decimal.Decimal:
    found = decimal.Decimal(text)
    if found.is_finite() and abs(found.adjusted()) > _MAX_EXPONENT:
        raise Garbled
    return found


_KINDS: dict[str, Callable] = {
    "int": lambda digits: int(digits, 16),
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "tuple": tuple,
    "set": lambda items: set(distinct(items)),
    "frozenset": lambda items: frozenset(distinct(items)),
    "dict": _pairs(dict),
    "Counter": _pairs(_counter),
    "OrderedDict": _pairs(collections.OrderedDict),
    "deque": collections.deque,
    "range": _range,
    "dict_keys": lambda items: dict.fromkeys(distinct(items)).keys(),
    "dict_items": lambda pairs: _pairs(dict)(pairs).items(),
    "Fraction": lambda parts: fractions.Fraction(*parts),
    "Decimal": _decimal,
    "date": lambda parts: datetime.date(*parts),
    "datetime": lambda parts: datetime.datetime(*parts),
    "timedelta": lambda parts: datetime.timedelta(*parts),
}


def format_value(value: object) -> str:
    """Format as repr() does, but sets in sorted order, and integers of any size.

    Of a long list, tuple or dict only the beginning is formatted.
    """
    if isinstance(value, Opaque):
        return value.name
    if isinstance(value, set | frozenset) and value:
        inner = "{" + ", ".join(sorted(map(format_value, value))) + "}"
        return inner if isinstance(value, set) else f"frozenset({inner})"
    if type(value) is list:
        return "[" + ", ".join(map(format_value, value[:_SHOWN])) + "]"
    if type(value) is tuple:
        inner = ", ".join(map(format_value, value[:_SHOWN]))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) is dict:
        items = itertools.islice(value.items(), _SHOWN)
        pairs = (f"{format_value(k)}: {format_value(v)}" for k, v in items)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return f"an int of {value.bit_length()} bits"
    try:
        return repr(value)
    except ValueError:  # it holds a larger integer
        return type(value).__name__

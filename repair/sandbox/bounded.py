"""Functions and operators that checks apply outside of the child.

They form a closed list. What they are applied to may come from a program, so each takes
time and memory that the size of its arguments bounds.
"""

import ast
import builtins
import collections
import datetime
import decimal
import fractions
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from repair.sandbox.decoding import MAX_ITEMS, distinct

_MAX_BITS = 100_000  # of integers that are computed with
_NUMBERS = (int, float, complex, fractions.Fraction, decimal.Decimal)
_SEQUENCES = (str, bytes, list, tuple)
_SETS: tuple[type, ...] = (set, frozenset, type({}.keys()), type({}.items()))


def _checked(value: Any) -> Any:
    """Return a value; raise ValueError if it is too large to compute with."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ValueError("a number is too large")
    if isinstance(value, decimal.Decimal | fractions.Fraction):
        # Their conversion to integers takes time by the exponent.
        parts = (
            (value.adjusted() if value.is_finite() else 0,)
            if isinstance(value, decimal.Decimal)
            else (value.numerator.bit_length(), value.denominator.bit_length())
        )
        if max(map(abs, parts)) > _MAX_BITS:
            raise ValueError("a number is too large")
    return value


def _bounded(function: Callable) -> Callable:
    def call(*values: Any, **options: Any) -> Any:
        for value in values:
            _checked(value)
        return function(*values, **options)

    return call


def _unique(kind: Callable) -> Callable:
    def build(*values: Any, **options: Any) -> Any:
        if values and isinstance(values[0], Mapping):
            return kind(*values, **options)
        return kind(*(distinct(value) for value in values), **options)

    return build


def _dict(*values: Any, **options: Any) -> dict:
    for value in values:
        if not isinstance(value, Mapping):
            distinct(key for key, _ in value)
    return dict(*values, **options)


def _counter(*values: Any, **options: Any) -> collections.Counter:
    return _unique(collections.Counter)(*values, **options)


def _pow(base: Any, exponent: Any, *modulus: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and not modulus:
        if abs(exponent) * max(base.bit_length(), 1) > _MAX_BITS:
            raise ValueError("a power is too large")
    elif not all(isinstance(each, _NUMBERS) for each in (base, exponent)):
        raise TypeError("no numbers")
    elif isinstance(base, fractions.Fraction) and abs(exponent) > 1000:
        raise ValueError("a power is too large")
    return pow(_checked(base), _checked(exponent), *modulus)


def _round(value: Any, digits: Any = None) -> Any:
    if digits is not None and abs(digits) > 1000:
        raise ValueError("too many digits")
    return round(_checked(value), digits)


def _range(*values: Any) -> range:
    found = range(*values)
    if len(found) > MAX_ITEMS:
        raise ValueError("a range is too long")
    return found


def _sum(values: Any, start: Any = 0) -> Any:
    values = list(values)
    if not all(isinstance(each, _NUMBERS) for each in (*values, start)):
        raise TypeError("no numbers")
    return sum(map(_checked, values), start)


def _bytes(*values: Any) -> bytes:
    if values and isinstance(values[0], int) and values[0] > MAX_ITEMS:
        raise ValueError("too many bytes")
    return bytes(*values)


def _fraction(*values: Any) -> fractions.Fraction:
    if any(isinstance(each, str) and "e" in each.lower() for each in values):
        raise ValueError("a power in a fraction's text")  # may take forever
    return fractions.Fraction(*map(_checked, values))


# Kinds that `isinstance` may name.
TYPES: dict[str, type] = {
    name: getattr(builtins, name)
    for name in (
        "bool bytes complex dict float frozenset int list set str tuple"
    ).split()
}
# By the names under which tests call them.
FUNCTIONS: dict[str, Callable] = {
    "abs": _bounded(abs),
    "all": all,
    "any": any,
    "bool": bool,
    "bytes": _bytes,
    "chr": chr,
    "complex": complex,
    "dict": _dict,
    "divmod": _bounded(divmod),
    "float": _bounded(float),
    "frozenset": _unique(frozenset),
    "int": _bounded(int),
    "isinstance": isinstance,
    "len": len,
    "list": list,
    "max": max,
    "min": min,
    "ord": ord,
    "pow": _pow,
    "range": _range,
    "repr": repr,
    "round": _round,
    "set": _unique(set),
    "sorted": sorted,
    "str": str,
    "sum": _sum,
    "tuple": tuple,
    "isclose": math.isclose,
    "Counter": _counter,
    "OrderedDict": lambda *pairs: collections.OrderedDict(_dict(*pairs)),
    "deque": collections.deque,
    "Fraction": _fraction,
    "Decimal": decimal.Decimal,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
}
_LARGE = frozenset(("factorial", "comb", "perm", "prod"))
MATH: dict[str, Any] = {
    name: _bounded(value) if callable(value) else value
    for name, value in vars(math).items()
    if not name.startswith("_") and name not in _LARGE
}
# Modules whose members have the same names in FUNCTIONS.
_MODULES = frozenset("collections datetime decimal fractions math".split())


def types_of(nodes: list[ast.expr]) -> tuple[type, ...] | None:
    """Return the types that the second argument of `isinstance` names, or None."""
    names = nodes[0].elts if nodes and isinstance(nodes[0], ast.Tuple) else nodes
    kinds = [TYPES[x.id] for x in names if isinstance(x, ast.Name) and x.id in TYPES]
    return tuple(kinds) if kinds and len(kinds) == len(names) else None


def function_of(node: ast.expr) -> Callable | None:
    """Return the function of the closed list that an expression names, or None."""
    match node:
        case ast.Name(name):
            return FUNCTIONS.get(name)
        case ast.Attribute(ast.Name("math"), name):
            found = MATH.get(name)
            return found if callable(found) else None
        case ast.Attribute(ast.Name(module), name) if module in _MODULES:
            return FUNCTIONS.get(name)
    return None


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, _SEQUENCES) and type(left) is type(right):
        return operator.add(left, right)
    return _numbers(operator.add)(left, right)


def _multiply(left: Any, right: Any) -> Any:
    for one, times in ((left, right), (right, left)):
        if isinstance(one, _SEQUENCES) and isinstance(times, int):
            if len(one) * times > MAX_ITEMS:
                raise ValueError("a sequence is too long")
            return one * times
    return _numbers(operator.mul)(left, right)


def _numbers(function: Callable) -> Callable:
    def apply(left: Any, right: Any) -> Any:
        if not all(isinstance(each, _NUMBERS) for each in (left, right)):
            raise TypeError("no numbers")
        return function(_checked(left), _checked(right))

    return apply


def _sets(function: Callable) -> Callable:
    def apply(left: Any, right: Any) -> Any:
        if all(isinstance(each, _SETS) for each in (left, right)):
            return function(left, right)
        if all(isinstance(each, dict | int) for each in (left, right)):
            return function(left, right)
        raise TypeError("neither sets nor integers")

    return apply


def _subtract(left: Any, right: Any) -> Any:
    if all(isinstance(each, _SETS) for each in (left, right)):
        return left - right
    if isinstance(left, datetime.date) and isinstance(right, datetime.date):
        return left - right
    return _numbers(operator.sub)(left, right)


def _shift(left: int, right: int) -> int:
    if right > _MAX_BITS:
        raise ValueError("a shift is too large")
    return _numbers(operator.lshift)(left, right)


OPERATORS: dict[type, Callable] = {
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Mult: _multiply,
    ast.Div: _numbers(operator.truediv),
    ast.FloorDiv: _numbers(operator.floordiv),
    ast.Mod: _numbers(operator.mod),
    ast.Pow: _pow,
    ast.LShift: _shift,
    ast.RShift: _numbers(operator.rshift),
    ast.BitAnd: _sets(operator.and_),
    ast.BitOr: _sets(operator.or_),
    ast.BitXor: _sets(operator.xor),
}
UNARY: dict[type, Callable] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
COMPARISONS: dict[type, Callable] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}

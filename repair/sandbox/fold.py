"""Constants of tests: expressions, loops and assignments that ask the child nothing."""

import ast
import builtins
import contextlib
from collections.abc import Mapping
from typing import Any

from repair.sandbox import bounded, syntax

MAX_TURNS = 1000  # of a loop that is unrolled


class NotConstant(Exception):
    """An expression that is no constant."""


def constant(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the value of a constant expression.

    Args:
      node: The expression.
      names: Values of names.

    Raises:
      NotConstant: It depends on something else, fails, or would take long.
    """
    try:
        return _constant(node, names)
    except NotConstant:
        raise
    except Exception as error:
        raise NotConstant from error


def _constant(node: ast.expr, names: Mapping[str, Any]) -> Any:
    def fold(inner: ast.expr) -> Any:
        return _constant(inner, names)

    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name) if name in names:
            return names[name]
        case ast.Attribute(ast.Name("math"), name) if isinstance(
            bounded.MATH.get(name), float
        ):
            return bounded.MATH[name]
        case ast.List(parts):
            return [fold(part) for part in parts]
        case ast.Tuple(parts):
            return tuple(fold(part) for part in parts)
        case ast.Set(parts):
            return {fold(part) for part in parts}
        case ast.Dict(keys, values) if None not in keys:
            return {fold(k): fold(v) for k, v in zip(keys, values, strict=True) if k}
        case ast.UnaryOp(operation, operand):
            return bounded.UNARY[type(operation)](fold(operand))
        case ast.BinOp(left, operation, right):
            return bounded.OPERATORS[type(operation)](fold(left), fold(right))
        case ast.Compare(left, [operation], [right]):
            return bounded.COMPARISONS[type(operation)](fold(left), fold(right))
        case ast.Subscript(value, index):
            return fold(value)[fold(index)]
        case ast.Slice(lower, upper, step):
            return slice(*(part and fold(part) for part in (lower, upper, step)))
        case ast.Call(function, arguments, keywords):
            call = bounded.function_of(function)
            if call is None or call is isinstance:
                raise NotConstant
            options = {each.arg: fold(each.value) for each in keywords if each.arg}
            if len(options) < len(keywords):
                raise NotConstant
            return call(*map(fold, arguments), **options)
        case ast.ListComp(element, generators) | ast.GeneratorExp(element, generators):
            return [_constant(element, each) for each in bindings(generators, names)]
        case ast.SetComp(element, generators):
            return {_constant(element, each) for each in bindings(generators, names)}
        case ast.DictComp(key, value, generators):
            return {
                _constant(key, each): _constant(value, each)
                for each in bindings(generators, names)
            }
    raise NotConstant


def bindings(
    generators: list[ast.comprehension], names: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the names of each turn of a comprehension over constants.

    Raises:
      NotConstant: It runs over something else, or too often.
    """
    found = [dict(names)]
    for generator in generators:
        turns = []
        for outer in found:
            for item in _items(generator.iter, outer):
                inner = outer | bind(generator.target, item)
                if all(constant(condition, inner) for condition in generator.ifs):
                    turns.append(inner)
                if len(turns) > MAX_TURNS:
                    raise NotConstant
        found = turns
    return found


def _items(node: ast.expr, names: Mapping[str, Any]) -> list:
    match node:
        case ast.Call(ast.Name("enumerate" | "zip" | "reversed" as name), parts, []):
            values = [constant(part, names) for part in parts]
            return list(getattr(builtins, name)(*values))
        case ast.Call(ast.Attribute(inner, "items"), [], []):
            found = constant(inner, names)
            if isinstance(found, dict):
                return list(found.items())
            raise NotConstant
    return list(constant(node, names))


def bind(target: ast.expr, value: Any) -> dict[str, Any]:
    """Return the names that an assignment of a constant binds; raise NotConstant."""
    match target:
        case ast.Name(name):
            return {name: value}
        case ast.Tuple(parts) | ast.List(parts):
            found: dict[str, Any] = {}
            for part, item in zip(parts, value, strict=True):
                found |= bind(part, item)
            return found
    raise NotConstant


class Substitute(ast.NodeTransformer):
    """Replace names by constants."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the constant's literal."""
        if node.id not in self._values:
            return node
        if not isinstance(node.ctx, ast.Load):
            raise NotConstant
        return syntax.parse_expression(_literal(self._values[node.id]))


def _literal(value: Any) -> str:
    text = repr(value)
    with contextlib.suppress(ValueError, SyntaxError):
        if ast.literal_eval(text) == value:
            return text
    raise NotConstant  # of no literal, such as infinity

"""Tests taken apart: what a child evaluates, and what is judged outside of it.

`assert f(args) == literal` becomes the call, which goes to the child, and the
comparison, which stays. Of other asserts as much as possible stays: truth tests,
other comparisons, arithmetic and known functions around the result, values that the
program changed in place, exceptions that it should raise. What cannot be taken apart
runs beside the program, which may then judge itself.
"""

import ast
import builtins
import dataclasses
import math
import operator
from collections.abc import Callable, Sequence

from repair.sandbox import syntax

# Calls that give the program's value another shape, and no verdict on it: the child
# makes them, since a generator, say, cannot cross.
_SHAPES = frozenset(
    "dict float frozenset int len list max min set sorted str sum tuple".split()
)
# Functions of plain values that judge or reckon: called outside only.
_FUNCTIONS = {
    "abs": abs,
    "all": all,
    "any": any,
    "bool": bool,
    "isclose": math.isclose,
    "isinstance": isinstance,
    "round": round,
}
_TYPES = {
    kind.__name__: kind
    for kind in (
        bool,
        bytes,
        complex,
        dict,
        float,
        frozenset,
        int,
        list,
        set,
        str,
        tuple,
    )
}
_COMPARISONS = {
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
# No power, and numbers alone: a program must not make the trainer reckon for long.
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY = {ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos}
_NUMBERS = (int, float, complex)


@dataclasses.dataclass(frozen=True)
class Test:
    """A test as it is sent, and what stays behind.

    Attributes:
      kind: "value": the values of `sources` are judged by `holds`; "raises": the one
        source must raise `expected`; "exec": `prelude` is the whole test.
      prelude: Statements that the child runs first.
      sources: Expressions that the child evaluates.
      holds: Of the values, whether the test holds.
      expected: Exceptions, for "raises".
    """

    kind: str
    prelude: str = ""
    sources: tuple[str, ...] = ()
    holds: Callable[[Sequence], bool] | None = None
    expected: tuple[type, ...] = ()


class _Inseparable(Exception):
    """The test gives away its answer wherever the program runs."""


def split(source: str) -> Test:
    """Takes a test apart, or leaves it whole as "exec"."""
    try:
        return _split(source)
    except (
        *(_Inseparable, ValueError, SyntaxError, TypeError),
        *(MemoryError, RecursionError),
    ):
        # Of another form, or no Python at all: the child will say so.
        return Test("exec", source)


def _split(source: str) -> Test:
    *prelude, last = syntax.parse(source).body
    if any(isinstance(n, ast.Assert) for each in prelude for n in ast.walk(each)):
        raise _Inseparable  # its expected value would go along
    if raises := _split_raises(last):
        call, expected = raises
        return Test("raises", _unparse(prelude), (call,), expected=expected)
    if not isinstance(last, ast.Assert):
        raise _Inseparable
    builder = _Builder(bool(prelude))
    value, asked = builder.build(last.test, truth=True)
    if not asked:
        raise _Inseparable
    sources = tuple(builder.sources)
    return Test("value", _unparse(prelude), sources, lambda x: bool(value(x)))


def _unparse(statements: list[ast.stmt]) -> str:
    return "\n".join(map(ast.unparse, statements))


class _Builder:
    """Turns an expression into a function of the values that the child sends.

    Args:
      names: Whether plain names may be asked for, since statements before bind them.
    """

    def __init__(self, names: bool):
        self._names = names
        self.sources: list[str] = []

    def build(self, node: ast.expr, truth: bool) -> tuple[Callable, bool]:
        """(function of the values, whether it needs any).

        Args:
          node: The expression.
          truth: Whether its being true or false is all that counts, so that even a
            call that only carries other calls could judge them.

        Raises:
          _Inseparable: It cannot be evaluated outside.
        """
        if literal := _literal(node):
            return (lambda values: literal[0]), False
        if function := _outer_function(node):
            return self._call(function, node)
        if _is_blind(node, self._names, truth):
            place = len(self.sources)
            self.sources.append(ast.unparse(node))
            return (lambda values: values[place]), True
        match node:
            case ast.Compare(left, operators, comparators):
                return self._compare([left, *comparators], operators)
            case ast.BoolOp(operation, parts):
                built = [self.build(part, truth=True) for part in parts]
                gather = all if isinstance(operation, ast.And) else any
                return (
                    lambda values: gather(part(values) for part, _ in built),
                    any(asked for _, asked in built),
                )
            case ast.List(parts) | ast.Tuple(parts):
                built = [self.build(part, truth=False) for part in parts]
                kind = list if isinstance(node, ast.List) else tuple
                return (
                    lambda values: kind(part(values) for part, _ in built),
                    any(asked for _, asked in built),
                )
            case ast.UnaryOp(operation, operand) if type(operation) in _UNARY:
                inner, asked = self.build(operand, isinstance(operation, ast.Not))
                apply = _UNARY[type(operation)]
                return (lambda values: apply(inner(values))), asked
            case ast.BinOp(left, operation, right) if type(operation) in _ARITHMETIC:
                return self._reckon(left, _ARITHMETIC[type(operation)], right)
        raise _Inseparable

    def _call(self, function, node: ast.Call) -> tuple[Callable, bool]:
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            raise _Inseparable
        if any(keyword.arg is None for keyword in node.keywords):
            raise _Inseparable
        positional = [self._argument(argument) for argument in node.args]
        named = {k.arg: self._argument(k.value) for k in node.keywords}
        parts = [*positional, *named.values()]
        # With nothing outside to compare with, the program could agree with itself.
        if len(parts) > 1 and all(asked for _, asked in parts):
            raise _Inseparable

        def call(values):
            arguments = [part(values) for part, _ in positional]
            options = {name: part(values) for name, (part, _) in named.items()}
            return function(*arguments, **options)

        return call, any(asked for _, asked in parts)

    def _argument(self, node: ast.expr) -> tuple[Callable, bool]:
        if isinstance(node, ast.Name) and node.id in _TYPES:
            kind = _TYPES[node.id]
            return (lambda values: kind), False
        return self.build(node, truth=False)

    def _compare(self, sides, operators) -> tuple[Callable, bool]:
        # Against a truth value a call counts as a truth test.
        plain = [_is_truth_value(side) for side in sides]
        built = [self.build(side, truth=any(plain)) for side in sides]
        for (_, left), (_, right) in zip(built, built[1:], strict=False):
            if left and right:
                raise _Inseparable  # the program could agree with itself
        apply = [_COMPARISONS[type(each)] for each in operators]

        def compare(values):
            found = [side(values) for side, _ in built]
            pairs = zip(apply, found, found[1:], strict=False)
            return all(each(left, right) for each, left, right in pairs)

        return compare, any(asked for _, asked in built)

    def _reckon(self, left, apply, right) -> tuple[Callable, bool]:
        (first, asked), (second, asked_too) = (
            self.build(side, truth=False) for side in (left, right)
        )

        def reckon(values):
            pair = first(values), second(values)
            if not all(isinstance(each, _NUMBERS) for each in pair):
                raise TypeError("no numbers")
            return apply(*pair)

        return reckon, asked or asked_too


def _literal(node: ast.expr) -> tuple | None:
    """The value of a literal, in a tuple."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError):
        return None  # no literal, or one such as {[]} that is no value


def _is_truth_value(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, bool)
    )


def _outer_function(node: ast.expr):
    match node:
        case ast.Call(ast.Name(name)):
            return _FUNCTIONS.get(name)
        case ast.Call(ast.Attribute(ast.Name("math"), "isclose")):
            return math.isclose
    return None


def _is_blind(node: ast.expr, names: bool, truth: bool) -> bool:
    """Whether the expression says nothing of the value that it should have.

    The child may know what is asked, and never what is expected. The program's own
    objects may answer as they like, so where the arguments of a call make calls
    themselves, they must not compute with them; nor may only a truth value be wanted
    of such a call.
    """
    while True:
        match node:
            case ast.Subscript(inner) | ast.Attribute(inner):
                node = inner
            case ast.Call(ast.Name(name), [inner, *_]) if name in _SHAPES:
                node = inner
            case _:
                break
    if isinstance(node, ast.Name):
        return names
    if not isinstance(node, ast.Call):
        return False
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    inside = [n for argument in arguments for n in ast.walk(argument)]
    if not any(isinstance(n, ast.Call) for n in inside):
        return True
    judges = any(isinstance(n, ast.BinOp | ast.BoolOp | ast.Compare) for n in inside)
    return not judges and not truth


def _split_raises(statement: ast.stmt) -> tuple[str, tuple[type, ...]] | None:
    """(call, exceptions) of a statement that says that the call should raise."""
    match statement:
        case ast.Try(
            body=[ast.Expr(ast.Call() as call), *rest],
            handlers=[ast.ExceptHandler(kinds, None, [ast.Pass()])],
            orelse=otherwise,
            finalbody=[],
        ):
            after = [*rest, *otherwise]
        case ast.With(
            items=[ast.withitem(ast.Call(ast.Attribute(_, "raises"), [kinds]), None)],
            body=[ast.Expr(ast.Call() as call)],
        ):
            after = None
        case _:
            return None
    expected = _exceptions(kinds)
    # Without a failure after the call, a call that does not raise would do as well.
    if expected is None or after is not None and not _fails(after):
        return None
    return ast.unparse(call), expected


def _fails(statements: list[ast.stmt]) -> bool:
    match statements:
        case [ast.Assert(ast.Constant(False))]:
            return True
        case [ast.Raise()]:
            return True
    return False


def _exceptions(node: ast.expr | None) -> tuple[type, ...] | None:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    kinds = []
    for name in names:
        kind = getattr(builtins, name.id, None) if isinstance(name, ast.Name) else None
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return None
        # `assert False` after the call raises this itself: it would prove nothing.
        if issubclass(AssertionError, kind):
            return None
        kinds.append(kind)
    return tuple(kinds)

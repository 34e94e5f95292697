"""Split tests into expressions for the child and comparisons outside of it.

Of `assert f(args) == literal` the call goes to the child and the comparison stays.
Truth tests, other comparisons, arithmetic and known functions around the result, values
changed in place and expected exceptions are split alike. Any other test runs whole in
the child, where a program could forge it.
"""

import ast
import builtins
import dataclasses
import itertools
import math
import operator
from collections.abc import Callable, Sequence

from repair.sandbox import syntax

# Conversions of the program's value without a verdict: they run in the child, since
# not every value can be sent (a generator cannot).
_SHAPES = frozenset(
    "dict float frozenset int len list max min set sorted str sum tuple".split()
)
# Functions of plain values that take part in the verdict: called outside only.
_FUNCTIONS = {"isclose": math.isclose} | {
    function.__name__: function for function in (abs, all, any, bool, isinstance, round)
}
_TYPES = {
    name: getattr(builtins, name)
    for name in (
        "bool bytes complex dict float frozenset int list set str tuple"
    ).split()
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
# No power, and numbers only: a program must not keep the trainer busy.
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type, Callable] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_NUMBERS = (int, float, complex)


@dataclasses.dataclass(frozen=True)
class Test:
    """One test, split.

    Attributes:
      kind: "value": the values of `sources` are judged by `holds`. "raises": the only
        source must raise `expected`. "exec": `prelude` is the whole test.
      prelude: Statements that the child runs first.
      sources: Expressions that the child evaluates.
      holds: Function from the values to the verdict.
      expected: Exceptions, for "raises".
    """

    kind: str
    prelude: str = ""
    sources: tuple[str, ...] = ()
    holds: Callable[[Sequence], bool] | None = None
    expected: tuple[type, ...] = ()


class _Whole(Exception):
    """The test cannot be split without giving its answer to the program."""


def split_test(source: str) -> Test:
    """Split a test, or leave it whole as "exec"."""
    try:
        return _split(source)
    except (_Whole, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # Of another form, or no Python at all: the child will report it.
        return Test("exec", source)


def _split(source: str) -> Test:
    *prelude, last = syntax.parse_program(source).body
    if any(isinstance(n, ast.Assert) for each in prelude for n in ast.walk(each)):
        raise _Whole  # its expected value would reach the child
    if raises := _split_raises(last):
        call, expected = raises
        return Test("raises", _unparse(prelude), (call,), expected=expected)
    if not isinstance(last, ast.Assert):
        raise _Whole
    builder = _Builder(bool(prelude))
    value = builder.build(last.test, truth=True)
    if not builder.sources:
        raise _Whole
    sources = tuple(builder.sources)
    return Test("value", _unparse(prelude), sources, lambda x: bool(value(x)))


def _unparse(statements: list[ast.stmt]) -> str:
    return "\n".join(map(ast.unparse, statements))


class _Builder:
    """Turn an expression into a function of the values that the child sends.

    Args:
      names: Allow plain names in `sources`: statements of the prelude bind them.
    """

    def __init__(self, names: bool):
        self._names = names
        self.sources: list[str] = []

    def build(self, node: ast.expr, truth: bool) -> Callable:
        """Return the function; raise _Whole if it cannot be evaluated outside.

        Args:
          node: The expression.
          truth: True if the expression counts only as true or false, which the
            program's own objects could decide in a call around other calls.
        """
        if literal := _literal(node):
            return lambda values: literal[0]
        if isinstance(node, ast.Call) and (function := _outer_function(node)):
            return self._call(function, node)
        if _is_blind(node, self._names, truth):
            place = len(self.sources)
            self.sources.append(ast.unparse(node))
            return lambda values: values[place]
        match node:
            case ast.Compare(left, operators, comparators):
                return self._compare([left, *comparators], operators)
            case ast.BoolOp(operation, parts):
                built, _ = self._build_all(parts, truth=True)
                gather = all if isinstance(operation, ast.And) else any
                return lambda values: gather(part(values) for part in built)
            case ast.List(parts) | ast.Tuple(parts):
                built, _ = self._build_all(parts)
                kind = list if isinstance(node, ast.List) else tuple
                return lambda values: kind(part(values) for part in built)
            case ast.UnaryOp(operation, operand) if type(operation) in _UNARY:
                inner = self.build(operand, isinstance(operation, ast.Not))
                apply = _UNARY[type(operation)]
                return lambda values: apply(inner(values))
            case ast.BinOp(left, operation, right) if type(operation) in _ARITHMETIC:
                return self._compute(_ARITHMETIC[type(operation)], [left, right])
        raise _Whole

    def _build_all(
        self, nodes: Sequence[ast.expr], truth: bool = False, types: bool = False
    ) -> tuple[list[Callable], list[bool]]:
        """Return the functions, and for each True if it uses values of the child."""
        built, asked = [], []
        for node in nodes:
            before = len(self.sources)
            if types and isinstance(node, ast.Name) and node.id in _TYPES:
                built.append(lambda values, kind=_TYPES[node.id]: kind)
            else:
                built.append(self.build(node, truth))
            asked.append(len(self.sources) > before)
        return built, asked

    def _call(self, function: Callable, node: ast.Call) -> Callable:
        names = [keyword.arg for keyword in node.keywords if keyword.arg]
        starred = any(isinstance(each, ast.Starred) for each in node.args)
        if starred or len(names) < len(node.keywords):
            raise _Whole
        keywords = [keyword.value for keyword in node.keywords]
        built, asked = self._build_all([*node.args, *keywords], types=True)
        # Compared with itself only, the program could make both sides equal.
        if len(built) > 1 and all(asked):
            raise _Whole
        count = len(node.args)

        def call(values: Sequence) -> object:
            found = [part(values) for part in built]
            options = dict(zip(names, found[count:], strict=True))
            return function(*found[:count], **options)

        return call

    def _compare(self, sides: list[ast.expr], operators: list[ast.cmpop]) -> Callable:
        # Against a truth value a call counts as a truth test.
        built, asked = self._build_all(sides, truth=any(map(_is_truth_value, sides)))
        if any(left and right for left, right in itertools.pairwise(asked)):
            raise _Whole  # the program could make both sides equal
        apply = [_COMPARISONS[type(each)] for each in operators]

        def compare(values: Sequence) -> bool:
            pairs = itertools.pairwise([side(values) for side in built])
            return all(f(*pair) for f, pair in zip(apply, pairs, strict=True))

        return compare

    def _compute(self, apply: Callable, operands: list[ast.expr]) -> Callable:
        built, _ = self._build_all(operands)

        def compute(values: Sequence) -> object:
            numbers = [operand(values) for operand in built]
            if not all(isinstance(each, _NUMBERS) for each in numbers):
                raise TypeError("no numbers")
            return apply(*numbers)

        return compute


def _literal(node: ast.expr) -> tuple | None:
    """Return the value of a literal in a 1-tuple, else None."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError):
        return None  # no literal, or one such as {[]} that is no value


def _is_truth_value(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, bool)
    )


def _outer_function(node: ast.Call) -> Callable | None:
    match node:
        case ast.Call(ast.Name(name)):
            return _FUNCTIONS.get(name)
        case ast.Call(ast.Attribute(ast.Name("math"), "isclose")):
            return math.isclose
    return None


def _is_blind(node: ast.expr, names: bool, truth: bool) -> bool:
    """Return True if the expression does not reveal its expected value.

    The program's objects may return anything. So arguments that call must not compute
    with the results, and the call around them must not count only as true or false.
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
    computes = any(isinstance(n, ast.BinOp | ast.BoolOp | ast.Compare) for n in inside)
    return not computes and not truth


def _split_raises(statement: ast.stmt) -> tuple[str, tuple[type, ...]] | None:
    """Return (call, exceptions) of a statement that expects a call to raise."""
    match statement:
        case ast.Try(
            body=[ast.Expr(ast.Call() as call), *rest],
            handlers=[ast.ExceptHandler(kinds, None, [ast.Pass()])],
            orelse=otherwise,
            finalbody=[],
        ):
            # Unless the rest fails, a call that returns would pass as well.
            match [*rest, *otherwise]:
                case [ast.Raise()] | [ast.Assert(ast.Constant(False))]:
                    pass
                case _:
                    return None
        case ast.With(
            items=[ast.withitem(ast.Call(ast.Attribute(_, "raises"), [kinds]), None)],
            body=[ast.Expr(ast.Call() as call)],
        ):
            pass
        case _:
            return None
    expected = _exceptions(kinds)
    return (ast.unparse(call), expected) if expected else None


def _exceptions(node: ast.expr | None) -> tuple[type, ...] | None:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    kinds = []
    for name in names:
        kind = getattr(builtins, name.id, None) if isinstance(name, ast.Name) else None
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return None
        # `assert False` after the call raises this itself and would pass.
        if issubclass(AssertionError, kind):
            return None
        kinds.append(kind)
    return tuple(kinds)

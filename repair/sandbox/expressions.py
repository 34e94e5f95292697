"""Functions of the outcomes for the expressions of a test, evaluated outside."""

import ast
import contextlib
import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from repair.sandbox import bounded, fold
from repair.sandbox.outcomes import Outcomes
from repair.sandbox.script import Script, Value, Whole

# Conversions that the child may apply, to values that cannot be sent (a generator).
_CONVERSIONS = frozenset(
    "abs all any bool dict float frozenset int len list max min repr round set sorted"
    " str sum tuple Counter".split()
)
# Functions that do not compare their elements for equality: the program may decide all.
_GATHERING = frozenset("all any list max min sorted sum tuple".split())


class ExpressionBuilder:
    """Turns expressions into functions of the outcomes, and asks the child for values.

    Args:
      script: Takes the steps.
    """

    def __init__(self, script: Script):
        self._script = script

    def build(self, node: ast.expr, truth: bool = False) -> Value:
        """Return a function of the outcomes; raise Whole if there is none.

        Args:
          node: The expression.
          truth: It counts only as true or false, which the program's own objects could
            decide in a call around other calls.
        """
        if not self._script.is_under_test(node):
            with contextlib.suppress(fold.NotConstant):
                value = fold.constant(node, self._script.constants)
                return lambda outcomes: value
        if isinstance(node, ast.Call) and not self._script.is_under_test(node):
            if function := bounded.function_of(node.func):
                return self._build_call(function, node)
        if self._script.is_blind(node, truth):
            return self._script.ask(node)
        match node:
            case ast.Compare(left, operators, comparators):
                return self._build_comparison([left, *comparators], operators)
            case ast.BoolOp(operation, parts):
                return self._build_choice(operation, parts)
            case ast.List(parts) | ast.Tuple(parts):
                built, _ = self._build_all(parts)
                kind = list if isinstance(node, ast.List) else tuple
                return lambda outcomes: kind(part(outcomes) for part in built)
            case ast.ListComp(element, loops) | ast.GeneratorExp(element, loops):
                return self._build_comprehension(element, loops)
            case ast.UnaryOp(operation, operand):
                inner = self.build(operand, isinstance(operation, ast.Not))
                unary = bounded.UNARY[type(operation)]
                return lambda outcomes: unary(inner(outcomes))
            case ast.BinOp(left, operation, right):
                binary = bounded.OPERATORS[type(operation)]
                one, two = self._build_sides([left, right])
                return lambda outcomes: binary(one(outcomes), two(outcomes))
            case ast.Subscript(container, index):
                one, two = self._build_sides([container, index])
                return lambda outcomes: one(outcomes)[two(outcomes)]
        raise Whole

    def _build_all(
        self, nodes: Sequence[ast.expr], truth: bool = False
    ) -> tuple[list[Value], list[bool]]:
        """Return the functions, and for each True if it asks the child."""
        built, asked = [], []
        for node in nodes:
            before = len(self._script.steps)
            built.append(self.build(node, truth))
            asked.append(any(step.ask for step in self._script.steps[before:]))
        return built, asked

    def _build_sides(
        self, nodes: Sequence[ast.expr], truth: bool = False
    ) -> list[Value]:
        """Return the functions of sides that meet: one at most may ask the child."""
        built, asked = self._build_all(nodes, truth)
        if any(left and right for left, right in itertools.pairwise(asked)):
            raise Whole
        return built

    def _build_comparison(
        self, sides: list[ast.expr], operators: list[ast.cmpop]
    ) -> Value:
        # Against a truth value a call counts as a truth test.
        truth = any(map(_is_truth_value, sides))
        built = self._build_sides(sides, truth)
        apply = [bounded.COMPARISONS[type(each)] for each in operators]
        for operation, side in zip(operators, sides[1:], strict=True):
            # An object of the program decides what is in it.
            inside = isinstance(operation, ast.In | ast.NotIn)
            if inside and isinstance(side, ast.Name) and side.id in self._script.inner:
                raise Whole

        def compare(outcomes: Outcomes) -> bool:
            left = built[0](outcomes)
            for function, side in zip(apply, built[1:], strict=True):
                right = side(outcomes)
                if not function(left, right):
                    return False
                left = right
            return True

        return compare

    def _build_choice(self, operation: ast.boolop, parts: list[ast.expr]) -> Value:
        soft, built = self._script.soft, []
        for part in parts:
            built.append(self.build(part, truth=True))
            self._script.soft = True  # Python may never come to the next ones
        self._script.soft = soft
        wanted = isinstance(operation, ast.Or)

        def choose(outcomes: Outcomes) -> Any:
            for part in built:
                value = part(outcomes)
                if bool(value) is wanted:
                    break
            return value

        return choose

    def _build_comprehension(
        self, element: ast.expr, loops: list[ast.comprehension]
    ) -> Value:
        turns = fold.bindings(loops, self._script.constants)
        bound = {
            node.id
            for loop in loops
            for node in ast.walk(loop.target)
            if isinstance(node, ast.Name)
        }
        nodes = [
            fold.Substitute({name: turn[name] for name in bound}).visit(
                copy.deepcopy(element)
            )
            for turn in turns
        ]
        built, _ = self._build_all(nodes, truth=True)
        return lambda outcomes: [part(outcomes) for part in built]

    def _build_call(self, function: Callable, node: ast.Call) -> Value:
        """Return the value of a function of the closed list, called outside."""
        if any(isinstance(each, ast.Starred) for each in node.args):
            raise Whole
        options = {each.arg: each.value for each in node.keywords if each.arg}
        if len(options) < len(node.keywords) or not node.args:
            raise Whole
        first, *others = node.args
        if function is isinstance:
            kinds = bounded.types_of(others)
            if kinds is None:
                raise Whole
            inner = self.build(first)
            return lambda outcomes: isinstance(inner(outcomes), kinds)
        if converted := self._build_conversion(node):
            return converted
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        before = len(self._script.steps)
        built, asked = self._build_all([*node.args, *options.values()])
        asks = sum(step.ask for step in self._script.steps[before:])
        if sum(asked) > 1 or asks > 1 and name not in _GATHERING:
            raise Whole  # the program could make two values equal
        count = len(node.args)

        def call(outcomes: Outcomes) -> Any:
            values = [part(outcomes) for part in built]
            named = dict(zip(options, values[count:], strict=True))
            return function(*values[:count], **named)

        return call

    def _build_conversion(self, node: ast.Call) -> Value | None:
        """Return the value of functions around one value of the child, else None.

        The child applies them if it cannot send the value: `str(sorted(f(x)))`.
        """
        functions: list[Callable[[Any], Any]] = []
        inner: ast.expr = node
        text = "_"
        while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name):
            if inner.func.id not in _CONVERSIONS or not inner.args:
                break
            functions.append(self._apply(inner))
            hole = ast.Call(
                inner.func, [ast.Name("_"), *inner.args[1:]], inner.keywords
            )
            text = text.replace("_", ast.unparse(hole), 1)
            inner = inner.args[0]
        if not functions or not self._script.is_blind(inner, truth=True):
            return None

        def convert(value: Any) -> Any:
            for function in reversed(functions):
                value = function(value)
            return value

        return self._script.ask(inner, text, convert)

    def _apply(self, node: ast.Call) -> Callable[[Any], Any]:
        """Return a function of the closed list with all arguments but the first."""
        function = bounded.function_of(node.func)
        options = {each.arg: each.value for each in node.keywords if each.arg}
        for part in (*node.args[1:], *options.values()):
            if any(isinstance(each, ast.Name) for each in ast.walk(part)):
                raise Whole  # the child does not know its names there
        rest = [fold.constant(each, self._script.constants) for each in node.args[1:]]
        named = {
            k: fold.constant(v, self._script.constants) for k, v in options.items()
        }
        if function is None:
            raise Whole
        return lambda value: function(value, *rest, **named)


def _is_truth_value(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, bool)
    )

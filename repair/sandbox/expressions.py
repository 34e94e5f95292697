"""Expressions of tests: asked of the child, or evaluated outside of it.

A `Script` collects the steps of a test while its expressions are built: each becomes a
function of the outcomes of these steps. It knows which names are constants and which
live in the child.
"""

import ast
import contextlib
import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from repair.sandbox import bounded, fold, syntax
from repair.sandbox.outcomes import Outcomes, Step

# Conversions that the child may apply, to values that cannot be sent (a generator).
_CONVERSIONS = frozenset(
    "abs all any bool dict float frozenset int len list max min repr round set sorted"
    " str sum tuple Counter".split()
)
# Functions that do not compare their elements for equality: the program may decide all.
_GATHERING = frozenset("all any list max min sorted sum tuple".split())
# Methods whose truth says all: their arguments would tell the program the answer.
_TELLING = frozenset(
    "startswith endswith issubset issuperset isdisjoint count find index get".split()
)
_IMMUTABLE = (int, float, complex, str, bytes, type(None), frozenset)

Value = Callable[[Outcomes], Any]


class Whole(Exception):
    """The test cannot be split without giving its answer to the program."""


class Script:
    """Steps of a test, and the functions of its expressions.

    Args:
      helpers: Functions and classes that the setup of the task defines.
      values: Names of other values of the setup.
      under_test: A function of the closed list with constant arguments, such as `sum`,
        is the program's own: it is asked for, not computed.

    Attributes:
      steps: The steps so far.
      constants: Constants by name. A name goes to the child when something there needs
        it; a list may be changed there, so it is a constant no longer.
      inner: Names that live in the child.
    """

    def __init__(
        self, helpers: frozenset[str], values: frozenset[str], under_test: bool
    ):
        self.steps: list[Step] = []
        self.constants: dict[str, Any] = {}
        self.inner = set(values)
        self._helpers, self._under_test = helpers, under_test
        self._waiting: dict[str, ast.Assign] = {}  # assignments of constants
        self._soft = False

    def bind(self, name: str, statement: ast.Assign) -> bool:
        """Keep an assignment of a constant back; return False if it is none."""
        if self._under_test and isinstance(statement.value, ast.Call):
            return False
        try:
            self.constants[name] = fold.constant(statement.value, self.constants)
        except fold.NotConstant:
            return False
        self._waiting[name] = statement
        return True

    def run(self, statement: ast.stmt) -> None:
        """Add a statement that the child runs."""
        self.send_names(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self.inner.add(node.id)
                self.constants.pop(node.id, None)
        self.steps.append(Step(ast.unparse(statement), ask=False))

    def is_plain(self, node: ast.expr) -> bool:
        """Return True if the child may evaluate an expression and keep its value."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return all(map(self.is_plain, node.elts))
        try:
            fold.constant(node, self.constants)
            return True
        except fold.NotConstant:
            return self.is_blind(node, truth=False)

    def send_names(self, node: ast.AST) -> None:
        """Bind in the child the constants that a node reads."""
        for each in ast.walk(node):
            name = each.id if isinstance(each, ast.Name) else ""
            statement = self._waiting.pop(name, None)
            if statement is None:
                continue
            self.send_names(statement.value)
            self.steps.append(Step(ast.unparse(statement), ask=False))
            if not isinstance(self.constants[name], _IMMUTABLE):
                del self.constants[name]
                self.inner.add(name)

    def build(self, node: ast.expr, truth: bool = False) -> Value:
        """Return a function of the outcomes; raise Whole if there is none.

        Args:
          node: The expression.
          truth: It counts only as true or false, which the program's own objects could
            decide in a call around other calls.
        """
        if not self._is_under_test(node):
            with contextlib.suppress(fold.NotConstant):
                value = fold.constant(node, self.constants)
                return lambda outcomes: value
        if isinstance(node, ast.Call) and not self._is_under_test(node):
            if function := bounded.function_of(node.func):
                return self._build_call(function, node)
        if self.is_blind(node, truth):
            return self.ask(node)
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

    def _is_under_test(self, node: ast.expr) -> bool:
        return (
            self._under_test
            and isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and not any(map(_has_call, node.args))
        )

    def ask(
        self,
        node: ast.expr,
        conversion: str = "",
        convert: Callable[[Any], Any] | None = None,
    ) -> Value:
        self.send_names(node)
        place = len(self.steps)
        self.steps.append(
            Step(ast.unparse(node), True, conversion, convert, self._soft)
        )
        return lambda outcomes: outcomes.value(place)

    def _build_all(
        self, nodes: Sequence[ast.expr], truth: bool = False
    ) -> tuple[list[Value], list[bool]]:
        """Return the functions, and for each True if it asks the child."""
        built, asked = [], []
        for node in nodes:
            before = len(self.steps)
            built.append(self.build(node, truth))
            asked.append(any(step.ask for step in self.steps[before:]))
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
            if inside and isinstance(side, ast.Name) and side.id in self.inner:
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
        soft, built = self._soft, []
        for part in parts:
            built.append(self.build(part, truth=True))
            self._soft = True  # Python may never come to the next ones
        self._soft = soft
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
        turns = fold.bindings(loops, self.constants)
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
        before = len(self.steps)
        built, asked = self._build_all([*node.args, *options.values()])
        asks = sum(step.ask for step in self.steps[before:])
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
        if not functions or not self.is_blind(inner, truth=True):
            return None

        def convert(value: Any) -> Any:
            for function in reversed(functions):
                value = function(value)
            return value

        return self.ask(inner, text, convert)

    def _apply(self, node: ast.Call) -> Callable[[Any], Any]:
        """Return a function of the closed list with all arguments but the first."""
        function = bounded.function_of(node.func)
        options = {each.arg: each.value for each in node.keywords if each.arg}
        for part in (*node.args[1:], *options.values()):
            if any(isinstance(each, ast.Name) for each in ast.walk(part)):
                raise Whole  # the child does not know its names there
        rest = [fold.constant(each, self.constants) for each in node.args[1:]]
        named = {k: fold.constant(v, self.constants) for k, v in options.items()}
        if function is None:
            raise Whole
        return lambda value: function(value, *rest, **named)

    def is_blind(self, node: ast.expr, truth: bool) -> bool:
        """Return True if the program decides only a value, and is not told it.

        The program's objects may return anything. So arguments that call must not
        compute with the results, and the call around them must not count only as true
        or false, nor be of a helper or of a module.
        """
        outermost = node
        while isinstance(node, ast.Subscript | ast.Attribute):
            if isinstance(node, ast.Subscript):
                try:
                    fold.constant(node.slice, self.constants)
                except fold.NotConstant:
                    return False
            node = node.value
        if isinstance(node, ast.Name):
            return node.id in self.inner
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if bounded.function_of(function) and not self._is_under_test(node):
            return False
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        inside = [n for argument in arguments for n in ast.walk(argument)]
        if isinstance(function, ast.Attribute):
            if function.attr.startswith("__"):
                return False
            telling = function.attr in _TELLING and _has_call(function.value)
            if truth and telling and node is outermost:
                return False
            if not self._is_object(function.value):
                return False
        elif isinstance(function, ast.Call):
            if not self.is_blind(function, truth=False):
                return False
        elif not isinstance(function, ast.Name):
            return False
        if not any(isinstance(n, ast.Call) for n in inside):
            return True
        computes = any(
            isinstance(n, ast.BinOp | ast.BoolOp | ast.Compare) for n in inside
        )
        helps = isinstance(function, ast.Name) and function.id in self._helpers
        return not computes and not truth and not helps

    def _is_object(self, receiver: ast.expr) -> bool:
        """Return True if a method's receiver is a value of the program, no module."""
        while isinstance(receiver, ast.Subscript | ast.Attribute):
            receiver = receiver.value
        if isinstance(receiver, ast.Name):
            return receiver.id in self.inner
        return isinstance(receiver, ast.Call) and self.is_blind(receiver, False)


def _has_call(node: ast.expr) -> bool:
    return any(isinstance(each, ast.Call) for each in ast.walk(node))


def _is_truth_value(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, bool)
    )

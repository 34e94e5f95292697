"""Split tests into steps for the child and checks outside of it.

Of `assert f(args) == literal` the call goes to the child and the comparison stays.
Truth tests, other comparisons, arithmetic and a closed list of functions around the
result (`fold`), values changed in place and expected exceptions are split alike; loops
over constants are unrolled. Any other test runs whole in the child, where a program
could forge it.

A check asks the program for one side only: a second side from the child, be it a
function of the program or a module that the program can change, could be made equal.
"""

import ast
import builtins
import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from repair.sandbox import fold, syntax
from repair.sandbox.outcomes import Check, Outcomes, Step

# Conversions that the child may apply, to values that cannot be sent (a generator).
_CONVERSIONS = frozenset(
    "abs all any bool dict float frozenset int len list max min repr round set sorted"
    " str sum tuple Counter".split()
)
# Methods whose truth says all: their arguments would tell the program the answer.
_TELLING = frozenset(
    "startswith endswith issubset issuperset isdisjoint count find index get".split()
)
_IMMUTABLE = (int, float, complex, str, bytes, type(None), frozenset)
_CACHED = 16_384  # split tests that are kept: training meets the same again


@dataclasses.dataclass(frozen=True)
class Test:
    """One test, split.

    Attributes:
      kind: "value": checks outside of the child decide. "exec": it runs in the child.
      steps: Steps in the child.
      checks: Conditions, in the order of the test.
    """

    kind: str
    steps: tuple[Step, ...]
    checks: tuple[Check, ...] = ()

    def sources(self) -> list[str]:
        """Return the expressions that the child evaluates."""
        return [step.source for step in self.steps if step.ask]


class _Whole(Exception):
    """The test cannot be split without giving its answer to the program."""


def split_tests(tests: Sequence[str], setup: str = "") -> list[Test]:
    """Split the tests of one program, which share its names."""
    loaded = [_loaded_names(test) if "\n" in test or ";" in test else () for test in tests]
    if not any(loaded):
        return [split_test(test, setup) for test in tests]
    every = [_loaded_names(test) for test in tests]
    return [
        split_test(test, setup, frozenset().union(*every[:place], *every[place + 1 :]))
        for place, test in enumerate(tests)
    ]


@functools.lru_cache(_CACHED)
def split_test(
    source: str, setup: str = "", shared: frozenset[str] = frozenset()
) -> Test:
    """Split a test, or leave it whole as "exec".

    Args:
      source: Statements.
      setup: Statements that ran before the program.
      shared: Names that other tests use, so that the child has to know them.
    """
    for under_test in (False, True):
        try:
            splitter = _Splitter(_read_setup(setup), shared, under_test)
            splitter.take(syntax.parse_program(source).body)
            return splitter.finish()
        except (_Whole, fold.NotConstant):
            continue
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            break  # no Python at all: the child will report it
    return Test("exec", (Step(source, ask=False),))


def _loaded_names(source: str) -> frozenset[str]:
    try:
        nodes = ast.walk(syntax.parse_program(source))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return frozenset()
    return frozenset(
        n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    )


@functools.lru_cache(_CACHED)
def _read_setup(setup: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of a setup: of functions and classes, and of values."""
    try:
        body = syntax.parse_program(setup).body
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return frozenset(), frozenset()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    helpers = frozenset(each.name for each in body if isinstance(each, kinds))
    targets = [each.targets for each in body if isinstance(each, ast.Assign)]
    values = frozenset(
        node.id
        for target in itertools.chain(*targets)
        for node in ast.walk(target)
        if isinstance(node, ast.Name)
    )
    return helpers, values


Value = Callable[[Outcomes], Any]


class _Splitter:
    """Turn statements into steps and checks.

    Args:
      setup: Names of the setup: of functions and classes, and of values.
      shared: See `split_test`.
      under_test: A function of the closed list with constant arguments, such as `sum`,
        is the program's own: it is asked for, not computed.
    """

    def __init__(
        self,
        setup: tuple[frozenset[str], frozenset[str]],
        shared: frozenset[str],
        under_test: bool,
    ):
        self._helpers, values = setup
        self._shared, self._under_test = shared, under_test
        self._steps: list[Step] = []
        self._checks: list[Check] = []
        # Constants by name, and the statements that bind them. A name goes to the child
        # when something there needs it; a list may be changed there, so it is a
        # constant no longer.
        self._constants: dict[str, Any] = {}
        self._waiting: dict[str, ast.stmt] = {}
        self._inner = set(values)  # names that live in the child
        self._soft = False

    def finish(self) -> Test:
        """Return the test; raise _Whole if it asks the program nothing."""
        if not any(check.asks for check in self._checks):
            raise _Whole
        return Test("value", tuple(self._steps), tuple(self._checks))

    def take(self, statements: Sequence[ast.stmt]) -> None:
        """Add the steps and checks of statements."""
        for place, statement in enumerate(statements):
            if isinstance(statement, ast.Assert):
                self._check(lambda node=statement.test: self._build(node, truth=True))
            elif isinstance(statement, ast.For) and not statement.orelse:
                self._unroll(statement)
            elif raised := _split_raises(statement):
                if place < len(statements) - 1:
                    raise _Whole
                call, expected = raised
                self._check(lambda: self._build_raises(call, expected))
            elif not self._bind(statement):
                self._run(statement)
            if len(self._steps) > fold.MAX_TURNS:
                raise _Whole

    def _check(self, build: Callable[[], Value]) -> None:
        first = len(self._steps)
        condition = build()
        asks = tuple(
            place for place in range(first, len(self._steps)) if self._steps[place].ask
        )
        self._checks.append(Check(first, asks, condition))

    def _unroll(self, loop: ast.For) -> None:
        comprehension = ast.comprehension(loop.target, loop.iter, [], 0)
        for names in fold.bindings([comprehension], self._constants):
            new = {
                name: value
                for name, value in names.items()
                if self._constants.get(name, self) is not value
            }
            with_names = _Substitute(new)
            self.take([with_names.visit(copy.deepcopy(each)) for each in loop.body])

    def _bind(self, statement: ast.stmt) -> bool:
        """Keep a constant back; return False if the statement is no such assignment."""
        match statement:
            case ast.Assign([ast.Name(name)], value):
                if name in self._inner | self._shared:
                    return False
            case _:
                return False
        if self._under_test and isinstance(value, ast.Call):
            return False
        try:
            self._constants[name] = fold.constant(value, self._constants)
        except fold.NotConstant:
            return False
        self._waiting[name] = statement
        return True

    def _run(self, statement: ast.stmt) -> None:
        """Run a statement in the child, unless it could hold an expected value."""
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._steps.append(Step(ast.unparse(statement), ask=False))
            return
        match statement:
            case ast.Assign(_, value) | ast.AnnAssign(value=value) if value:
                runnable = self._is_plain(value)
            case ast.Expr(value):
                runnable = self._is_blind(value, truth=True)
            case _:
                runnable = False
        if not runnable:
            raise _Whole
        self._send_names(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self._inner.add(node.id)
                self._constants.pop(node.id, None)
        self._steps.append(Step(ast.unparse(statement), ask=False))

    def _is_plain(self, node: ast.expr) -> bool:
        """Return True if the child may evaluate an expression and keep its value."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return all(map(self._is_plain, node.elts))
        try:
            fold.constant(node, self._constants)
            return True
        except fold.NotConstant:
            return self._is_blind(node, truth=False)

    def _send_names(self, node: ast.AST) -> None:
        """Bind in the child the constants that a node reads."""
        for each in ast.walk(node):
            name = each.id if isinstance(each, ast.Name) else ""
            statement = self._waiting.pop(name, None)
            if statement is None:
                continue
            self._send_names(statement.value)  # type: ignore[attr-defined]
            self._steps.append(Step(ast.unparse(statement), ask=False))
            if not isinstance(self._constants[name], _IMMUTABLE):
                del self._constants[name]
                self._inner.add(name)

    def _build_raises(self, call: ast.Call, expected: frozenset[str]) -> Value:
        self._send_names(call)
        place = len(self._steps)
        self._steps.append(Step(ast.unparse(call)))

        def raised(outcomes: Outcomes) -> bool:
            fault = outcomes.fault(place)
            if fault is None:
                return False
            classes = fault.get("builtins")
            if isinstance(classes, list) and expected & set(map(str, classes)):
                return not fault.get("forbidden")
            outcomes.value(place)  # raises the exception that was not wanted
            return False

        return raised

    def _build(self, node: ast.expr, truth: bool = False) -> Value:
        """Return a function of the outcomes; raise _Whole if there is none.

        Args:
          node: The expression.
          truth: It counts only as true or false, which the program's own objects could
            decide in a call around other calls.
        """
        if not self._is_under_test(node):
            try:
                value = fold.constant(node, self._constants)
                return lambda outcomes: value
            except fold.NotConstant:
                pass
        if isinstance(node, ast.Call) and not self._is_under_test(node):
            if function := fold.function_of(node.func):
                return self._build_call(function, node)
        if self._is_blind(node, truth):
            return self._ask(node)
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
                inner = self._build(operand, isinstance(operation, ast.Not))
                unary = fold.UNARY[type(operation)]
                return lambda outcomes: unary(inner(outcomes))
            case ast.BinOp(left, operation, right):
                binary = fold.OPERATORS[type(operation)]
                one, two = self._build_sides([left, right])
                return lambda outcomes: binary(one(outcomes), two(outcomes))
            case ast.Subscript(container, index):
                one, two = self._build_sides([container, index])
                return lambda outcomes: one(outcomes)[two(outcomes)]
        raise _Whole

    def _is_under_test(self, node: ast.expr) -> bool:
        return (
            self._under_test
            and isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and not any(map(_has_call, node.args))
        )

    def _ask(
        self,
        node: ast.expr,
        conversion: str = "",
        convert: Callable[[Any], Any] | None = None,
    ) -> Value:
        self._send_names(node)
        place = len(self._steps)
        self._steps.append(
            Step(ast.unparse(node), True, conversion, convert, self._soft)
        )
        return lambda outcomes: outcomes.value(place)

    def _build_all(
        self, nodes: Sequence[ast.expr], truth: bool = False
    ) -> tuple[list[Value], list[bool]]:
        """Return the functions, and for each True if it asks the child."""
        built, asked = [], []
        for node in nodes:
            before = len(self._steps)
            built.append(self._build(node, truth))
            asked.append(any(step.ask for step in self._steps[before:]))
        return built, asked

    def _build_sides(
        self, nodes: Sequence[ast.expr], truth: bool = False
    ) -> list[Value]:
        """Return the functions of sides that meet: one at most may ask the child."""
        built, asked = self._build_all(nodes, truth)
        if any(left and right for left, right in itertools.pairwise(asked)):
            raise _Whole
        return built

    def _build_comparison(
        self, sides: list[ast.expr], operators: list[ast.cmpop]
    ) -> Value:
        # Against a truth value a call counts as a truth test.
        truth = any(map(_is_truth_value, sides))
        built = self._build_sides(sides, truth)
        apply = [fold.COMPARISONS[type(each)] for each in operators]

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
            built.append(self._build(part, truth=True))
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
        turns = fold.bindings(loops, self._constants)
        bound = {
            node.id
            for loop in loops
            for node in ast.walk(loop.target)
            if isinstance(node, ast.Name)
        }
        nodes = [
            _Substitute({name: turn[name] for name in bound}).visit(copy.deepcopy(element))
            for turn in turns
        ]
        built, _ = self._build_all(nodes, truth=True)
        return lambda outcomes: [part(outcomes) for part in built]

    def _build_call(self, function: Callable, node: ast.Call) -> Value:
        """Return the value of a function of the closed list, called outside."""
        if any(isinstance(each, ast.Starred) for each in node.args):
            raise _Whole
        options = {each.arg: each.value for each in node.keywords if each.arg}
        if len(options) < len(node.keywords) or not node.args:
            raise _Whole
        first, *others = node.args
        if function is isinstance:
            kinds = _types(others)
            inner = self._build(first)
            return lambda outcomes: isinstance(inner(outcomes), kinds)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _CONVERSIONS and self._is_blind(first, truth=True):
            rest = [fold.constant(each, self._constants) for each in others]
            named = {k: fold.constant(v, self._constants) for k, v in options.items()}
            hole = ast.Call(node.func, [ast.Name("_"), *others], node.keywords)
            for part in (*others, *options.values()):
                if any(isinstance(each, ast.Name) for each in ast.walk(part)):
                    raise _Whole
            conversion = ast.unparse(ast.fix_missing_locations(hole))
            return self._ask(
                first, conversion, lambda value: function(value, *rest, **named)
            )
        built = self._build_sides([*node.args, *options.values()])
        count = len(node.args)

        def call(outcomes: Outcomes) -> Any:
            values = [part(outcomes) for part in built]
            named = dict(zip(options, values[count:], strict=True))
            return function(*values[:count], **named)

        return call

    def _is_blind(self, node: ast.expr, truth: bool) -> bool:
        """Return True if the program decides only a value, and is not told it.

        The program's objects may return anything. So arguments that call must not
        compute with the results, and the call around them must not count only as true
        or false, nor be of a helper or of a module.
        """
        outermost = node
        while isinstance(node, ast.Subscript | ast.Attribute):
            if isinstance(node, ast.Subscript):
                try:
                    fold.constant(node.slice, self._constants)
                except fold.NotConstant:
                    return False
            node = node.value
        if isinstance(node, ast.Name):
            return node.id in self._inner
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if fold.function_of(function) and not self._is_under_test(node):
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
            return receiver.id in self._inner
        return isinstance(receiver, ast.Call) and self._is_blind(receiver, False)


class _Substitute(ast.NodeTransformer):
    """Replace names by constants."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the constant's literal."""
        if node.id not in self._values:
            return node
        if not isinstance(node.ctx, ast.Load):
            raise _Whole
        return syntax.parse_expression(_literal(self._values[node.id]))


def _literal(value: Any) -> str:
    text = repr(value)
    try:
        if ast.literal_eval(text) == value:
            return text
    except (ValueError, SyntaxError):
        pass
    raise _Whole  # of no literal, such as infinity


def _has_call(node: ast.expr) -> bool:
    return any(isinstance(each, ast.Call) for each in ast.walk(node))


def _is_truth_value(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, bool)
    )


def _types(nodes: list[ast.expr]) -> tuple[type, ...]:
    match nodes:
        case [ast.Tuple(parts)]:
            names = parts
        case _:
            names = nodes
    kinds = [fold.TYPES.get(each.id) for each in names if isinstance(each, ast.Name)]
    if not kinds or len(kinds) < len(names) or None in kinds:
        raise _Whole
    return tuple(kind for kind in kinds if kind)


def _split_raises(statement: ast.stmt) -> tuple[ast.Call, frozenset[str]] | None:
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
    return (call, expected) if expected else None


def _exceptions(node: ast.expr | None) -> frozenset[str] | None:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    kinds = []
    for name in names:
        kind = getattr(builtins, name.id, None) if isinstance(name, ast.Name) else None
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return None
        # `assert False` after the call raises this itself and would pass.
        if issubclass(AssertionError, kind):
            return None
        kinds.append(kind.__name__)
    return frozenset(kinds)

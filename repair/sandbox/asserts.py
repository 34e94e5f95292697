"""Split tests into steps for the child and checks outside of it.

Of `assert f(args) == literal` the call goes to the child and the comparison stays.
Truth tests, other comparisons, arithmetic and a closed list of functions around the
result (`bounded`), values changed in place and expected exceptions are split alike;
loops over constants are unrolled. Any other test runs whole in the child, where a
program could forge it.

A check asks the program for one side only: a second side from the child, be it a
function of the program or a module that the program can change, could be made equal.
"""

import ast
import builtins
import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

from repair.sandbox import fold, syntax
from repair.sandbox.expressions import ExpressionBuilder
from repair.sandbox.outcomes import Check, Outcomes, Step
from repair.sandbox.script import Script, Value, Whole

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


def split_tests(tests: Sequence[str], setup: str = "") -> list[Test]:
    """Split the tests of one program, which share its names."""
    # One statement binds no name that another test could use.
    if not any("\n" in test or ";" in test for test in tests):
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
            splitter = _Splitter(Script(*_read_setup(setup), under_test), shared)
            splitter.take(syntax.parse_program(source).body)
            return splitter.finish()
        except (Whole, fold.NotConstant):
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


class _Splitter:
    """Turn statements into steps and checks.

    Args:
      script: Takes the steps.
      shared: See `split_test`.
    """

    def __init__(self, script: Script, shared: frozenset[str]):
        self._script, self._shared = script, shared
        self._checks: list[Check] = []

    def finish(self) -> Test:
        """Return the test; raise Whole if it asks the program nothing."""
        if not any(check.asks for check in self._checks):
            raise Whole
        return Test("value", tuple(self._script.steps), tuple(self._checks))

    def take(self, statements: Sequence[ast.stmt]) -> None:
        """Add the steps and checks of statements."""
        for place, statement in enumerate(statements):
            if isinstance(statement, ast.Assert):
                build = ExpressionBuilder(self._script).build
                self._check(functools.partial(build, statement.test, truth=True))
            elif isinstance(statement, ast.For) and not statement.orelse:
                self._unroll(statement)
            elif raised := _split_raises(statement):
                if place < len(statements) - 1:
                    raise Whole
                call, expected = raised
                self._check(functools.partial(self._build_raises, call, expected))
            elif not self._bind(statement):
                self._run(statement)
            if len(self._script.steps) > fold.MAX_TURNS:
                raise Whole

    def _check(self, build: Callable[[], Value]) -> None:
        first = len(self._script.steps)
        condition = build()
        asks = tuple(
            place
            for place in range(first, len(self._script.steps))
            if self._script.steps[place].ask
        )
        self._checks.append(Check(first, asks, condition))

    def _unroll(self, loop: ast.For) -> None:
        comprehension = ast.comprehension(loop.target, loop.iter, [], 0)
        for names in fold.bindings([comprehension], self._script.constants):
            new = {
                name: value
                for name, value in names.items()
                if self._script.constants.get(name, self) is not value
            }
            with_names = fold.Substitute(new)
            self.take([with_names.visit(copy.deepcopy(each)) for each in loop.body])

    def _bind(self, statement: ast.stmt) -> bool:
        match statement:
            case ast.Assign([ast.Name(name)]):
                known = name in self._script.inner | self._shared
                return not known and self._script.bind(name, statement)
        return False

    def _run(self, statement: ast.stmt) -> None:
        """Run a statement in the child, unless it could hold an expected value."""
        match statement:
            case ast.Pass():
                return
            case ast.Import([ast.alias("pytest")]):
                return  # only `raises` is used, outside
            case ast.Import() | ast.ImportFrom():
                self._script.steps.append(Step(ast.unparse(statement), ask=False))
                return
            case ast.Assign(_, value) | ast.AnnAssign(value=value) if value:
                runnable = self._script.is_plain(value)
            case ast.Expr(value):
                runnable = self._script.is_blind(value, truth=True)
            case _:
                runnable = False
        if not runnable:
            raise Whole
        self._script.run(statement)

    def _build_raises(self, call: ast.Call, expected: frozenset[str]) -> Value:
        self._script.send_names(call)
        place = len(self._script.steps)
        self._script.steps.append(Step(ast.unparse(call)))

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

"""A user's tests, plain asserts or a pytest file, as tests that the sandbox runs.

pytest itself stays outside: it would be slow to start for every program and would have
to be let in. Test functions become short asserts where that changes no verdict, and
functions that are called on the spot where it would; in these the file's own imports,
helpers and variables are local, so that no program can pass by what only its tests
have. Tests that share something which could change become one test, in their order.
What cannot be turned is refused with its line; nothing is left out.
"""

import ast
import copy
import dataclasses
import re

from repair.env.sandbox import asserts
from repair.env.testbodies import (
    APPROX,
    PlainPython,
    binds,
    frozen,
    literal,
    loads,
    read_once,
    shorten,
    substitute,
)
from repair.env.testcases import arguments
from repair.env.testnames import settle
from repair.errors import UserError

# pytest calls or reads these by their names.
_HOOKS = re.compile(r"(setup|teardown|pytest)(_|$)|pytestmark$|collect_ignore")


@dataclasses.dataclass(frozen=True)
class Tests:
    """What a tests file asks.

    Attributes:
      sources: Statements for the sandbox, in the order in which pytest runs them.
      lines: Where in the file each begins.
      setup: Code that runs before the program, for `pytest.approx`.
      named: Whether the file imports the program.
    """

    sources: tuple[str, ...]
    lines: tuple[int, ...]
    setup: str
    named: bool


@dataclasses.dataclass(eq=False)
class _Definition:
    """A statement of the file that gives names a meaning.

    Attributes:
      statement: The statement.
      names: The names.
      shared: Whether a test could tell that another has used it before.
      acts: Whether it does something by itself, so that it is never left out.
    """

    statement: ast.stmt
    names: set[str]
    shared: bool = False
    acts: bool = False


@dataclasses.dataclass
class _Unit:
    """Statements that are one test of the sandbox, and what they need of the file."""

    name: str
    line: int
    body: list[ast.stmt]
    needs: list[_Definition]


def read_tests(text: str, where: str, module: str, code: str) -> Tests:
    """Turns a tests file into tests of the sandbox.

    Args:
      text: The file's text.
      where: Its name, for errors.
      module: The program's name as a module, which the tests may import.
      code: The program, whose names the tests must leave alone.

    Raises:
      UserError: It is no Python, holds no test, or something that cannot be turned.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(
            f"{where}:{error.lineno} is not valid Python: {error.msg}"
        ) from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"{where} is not valid Python: {error}") from error
    tree, named, imported = settle(tree, where, module)
    file = _File(where, tree)
    units = file.units()
    asserts_something = any(
        isinstance(n, ast.Assert | ast.With) for n in ast.walk(tree)
    )
    if not units or (file.is_script and not asserts_something):
        raise UserError(
            f"{where} holds no test; give asserts such as `assert f(1) == 2`, alone or"
            " in functions test_*"
        )
    used = loads(*(each for unit in units for each in unit.body))
    for name in sorted(imported - used.keys()):  # its import alone can fail
        units.insert(0, _Unit(name, 1, [ast.Expr(ast.Name(name, ast.Load()))], []))
    taken = set(re.findall(r"\w+", code))
    sources = tuple(_write(unit, taken) for unit in units)
    needed = [each.statement for unit in units for each in unit.needs]
    setup = APPROX if (loads(*needed) + used)["_approx"] else ""
    return Tests(sources, tuple(unit.line for unit in units), setup, named)


class _File:
    """The statements of a tests file, sorted by what they are.

    A file without test functions is a script: what it does is one test, which falls
    apart into its asserts where it can.

    Attributes:
      is_script: Whether it is one.
    """

    def __init__(self, where: str, tree: ast.Module):
        self._where = where
        self._tests: list[ast.FunctionDef | ast.Assert] = []
        self._script: list[ast.stmt] = []
        self._definitions: list[_Definition] = []
        self._seen: dict[str, int] = {}
        self.is_script = not any(map(_is_test, tree.body))
        for statement in tree.body:
            self._sort(statement)
        if self.is_script:
            self._join_variables()
        else:
            self._use_constants()
        for each in self._definitions:
            each.statement = PlainPython(where).visit(each.statement)
            ast.fix_missing_locations(each.statement)
        self._known = {n: d for d in self._definitions for n in d.names}

    def units(self) -> list[_Unit]:
        """What the sandbox shall judge, in order; what shares something as one."""
        if self.is_script:
            units = self._split("tests", self._script)
        else:
            units = [unit for test in self._tests for unit in self._of_test(test)]
        sharing = [
            i for i, unit in enumerate(units) if any(d.shared for d in unit.needs)
        ]
        acting = [each for each in self._definitions if each.acts]
        if acting and units:
            sharing.append(0)  # pytest does these before all tests
        if not sharing:
            return units
        first, last = min(sharing), max(sharing)
        joined = units[first : last + 1]
        body = [each for unit in joined for each in _call(unit.name, unit.body)]
        needs = self._closure([*acting, *(d for unit in joined for d in unit.needs)])
        whole = _Unit("tests", joined[0].line, body, needs)
        return [*units[:first], whole, *units[last + 1 :]]

    def _sort(self, statement: ast.stmt) -> None:
        """Puts one statement of the file where it belongs."""
        match statement:
            case ast.Pass() | ast.Expr(ast.Constant()):
                return
            case ast.Expr(
                ast.Call(ast.Attribute(ast.Attribute(ast.Name("sys"), "path")))
            ):
                return  # says where the program is to be found
            case ast.If(ast.Compare(ast.Name("__name__"))):
                if any(isinstance(n, ast.Assert) for n in ast.walk(statement)):
                    self._refuse(statement, "asserts below `if __name__ == ...`")
                return
            case ast.AsyncFunctionDef():
                self._refuse(statement, "an async function")
            case ast.ClassDef(name=name) if _is_test(statement):
                self._claim(statement, {name})
                self._tests += self._methods(statement)
            case ast.FunctionDef(name=name) if _is_test(statement):
                self._claim(statement, {name})
                self._tests.append(statement)
            case ast.Assert() if not self.is_script:
                self._tests.append(statement)
            case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                self._define(statement)
            case _ if self.is_script:
                self._script.append(statement)
            case _:
                self._define(statement)

    def _methods(self, node: ast.ClassDef) -> list[ast.FunctionDef]:
        """The tests of a class, as functions."""
        if node.bases or node.keywords or node.decorator_list:
            self._refuse(node, "a test class with a base or a decorator")
        found, seen = [], set()
        for each in node.body:
            match each:
                case ast.Pass() | ast.Expr(ast.Constant()):
                    continue
                case ast.FunctionDef(name=name) if _is_test(each) and name not in seen:
                    seen.add(name)
                case _:
                    self._refuse(each, "a test class with more than tests in it")
            own = each.args.args[0].arg if each.args.args else ""
            if not own or loads(each)[own]:
                self._refuse(each, "a test that uses what its class keeps")
            each.args.args.pop(0)
            found.append(each)
        return found

    def _define(self, statement: ast.stmt) -> None:
        """Keeps a statement that gives names a meaning."""
        made = _Definition(statement, set())
        match statement:
            case ast.Import(names) | ast.ImportFrom(names=names):
                if any(alias.name == "*" for alias in names):
                    self._refuse(statement, "import *")
                made.names = set(binds(statement))
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                made.names, made.acts = {name}, bool(statement.decorator_list)
                made.shared = made.acts or isinstance(statement, ast.ClassDef)
                if isinstance(statement, ast.FunctionDef):
                    given = [*statement.args.defaults, *statement.args.kw_defaults]
                    made.shared |= not all(map(_is_frozen, filter(None, given)))
                if any(loads(each)["pytest"] for each in statement.decorator_list):
                    self._refuse(
                        statement, f"{name}, a fixture or what else pytest calls"
                    )
                if any(isinstance(n, ast.Global) for n in ast.walk(statement)):
                    self._refuse(statement, "a global statement")
            case (
                ast.Assign(targets=[ast.Name() | ast.Tuple() as target], value=value)
                | ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value)
            ):
                made.names = set(binds(target))
                made.acts = literal(value) is None
                made.shared = not _is_frozen(value)
            case _:
                self._refuse(statement, "something outside of its tests")
        self._claim(statement, made.names)
        self._definitions.append(made)

    def _claim(self, statement: ast.stmt, names: set[str]) -> None:
        """Lets every name of the file mean one thing, and nothing to pytest."""
        for name in names:
            if _HOOKS.match(name):
                self._refuse(statement, f"{name}, which pytest would use")
            if name in self._seen:
                self._refuse(statement, f"{name} again, after line {self._seen[name]}")
            self._seen[name] = statement.lineno

    def _join_variables(self) -> None:
        """Helpers that read a script's variables become a part of it."""
        variables = binds(*self._script).keys()
        for each in list(self._definitions):
            if variables & (loads(each.statement).keys() | each.names):
                self._definitions.remove(each)
                self._script.append(each.statement)
        self._script.sort(key=lambda each: each.lineno)

    def _use_constants(self) -> None:
        """Puts constants where they are used, if no test could tell."""
        nodes = [*self._tests, *(each.statement for each in self._definitions)]
        bound = binds(*nodes)
        for each in list(self._definitions):
            match each.statement:
                case ast.Assign([ast.Name(name)], value) if bound[name] == 1:
                    known = literal(value)
                case _:
                    continue
            if known and self._may_replace(name, known[0], nodes):
                self._definitions.remove(each)
                nodes.remove(each.statement)
                # In place, since others hold these statements.
                for node in nodes:
                    vars(node).update(vars(substitute(node, **{name: value})))

    def _may_replace(self, name: str, value, nodes: list[ast.stmt]) -> bool:
        if frozen(value):
            return True
        outside = loads(*nodes)[name]
        tests = [test for test in self._tests if isinstance(test, ast.FunctionDef)]
        decorators = [each for test in tests for each in test.decorator_list]
        outside -= loads(*decorators)[name]
        if not outside:  # parametrize goes through it, and keeps what is in it
            fixed = isinstance(value, list | tuple) and all(map(frozen, value))
            return fixed or loads(*decorators)[name] == 1
        once = [t for t in tests if loads(*t.body)[name] and not t.decorator_list]
        return (
            outside == loads(*nodes)[name] == 1
            and len(once) == 1
            and read_once(name, *once[0].body)
        )

    def _of_test(self, test: ast.FunctionDef | ast.Assert) -> list[_Unit]:
        """The tests of the sandbox that one test of the file becomes."""
        if isinstance(test, ast.Assert):
            return self._split("test", [test])
        cases = arguments(test, self._where)
        return [unit for case in cases for unit in self._split(test.name, case)]

    def _split(self, name: str, body: list[ast.stmt]) -> list[_Unit]:
        body = shorten(copy.deepcopy(body))
        alone = all(map(_stands_alone, body))
        parts = [[each] for each in body] if alone else [body] if body else []
        units = []
        for part in parts:
            line = part[0].lineno or 1
            plain = PlainPython(self._where)
            done = [ast.fix_missing_locations(plain.visit(each)) for each in part]
            known = [self._known[n] for n in loads(*done) if n in self._known]
            units.append(_Unit(name, line, done, self._closure(known)))
        return units

    def _closure(self, needed: list[_Definition]) -> list[_Definition]:
        """Definitions and all that they need, in the file's order."""
        found: list[_Definition] = []
        waiting = list(needed)
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.append(each)
                names = loads(each.statement)
                waiting += [self._known[n] for n in names if n in self._known]
        return [each for each in self._definitions if each in found]

    def _refuse(self, node: ast.AST, what: str):
        raise UserError(
            f"{self._where}:{node.lineno} has {what}, which cannot become a test of the"
            " sandbox; give functions test_* with asserts, constants and plain helpers"
        )


def _is_test(statement: ast.stmt) -> bool:
    """Whether pytest would collect it."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name.startswith("test")
        case ast.ClassDef(name=name):
            return name.startswith("Test")
    return False


def _is_frozen(value: ast.expr) -> bool:
    known = literal(value)
    return known is not None and frozen(known[0])


def _stands_alone(statement: ast.stmt) -> bool:
    """Whether the statements after it do not need it."""
    if any(isinstance(n, ast.NamedExpr) for n in ast.walk(statement)):
        return False
    match statement:
        case ast.Assert():
            return True
        case ast.With([ast.withitem(ast.Call(ast.Attribute(_, "raises")), None)], body):
            return not binds(*body)
    return False


def _is_bare(statement: ast.stmt) -> bool:
    """Whether it may run among the program's own names: it leaves none there."""
    return isinstance(statement, ast.Assert | ast.Expr) and not (
        any(isinstance(n, ast.NamedExpr) for n in ast.walk(statement))
    )


def _call(name: str, body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements, in a function of their own and called unless they stand alone."""
    if len(body) == 1 and _is_bare(body[0]):
        return body
    made = ast.parse(f"def {name}():\n    pass\n{name}()").body
    made[0].body = body
    return made


def _write(unit: _Unit, taken: set[str]) -> str:
    """The unit's source: the bare assert where nothing of the file is needed for it."""
    if all(map(_is_bare, unit.body)):
        source = "\n".join(map(ast.unparse, unit.body))
        if not unit.needs or not _missing(source, unit.needs):
            return source
    defined = {name for each in unit.needs for name in each.names}
    inner = unit.body
    if defined & binds(*inner).keys():  # its own in their place, from the start
        inner = _call(unit.name, inner)
    body = [*(each.statement for each in unit.needs), *inner]
    name = unit.name
    while name in taken or loads(*body)[name] or binds(*body)[name]:
        name += "_"
    return "\n".join(map(ast.unparse, _call(name, body)))


def _missing(source: str, needs: list[_Definition]) -> bool:
    """Whether the program's process would miss what the file defines.

    It gets the calls alone: `math.isclose` around one is made outside of it.
    """
    test = asserts.split(source)
    if test.kind != "value":
        return True
    trees = [ast.parse(each, mode="eval") for each in test.sources]
    return any(loads(*trees)[name] for each in needs for name in each.names)

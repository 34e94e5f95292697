"""Tests for the sandbox from a user's tests: plain asserts or a pytest file.

pytest itself does not run: it starts slowly and is not in the sandbox. Test functions
become short asserts where that changes no verdict, else functions that are called at
once. The file's imports, helpers and variables are local to these functions, so that no
program can use names of its tests. Tests that share mutable state become one test, in
their order. Unsupported code is refused with its line; nothing is left out.
"""

import ast
import copy
import dataclasses
import re
import warnings

from repair.env.usertests.bodies import binds, loads, shorten, substitute
from repair.env.usertests.cases import arguments
from repair.env.usertests.collect import counted
from repair.env.usertests.names import settle
from repair.env.usertests.parts import Definition, Parts
from repair.env.usertests.plain_pytest import APPROX, PlainPython, shorten_approx
from repair.env.usertests.scopes import BUILTINS
from repair.errors import UserError
from repair.sandbox import asserts


@dataclasses.dataclass(frozen=True)
class Tests:
    """The tests of a file.

    Attributes:
      sources: Statements for the sandbox, in the order in which pytest runs them.
      lines: First line of each in the file.
      setup: Code that runs before the program, for `pytest.approx`.
      named: True if the file imports the program.
      names: Names of the program that it imports.
      imports: Statements that no source needs and that must not fail, with their lines.
    """

    sources: tuple[str, ...]
    lines: tuple[int, ...]
    setup: str
    named: bool
    names: frozenset[str]
    imports: tuple[tuple[int, str], ...]


@dataclasses.dataclass
class _Unit:
    """Statements of one test of the sandbox, and the definitions that they need."""

    name: str
    line: int
    body: list[ast.stmt]
    needs: list[Definition]


def read_tests(text: str, where: str, module: str, code: str) -> Tests:
    """Return the tests of a file, for the sandbox.

    Args:
      text: The file's text.
      where: Its name, for errors.
      module: The program's name as a module, which the tests may import.
      code: The program, whose names the tests must leave alone.

    Raises:
      UserError: It is no Python, holds no test, or has unsupported code.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of pytest itself
            compile(text, where, "exec", dont_inherit=True)
            tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(
            f"{where}:{error.lineno} is not valid Python: {error.msg}"
        ) from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"{where} is not valid Python: {error}") from error
    names = settle(counted(tree, where), where, module, code)
    for name in names.imported:
        if re.search(rf"\bglobal\b.*\b{name}\b", code):
            raise UserError(
                f"{where} has {name} as it is at its import, and {module} gives it"
                f" other values later; import {module} and use {module}.{name}"
            )
    parts = Parts(where, names.tree)
    units = _File(where, parts).units()
    needed = {id(d): d.statement for unit in units for d in unit.needs}
    bodies = [each for unit in units for each in unit.body]
    judges = any(
        isinstance(n, ast.Assert | ast.Raise)
        for each in (*bodies, *needed.values())
        for n in ast.walk(each)
    )
    if not units or (parts.is_script and not judges):
        raise UserError(
            f"{where} holds no test; give asserts such as `assert f(1) == 2`, alone or"
            " in functions test_*"
        )
    used = loads(*bodies)
    for name in sorted(names.imported - used.keys()):  # its import alone can fail
        units.insert(0, _Unit(name, 1, [ast.Expr(ast.Name(name, ast.Load()))], []))
    taken = set(re.findall(r"\w+", code))
    # A builtin must not replace one of these that the program lacks.
    its_own = {
        name: ast.parse(f"globals()[{name!r}]", mode="eval").body
        for name in names.asked & BUILTINS
    }
    sources = tuple(_write(unit, taken, its_own) for unit in units)
    lines = tuple(unit.line for unit in units)
    unused = tuple(
        (each.statement.lineno, ast.unparse(each.statement))
        for each in parts.definitions
        if isinstance(each.statement, ast.Import | ast.ImportFrom)
        if id(each) not in needed
    )
    setup = APPROX if (loads(*needed.values()) + used)["_approx"] else ""
    return Tests(sources, lines, setup, names.named, names.asked, unused)


class _File:
    """The units of a file's parts."""

    def __init__(self, where: str, parts: Parts):
        self._where, self._parts = where, parts
        for each in parts.definitions:
            each.statement = PlainPython(where).visit(each.statement)
            ast.fix_missing_locations(each.statement)
        self._known = {n: d for d in parts.definitions for n in d.names}

    def units(self) -> list[_Unit]:
        """Return the tests of the sandbox in order; tests that share state are one."""
        if self._parts.is_script:
            units = self._split("tests", self._parts.script)
        else:
            tests = self._parts.tests
            units = [unit for test in tests for unit in self._of_test(test)]
        sharing = [
            i for i, unit in enumerate(units) if any(d.shared for d in unit.needs)
        ]
        acting = [each for each in self._parts.definitions if each.acts]
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

    def _of_test(self, test: ast.FunctionDef | ast.Assert) -> list[_Unit]:
        """Return the tests of the sandbox for one test of the file."""
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
            done = [plain.visit(shorten_approx(each)) for each in part]
            for each in done:
                ast.fix_missing_locations(each)
            known = [self._known[n] for n in loads(*done) if n in self._known]
            units.append(_Unit(name, line, done, self._closure(known)))
        return units

    def _closure(self, needed: list[Definition]) -> list[Definition]:
        """Return definitions and all that they need, in the file's order."""
        found: list[Definition] = []
        waiting = list(needed)
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.append(each)
                names = loads(each.statement)
                waiting += [self._known[n] for n in names if n in self._known]
        return [each for each in self._parts.definitions if each in found]


def _stands_alone(statement: ast.stmt) -> bool:
    """Return True if the statements after it do not need it."""
    if any(isinstance(n, ast.NamedExpr) for n in ast.walk(statement)):
        return False
    match statement:
        case ast.Assert():
            return True
        case ast.With([ast.withitem(ast.Call(ast.Attribute(_, "raises")), None)], body):
            return not binds(*body)
    return False


def _is_bare(statement: ast.stmt) -> bool:
    """Return True if it may run among the program's names: it binds none."""
    return isinstance(statement, ast.Assert | ast.Expr) and not (
        any(isinstance(n, ast.NamedExpr) for n in ast.walk(statement))
    )


def _call(name: str, body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements in a called function, or unchanged if they stand alone."""
    if len(body) == 1 and _is_bare(body[0]):
        return body
    made = ast.parse(f"def {name}():\n    pass\n{name}()").body
    made[0].body = body
    return made


def _write(unit: _Unit, taken: set[str], its_own: dict[str, ast.expr]) -> str:
    """Return the unit's source: a bare assert where it needs no definition of the file.

    Args:
      unit: The unit.
      taken: Names that its function must not have.
      its_own: Expressions for names.
    """
    if all(map(_is_bare, unit.body)) and not any(each.acts for each in unit.needs):
        source = _unparse(unit.body, its_own)
        if not unit.needs or not _missing(source, unit.needs):
            return source
    defined = {name for each in unit.needs for name in each.names}
    inner = unit.body
    if defined & binds(*inner).keys():  # replaced from the start
        inner = _call(unit.name, inner)
    body = [*(each.statement for each in unit.needs), *inner]
    name = unit.name
    while name in taken or loads(*body)[name] or binds(*body)[name]:
        name += "_"
    return _unparse(_call(name, body), its_own)


def _unparse(body: list[ast.stmt], its_own: dict[str, ast.expr]) -> str:
    if its_own:
        body = [substitute(each, **its_own) for each in body]
    return "\n".join(map(ast.unparse, body))


def _missing(source: str, needs: list[Definition]) -> bool:
    """Return True if the program's process would lack definitions of the file.

    It gets only the calls under test: a `math.isclose` around one runs outside of it.
    """
    test = asserts.split_test(source)
    if test.kind != "value":
        return True
    trees = [ast.parse(step.source) for step in test.steps]
    return any(loads(*trees)[name] for each in needs for name in each.names)

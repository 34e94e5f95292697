"""The statements of a tests file, sorted by their role in pytest."""

import ast
import collections
import dataclasses
import re
from typing import NoReturn

from repair.env.usertests.bodies import (
    binds,
    by_identity,
    frozen,
    literal,
    loads,
    read_once,
    substitute,
)
from repair.env.usertests.collect import is_script, is_test, refuse
from repair.env.usertests.scopes import BUILTINS

# pytest calls or reads these by their names.
_HOOKS = re.compile(
    r"(setup|teardown|pytest)(_|$)|(setUp|tearDown)Module$|pytestmark$|__test__$"
    r"|collect_ignore"
)


@dataclasses.dataclass(eq=False)
class Definition:
    """A statement of the file that binds names.

    Attributes:
      statement: The statement.
      names: The names.
      shared: True if a test could notice an earlier use by another test.
    """

    statement: ast.stmt
    names: set[str]
    shared: bool = False

    @property
    def acts(self) -> bool:
        """True if it has an effect of its own, so that it is never left out."""
        return _acts(self.statement)


class Parts:
    """The parts of a tests file.

    A file without test functions is a script: its statements are one test, which is
    split into its asserts where possible.

    Args:
      where: Its name, for errors.
      tree: The parts of it that run; it is changed.

    Attributes:
      is_script: True for a script.
      script: The statements of a script.
      tests: Functions, and asserts outside of them, in the order in which they run.
      definitions: Other definitions, without constants whose value replaces their
        name; if some have effects, with the asserts outside of functions among them.

    Raises:
      UserError: Something is not supported.
    """

    def __init__(self, where: str, tree: ast.Module):
        self._where = where
        self.tests: list[ast.FunctionDef | ast.Assert] = []
        self.script: list[ast.stmt] = []
        self.definitions: list[Definition] = []
        self._seen: dict[str, int] = {}
        self.is_script = is_script(tree)
        for statement in tree.body:
            self._sort(statement)
        # Asserts outside of functions run when the file is loaded.
        self.tests.sort(key=lambda test: isinstance(test, ast.FunctionDef))
        self._check(tree)
        if self.is_script:
            self._join_variables()
        else:
            self._use_constants()
            if any(each.acts for each in self.definitions):
                self._keep_order()

    def _sort(self, statement: ast.stmt) -> None:
        """Sort one statement of the file into its part."""
        match statement:
            case ast.Pass():
                return  # in the place of an import
            case ast.AsyncFunctionDef():
                self._refuse(statement, "an async function")
            case ast.ClassDef(name=name) if is_test(statement):
                self._claim(statement, {name})
                self.tests += self._methods(statement)
            case ast.FunctionDef(name=name) if is_test(statement):
                self._claim(statement, {name})
                self.tests.append(statement)
            case ast.Assert() if not self.is_script:
                self.tests.append(statement)
            case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                self._define(statement)
            case _ if self.is_script:
                self.script.append(statement)
            case _:
                self._define(statement)

    def _check(self, tree: ast.Module) -> None:
        """Refuse functions that use one another through the file's names."""
        tests = {test.name for test in tree.body if is_test(test)}
        for n in ast.walk(tree):
            if isinstance(n, ast.Global):
                self._refuse(n, "a global statement")
            if isinstance(n, ast.Name) and n.id in tests:
                self._refuse(n, f"another use of {n.id}, which is a test")
            if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store | ast.Del):
                for (
                    each
                ) in self.definitions:  # such as a function that counts its calls
                    each.shared |= ast.unparse(n.value) in each.names

    def _methods(self, node: ast.ClassDef) -> list[ast.FunctionDef]:
        """Return the tests of a class as functions."""
        if node.bases or node.keywords or node.decorator_list:
            self._refuse(node, "a test class with a base or a decorator")
        found, seen = [], set()
        for each in node.body:
            match each:
                case ast.Pass() | ast.Expr(ast.Constant()):
                    continue
                case ast.FunctionDef(name=name) if is_test(each) and name not in seen:
                    seen.add(name)
                case _:
                    self._refuse(each, "a test class with more than tests in it")
            own = each.args.args[0].arg if each.args.args else ""
            if not own or loads(each)[own]:
                self._refuse(each, "a test that uses what its class keeps")
            if any(re.match(r"__\w*(?<!__)$", name) for name in loads(each)):
                self._refuse(each, "a test with a name that its class changes")
            each.args.args.pop(0)
            found.append(each)
        return found

    def _define(self, statement: ast.stmt) -> None:
        """Keep a statement that binds names."""
        made = Definition(statement, set())
        match statement:
            case ast.Import(names) | ast.ImportFrom(names=names):
                if any(alias.name == "*" for alias in names):
                    self._refuse(statement, "import *")
                made.names = set(binds(statement))
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                made.names, decorated = {name}, bool(statement.decorator_list)
                made.shared = decorated or isinstance(statement, ast.ClassDef)
                if isinstance(statement, ast.FunctionDef):
                    given = [*statement.args.defaults, *statement.args.kw_defaults]
                    made.shared |= not all(map(_is_frozen, filter(None, given)))
                if any(loads(each)["pytest"] for each in statement.decorator_list):
                    self._refuse(
                        statement, f"{name}, a fixture or what else pytest calls"
                    )
            case (
                ast.Assign(targets=[ast.Name() | ast.Tuple() as target], value=value)
                | ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value)
            ):
                made.names = set(binds(target))
                made.shared = not _is_frozen(value)
            case _:
                self._refuse(statement, "something outside of its tests")
        self._claim(statement, made.names)
        self.definitions.append(made)

    def _claim(self, statement: ast.stmt, names: set[str]) -> None:
        """Record names; refuse one with two meanings or one that pytest reads."""
        for name in names:
            if _HOOKS.match(name):
                self._refuse(statement, f"{name}, which pytest would use")
            if name in self._seen:
                self._refuse(statement, f"{name} again, after line {self._seen[name]}")
            self._seen[name] = statement.lineno

    def _join_variables(self) -> None:
        """Move statements with effects and uses of a script's variables into it."""
        variables = binds(*self.script).keys()
        for each in list(self.definitions):
            names = loads(each.statement).keys() | each.names
            if each.acts or variables & names:
                self.definitions.remove(each)
                self.script.append(each.statement)
        self.script.sort(key=lambda each: each.lineno)

    def _use_constants(self) -> None:
        """Replace constants by their values, if no test could notice."""
        nodes = [*self.tests, *(each.statement for each in self.definitions)]
        bound = binds(*nodes)
        readers: dict[str, list[ast.stmt]] = collections.defaultdict(list)
        for node in nodes:
            for name in loads(node):
                readers[name].append(node)
        for each in list(self.definitions):
            match each.statement:
                case ast.Assign([ast.Name(name)], value) if bound[name] == 1:
                    known = literal(value)
                case _:
                    continue
            if known and _may_replace(name, known[0], readers[name]):
                self.definitions.remove(each)
                # In place, since others hold these statements.
                for node in readers[name]:
                    vars(node).update(vars(substitute(node, **{name: value})))

    def _keep_order(self) -> None:
        """Run asserts outside of functions among the definitions that have effects."""
        asserts = [each for each in self.tests if isinstance(each, ast.Assert)]
        self.tests = self.tests[len(asserts) :]
        self.definitions += [Definition(each, set()) for each in asserts]
        self.definitions.sort(key=lambda each: each.statement.lineno)

    def _refuse(self, node: ast.AST, what: str) -> NoReturn:
        refuse(self._where, node, what)


def _acts(statement: ast.stmt) -> bool:
    """Return True if it could do more than bind a name, or fail."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(ast.Constant()):
            return False
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return literal(value) is None
        case ast.AnnAssign():
            return False
        case ast.FunctionDef(args=spec, decorator_list=decorators):
            evaluated = [*decorators, *spec.defaults, *filter(None, spec.kw_defaults)]
            return not all(map(_is_inert, evaluated))
        case ast.ClassDef(bases=bases, keywords=[], decorator_list=[], body=body):
            return not all(map(_is_inert, bases)) or any(map(_acts, body))
    return True


def _is_inert(value: ast.expr) -> bool:
    """Return True if evaluating it can neither fail nor have an effect."""
    python = isinstance(value, ast.Name) and value.id in BUILTINS
    return python or isinstance(value, ast.Lambda) or literal(value) is not None


def _is_frozen(value: ast.expr) -> bool:
    known = literal(value)
    return known is not None and frozen(known[0])


def _may_replace(name: str, value, readers: list[ast.stmt]) -> bool:
    """Return True if the name's value may replace it in the statements that read it."""
    if frozen(value):
        return not by_identity(name, *readers)
    tests = [each for each in readers if is_test(each)]
    decorators = [each for test in tests for each in test.decorator_list]
    times, in_decorators = loads(*readers)[name], loads(*decorators)[name]
    if times == in_decorators:  # parametrize iterates over it and keeps its items
        fixed = isinstance(value, list | tuple) and all(map(frozen, value))
        return fixed or times == 1
    return (
        times == len(tests) == 1 and not decorators and read_once(name, *tests[0].body)
    )

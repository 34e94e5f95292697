"""The parts of a tests file that run: at import, or because pytest collects them."""

import ast
import re
from collections.abc import Iterator
from typing import NoReturn

from repair.env.usertests.bodies import loads
from repair.env.usertests.scopes import BUILTINS, scope
from repair.errors import UserError

_METHOD = re.compile(r"test|setup|teardown|setUp|tearDown|runTest")
# Calls of these give no function that pytest could take for a test.
_PLAIN_TYPES = frozenset(
    "bool bytes dict float frozenset int len list max min range set sorted str sum"
    " tuple zip".split()
)


def counted(tree: ast.Module, where: str) -> ast.Module:
    """Return the file without parts that do not run.

    Args:
      tree: A tests file; it is changed.
      where: Its name, for errors.

    Raises:
      UserError: pytest would find a test where this reader sees none.
    """
    script = is_script(tree)
    body: list[ast.stmt] = []
    for statement in tree.body:
        match statement:
            case ast.Pass() | ast.Expr(ast.Constant()):
                continue
            case ast.Expr(
                ast.Call(ast.Attribute(ast.Attribute(ast.Name("sys"), "path")))
            ):
                continue  # tells Python where the program is
            case ast.If(test, inner, otherwise) if _asks_who_runs(test):
                if otherwise or not _is_main(test):
                    refuse(
                        where,
                        statement,
                        "an `if __name__` that is not `== '__main__'` alone",
                    )
                if script:  # a script's last part, ignored by pytest
                    body += inner
            case ast.ImportFrom("__future__", names):
                if any(alias.name == "annotations" for alias in names):
                    _quote_annotations(tree)
            case _:
                body.append(statement)
    tree.body = body
    suspects = _suspects(tree)
    for statement in body:
        _check(statement, where, suspects)
    return tree


def is_script(tree: ast.Module) -> bool:
    """Return True if pytest would call nothing in the file."""
    return not any(map(is_test, tree.body))


def is_test(statement: ast.stmt) -> bool:
    """Return True if pytest would collect it by its name."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name.startswith("test")
        case ast.ClassDef(name=name):
            return name.startswith("Test")
    return False


def refuse(where: str, node: ast.AST, what: str) -> NoReturn:
    """Report that something in a file is not supported.

    Raises:
      UserError: Always.
    """
    raise UserError(
        f"{where}:{node.lineno} has {what}, which cannot become a test of the"
        " sandbox; give functions test_* with asserts, constants and plain helpers"
    )


def _asks_who_runs(test: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(test))


def _is_main(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left, [ast.Eq()], [right]):
            return {ast.unparse(left), ast.unparse(right)} == {"__name__", "'__main__'"}
    return False


def _quote_annotations(tree: ast.Module) -> None:
    """Keep annotations from being evaluated, as `from __future__ import annotations`.

    Those of a class's fields stay where possible: dataclasses read them.
    """
    known = set(BUILTINS)
    for statement in tree.body:
        for n in ast.walk(statement):
            if isinstance(n, ast.AnnAssign) and loads(n.annotation).keys() <= known:
                continue
            for field in ("annotation", "returns"):
                if isinstance(getattr(n, field, None), ast.expr):
                    text = ast.Constant(ast.unparse(getattr(n, field)))
                    setattr(n, field, ast.copy_location(text, n))
        known |= scope(statement).gives


def _check(statement: ast.stmt, where: str, suspects: set[str]) -> None:
    """Refuse tests of pytest that are not plain functions or classes."""
    for depth, each in _module_level(statement):
        match each:
            case ast.ClassDef(name=name, bases=[_, *_] as bases) if not is_test(each):
                origins = {name, *(ast.unparse(b).rpartition(".")[2] for b in bases)}
                if origins & suspects or any("Test" in origin for origin in origins):
                    refuse(where, each, f"{name}, a class of tests with a base")
            case ast.Assign(targets, value) if _may_be_called(value):
                _check_names(targets, where)
            case ast.AnnAssign(target, _, value) if _may_be_called(value):
                _check_names([target], where)
        if depth and is_test(each):
            refuse(where, each, f"{each.name} inside of another statement")


def _check_names(targets: list[ast.expr], where: str) -> None:
    for n in (n for target in targets for n in ast.walk(target)):
        if isinstance(n, ast.Name) and re.match("[tT]est", n.id):
            refuse(where, n, f"{n.id}, which pytest may take for a test")


def _suspects(tree: ast.Module) -> set[str]:
    """Return the names of classes whose methods something may call as tests."""
    return {
        n.name
        for n in ast.walk(tree)
        if isinstance(n, ast.ClassDef)
        and any(_METHOD.match(getattr(each, "name", "")) for each in n.body)
    }


def _module_level(node: ast.stmt, depth: int = 0) -> Iterator[tuple[int, ast.stmt]]:
    """Yield (depth, statement) of all statements that bind the file's own names."""
    yield depth, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _module_level(child, depth + 1)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            for each in child.body:
                yield from _module_level(each, depth + 1)


def _may_be_called(value: ast.expr | None) -> bool:
    """Return True if the value could be a function."""
    match value:
        case ast.Call(ast.Name(name)):
            return name not in _PLAIN_TYPES
        case ast.Lambda() | ast.Name() | ast.Attribute() | ast.Call() | ast.Subscript():
            return True
        case ast.IfExp() | ast.BoolOp() | ast.NamedExpr():
            return True
    return False

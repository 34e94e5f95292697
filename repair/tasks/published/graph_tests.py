"""Tests of QuixBugs' programs over graphs: functions that build nodes and assert.

`python_testcases/test_NAME.py` imports the program and `node.py`, may build a graph at
its top, and holds functions `test1`, `test2` and so on. Each becomes one test, with the
statements of the top that it needs: it starts from a graph of its own, whatever the
tests before did to theirs.
"""

import ast
import pathlib

from repair.errors import UserError
from repair.sandbox.syntax import parse_program
from repair.tasks.rows import clean, clean_code

_NODE = "node"
# Folders of a clone that may hold it.
_FOLDERS = ("python_testcases", "python_programs", "correct_python_programs")


def read(file: pathlib.Path, folder: pathlib.Path) -> tuple[list[str], str]:
    """Return the tests of a file, and the code that they need before the program.

    Args:
      file: `python_testcases/test_NAME.py`.
      folder: The repository's folder.

    Raises:
      UserError: The file or `node.py` cannot be read, or it holds anything but such
        tests.
    """
    try:
        body = parse_program(clean(file.read_text(encoding="utf-8"))).body
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise UserError(
            f"cannot read the tests {file} ({error}); give a clone of QuixBugs"
        ) from error
    top, functions, imports, node = [], [], [], False
    for statement in body:
        match statement:
            case ast.FunctionDef(name) if name.startswith("test"):
                functions.append(statement)
            case ast.ImportFrom(_NODE):
                node = True
            case (
                ast.If() | ast.Expr(ast.Constant()) | ast.Import([ast.alias("pytest")])
            ):
                pass  # the program's import, by `pytest.use_correct`
            case ast.Import() | ast.ImportFrom():
                imports.append(ast.unparse(statement))
            case _:
                top.append(statement)
    if not functions:
        raise UserError(f"{file} holds no function test...; expected one for each case")
    tests = [_test(file, top, function) for function in functions]
    setup = [_read_node(folder)] if node else []
    return list(dict.fromkeys(tests)), "\n".join([*imports, *setup])


def _test(file: pathlib.Path, top: list[ast.stmt], function: ast.FunctionDef) -> str:
    arguments = function.args
    if function.decorator_list or ast.unparse(arguments):
        raise UserError(
            f"{file}:{function.lineno}: {function.name} has a decorator or arguments,"
            " expected a function that is called as it is"
        )
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    needed = _loaded(body)
    kept: list[ast.stmt] = []
    for statement in reversed(top):
        bound = _bound(statement)
        if not bound or bound & needed:
            kept.insert(0, statement)
            needed |= _loaded([statement])
    return "\n".join(map(ast.unparse, [*kept, *body]))


def _loaded(statements: list[ast.stmt]) -> set[str]:
    return {
        node.id
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that an assignment binds; none if it does more than that."""
    if not isinstance(statement, ast.Assign):
        return set()
    names = [target for target in statement.targets if isinstance(target, ast.Name)]
    return {x.id for x in names} if len(names) == len(statement.targets) else set()


def _read_node(folder: pathlib.Path) -> str:
    files = [folder / name / f"{_NODE}.py" for name in _FOLDERS]
    file = next((each for each in files if each.exists()), files[0])
    try:
        return clean_code(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {file} ({error}), which the tests import; give a clone of"
            " QuixBugs"
        ) from error

"""QuixBugs (Lin et al. 2017): forty classic programs with a bug on one line each.

Read from a clone of its repository: `python_programs/NAME.py` is faulty and ends in a
string that describes it, `correct_python_programs/NAME.py` is the reference, and each
line of `json_testcases/NAME.json` holds arguments and the expected value. The nine
programs over graphs have functions in `python_testcases/test_NAME.py` instead.
"""

import ast
import pathlib
from collections.abc import Sequence

from repair.errors import UserError
from repair.sandbox.syntax import parse_program
from repair.tasks.published import graph_tests
from repair.tasks.published.expect import expect_one_of, expectation
from repair.tasks.published.odd import OddRows
from repair.tasks.rows import clean, clean_code, read_lines
from repair.tasks.task import Task, TaskList

SHOWN = 3  # cases of a program; the others are hidden
_HELPERS = ("node", "__init__")


def read(path: str | pathlib.Path) -> TaskList:
    """Read the programs that have test cases, by name.

    A program with a file that cannot be read is left out.

    Args:
      path: The repository's folder.

    Raises:
      UserError: The folder holds no programs, or none that can be read; the message
        holds the file and the line.
    """
    folder = pathlib.Path(path)
    names = [file.stem for file in sorted((folder / "python_programs").glob("*.py"))]
    # Early versions keep their testers among the programs.
    names = [n for n in names if n not in _HELPERS and not n.endswith("_test")]
    if not names:
        raise UserError(
            f"{folder} has no python_programs/*.py; give the folder of a clone of"
            " QuixBugs"
        )
    tasks, odd = [], OddRows()
    for name in names:
        cases = folder / "json_testcases" / f"{name}.json"
        tests = folder / "python_testcases" / f"test_{name}.py"
        if not cases.exists() and not tests.exists():
            odd.skip(name, "no test cases")
            continue
        with odd.leave_out(name):
            tasks.append(_task(folder, name, cases, tests))
    return odd.finish(tasks)


def _task(
    folder: pathlib.Path, name: str, cases: pathlib.Path, tests: pathlib.Path
) -> Task:
    faulty, text = _program(folder / "python_programs" / f"{name}.py")
    if not text:
        raise UserError(
            f"{name}.py has no string at its end that says what it should do"
        )
    file = folder / "correct_python_programs" / f"{name}.py"
    code, _ = _program(file)
    functions = [
        statement
        for statement in parse_program(code).body
        if isinstance(statement, ast.FunctionDef) and statement.name == name
    ]
    if not functions:
        raise UserError(
            f"{file} defines no function {name!r} as its name says; give an"
            " unchanged clone of QuixBugs"
        )
    setup = ""
    if cases.exists():
        asserts = _asserts(cases, functions[0])
    else:
        asserts, setup = graph_tests.read(tests, folder)
    return Task(
        task_id=name,
        text=text,
        code=code,
        test_list=tuple(asserts[:SHOWN]),
        test_setup_code=setup,
        hidden_test_list=tuple(asserts[SHOWN:]),
        faulty_code=faulty,
    )


def _program(file: pathlib.Path) -> tuple[str, str]:
    """Return a program without the strings at its end, and the first of these."""
    try:
        code = clean(file.read_text(encoding="utf-8"))
        body = parse_program(code).body
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise UserError(
            f"cannot read the program {file} ({error}); give a clone of QuixBugs"
        ) from error
    text, lines = "", code.split("\n")
    for statement in reversed(body):
        match statement:
            case ast.Expr(ast.Constant(str(text))):
                lines = lines[: statement.lineno - 1]
            case _:
                break
    return clean_code("\n".join(lines)), text.strip()


def _asserts(file: pathlib.Path, function: ast.FunctionDef) -> list[str]:
    asserts = []
    for where, case in read_lines(file, "list [arguments, expected value]"):
        if not isinstance(case, list) or len(case) != 2:
            raise UserError(
                f"{where}: found {str(case)[:40]!r}, expected one list [arguments,"
                " expected value] a line; give an unchanged clone of QuixBugs"
            )
        # A single argument may stand without its list.
        arguments = case[0] if isinstance(case[0], list) else [case[0]]
        asserts.append(_assert(function, arguments, case[1], where))
    if not asserts:
        raise UserError(f"{file} holds no cases; expected one a line")
    return list(dict.fromkeys(asserts))


def _assert(function: ast.FunctionDef, arguments: Sequence, value, where: str) -> str:
    """Return one case as an assert, in the types that the reference returns.

    JSON has lists only. If the reference is a generator, its values are listed; if it
    makes tuples, the innermost lists may be tuples. A parameter `epsilon` is the error
    that the result may have.
    """
    call = f"{function.name}({', '.join(map(repr, arguments))})"
    names = [parameter.arg for parameter in function.args.args]
    if _is_generator(function):
        call = f"list({call})"
    error = dict(zip(names, arguments, strict=False)).get("epsilon")
    if isinstance(error, float) and isinstance(value, int | float):
        test = expectation(call, float(value), error)
    elif isinstance(value, list) and _makes_tuples(function):
        test = expect_one_of(call, value, _innermost_tuples(value))
    else:
        test = expectation(call, value)
    if test is None:
        raise UserError(f"{where}: the expected value {value!r} has no literal")
    return test


def _is_generator(function: ast.FunctionDef) -> bool:
    """Return True if the function itself yields, not a function within it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def _makes_tuples(function: ast.FunctionDef) -> bool:
    """Return True if a tuple is passed on, unlike in `a, b = b, a` or `x[i, j]`."""
    values: Sequence[ast.expr | None]
    for node in ast.walk(function):
        match node:
            case ast.Call(args=values) | ast.List(elts=values) | ast.Tuple(elts=values):
                pass
            case (
                ast.Return(value)
                | ast.Yield(value)
                | ast.ListComp(elt=value)
                | ast.GeneratorExp(elt=value)
            ):
                values = [value]
            case _:
                continue
        if any(isinstance(value, ast.Tuple) for value in values):
            return True
    return False


def _innermost_tuples(value):
    """Return the value with its lists that hold no list as tuples."""
    if not isinstance(value, list):
        return value
    if any(isinstance(item, list) for item in value):
        return [_innermost_tuples(item) for item in value]
    return tuple(value)

"""QuixBugs (Lin et al. 2017): forty classic programs with a bug on one line each.

Read from a clone of its repository: `python_programs/NAME.py` is faulty and ends in a
string that says what it should do, `correct_python_programs/NAME.py` is the reference,
and each line of `json_testcases/NAME.json` holds arguments and the expected value.
Programs over graphs have no such file and are left out.
"""

import ast
import pathlib
from collections.abc import Sequence

from repair.errors import UserError
from repair.tasks.expect import expect, expect_one_of
from repair.tasks.rows import clean, clean_code, read_lines
from repair.tasks.task import Loaded, Task

SHOWN = 3
_HELPERS = ("node", "__init__")


def read(path: str | pathlib.Path, shown: int = SHOWN) -> Loaded:
    """The programs that have JSON test cases, by name.

    Args:
      path: The repository's folder.
      shown: How many cases of a program are shown; the others are hidden.

    Raises:
      UserError: A folder or file is missing, or not what it should be; the message
        holds the file and the line.
    """
    folder = pathlib.Path(path)
    faulty = folder / "python_programs"
    names = [file.stem for file in sorted(faulty.glob("*.py"))]
    # Testers of early versions stand among the programs.
    names = [n for n in names if n not in _HELPERS and not n.endswith("_test")]
    if not names:
        raise UserError(
            f"{folder} has no python_programs/*.py; give the folder of a clone of"
            " QuixBugs"
        )
    tasks, left_out = [], []
    for name in names:
        if not (folder / "json_testcases" / f"{name}.json").exists():
            left_out.append((name, "no JSON test cases"))
            continue
        code, text = _program(faulty / f"{name}.py")
        if text:
            tasks.append(_task(folder, name, code, text, shown))
        else:
            left_out.append((name, "no string at its end that says what it should do"))
    return Loaded(tuple(tasks), len(names), tuple(left_out))


def _task(folder: pathlib.Path, name: str, faulty: str, text: str, shown) -> Task:
    file = folder / "correct_python_programs" / f"{name}.py"
    code, _ = _program(file)
    function = _function(code, name)
    if function is None:
        raise UserError(
            f"{file} defines no function {name!r} as its name says; give an unchanged"
            " clone of QuixBugs"
        )
    asserts = _asserts(folder / "json_testcases" / f"{name}.json", function)
    return Task(
        task_id=name,
        text=text,
        code=code,
        test_list=tuple(asserts[:shown]),
        hidden_test_list=tuple(asserts[shown:]),
        faulty_code=faulty,
    )


def _program(file: pathlib.Path) -> tuple[str, str]:
    """A program without the strings at its end, and the first of these."""
    try:
        code = clean(file.read_text(encoding="utf-8"))
        body = ast.parse(code).body
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise UserError(
            f"cannot read the program {file} ({error}); give a clone of QuixBugs"
        ) from error
    text, lines = "", code.split("\n")
    while body and _is_string(body[-1]):
        last = body.pop()
        text, lines = last.value.value, lines[: last.lineno - 1]
    return clean_code("\n".join(lines)), text.strip()


def _is_string(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(ast.Constant(str())):
            return True
    return False


def _function(code: str, name: str) -> ast.FunctionDef | None:
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return statement
    return None


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
    """One case as an assert, in the types that the reference returns.

    JSON has lists only. Where the reference is a generator, its values are listed;
    where it makes tuples, the innermost lists may be such. A parameter `epsilon` is
    the error that the result may have.
    """
    call = f"{function.name}({', '.join(map(repr, arguments))})"
    names = [parameter.arg for parameter in function.args.args]
    given = dict(zip(names, arguments, strict=False))
    if _any_below(function, (ast.Yield, ast.YieldFrom)):
        call = f"list({call})"
    error = given.get("epsilon")
    if isinstance(error, float) and isinstance(value, int | float):
        test = expect(call, float(value), error)
    elif isinstance(value, list) and _makes_tuples(function):
        test = expect_one_of(call, value, _innermost_tuples(value))
    else:
        test = expect(call, value)
    if test is None:
        raise UserError(f"{where}: the expected value {value!r} has no literal")
    return test


def _any_below(function: ast.FunctionDef, kinds: tuple[type, ...]) -> bool:
    """Whether a function's own code has such a node, not that of functions in it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, kinds):
            return True
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def _makes_tuples(function: ast.FunctionDef) -> bool:
    """Whether a tuple is handed on as a value, unlike in `a, b = b, a` or `x[i, j]`."""
    for node in ast.walk(function):
        match node:
            case ast.Call(args=values) | ast.List(elts=values) | ast.Tuple(elts=values):
                pass
            case ast.Return(value) | ast.Yield(value):
                values = [value]
            case ast.ListComp(elt=value) | ast.GeneratorExp(elt=value):
                values = [value]
            case _:
                continue
        if any(isinstance(value, ast.Tuple) for value in values):
            return True
    return False


def _innermost_tuples(value):
    """The value with its lists that hold no list as tuples."""
    if not isinstance(value, list):
        return value
    if any(isinstance(item, list) for item in value):
        return [_innermost_tuples(item) for item in value]
    return tuple(value)

"""HumanEvalFix (Muennighoff et al. 2023): HumanEval's programs with a bug each.

Read from the Python rows of HumanEvalPack, one JSON object a line. Its tests are
functions `check` full of asserts. If such a function holds only asserts, each becomes
a test whose expected value the sandbox keeps to itself. Any other is kept whole as one
test, which then runs in the process of the program under test.
"""

import ast
import pathlib

from repair.tasks.rows import Row, clean, clean_code, read_rows
from repair.tasks.task import Task, TaskList

SHOWN = 3  # of the tests proper, for a row without example tests
_PREFIX = "Python/"


def read(path: str | pathlib.Path) -> TaskList:
    """Read the tasks of a file of HumanEvalPack's Python rows.

    Example tests are shown, the tests proper hidden. A row without example tests shows
    the first three of the others.

    Raises:
      UserError: The file cannot be read or a row is malformed; the message holds the
        file, the line and the field.
    """
    tasks, left_out, changed, found = [], [], [], 0
    for row in read_rows(path):
        found += 1
        name = row.task_id
        if not isinstance(name, str) or not name.startswith(_PREFIX):
            raise row.error(
                "task_id",
                f"is {name!r}, expected Python/N; give HumanEvalPack's Python rows",
            )
        function = row.text("entry_point")
        shown, imports = _read_tests(row, "example_test", function, "")
        hidden, more_imports = _read_tests(row, "test", function, None)
        if not shown:
            if more_imports is None or not hidden:
                left_out.append((name, "no tests to show"))
                continue
            shown, hidden = hidden[:SHOWN], hidden[SHOWN:]
            changed.append((name, f"no example tests; its first {SHOWN} tests shown"))
        for field, needed in (("example_test", imports), ("test", more_imports)):
            if needed is None:
                changed.append((name, f"{field} kept whole as one test"))
        setup = row.text("import", ""), row.text("test_setup", "")
        setup_lines = filter(None, [*setup, imports, more_imports])
        task = Task(
            task_id=name,
            text=clean(row.text("instruction")).strip(),
            code=_program(row, "canonical_solution", function),
            test_list=shown,
            test_setup_code=clean_code("\n".join(setup_lines)),
            hidden_test_list=tuple(test for test in hidden if test not in shown),
            faulty_code=_program(row, "buggy_solution", function),
        )
        if not task.text:
            raise row.error("instruction", "is empty")
        tasks.append(task)
    return TaskList(tasks, found, left_out, changed)


def _program(row: Row, field: str, function: str) -> str:
    code = clean_code(row.text("declaration") + row.text(field))
    if f"def {function}(" not in code:
        raise row.error(
            "declaration", f"defines no function {function!r}, the row's entry_point"
        )
    return code


def _read_tests(
    row: Row, field: str, function: str, default: str | None
) -> tuple[tuple[str, ...], str | None]:
    """Return the tests of a field and their imports, None for a check kept whole."""
    source = clean_code(row.text(field, default))
    if not source and default is not None:
        return (), ""
    body = row.parse(field, source)
    checks = [s for s in body if isinstance(s, ast.FunctionDef) and s.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        raise row.error(field, "defines no function check of one argument")
    (check,) = checks
    others = [s for s in body if s is not check and not _calls_check(s)]
    if all(isinstance(s, ast.Import | ast.ImportFrom) for s in others):
        tests = _separate(check, function)
        if tests is not None:
            return tests, "\n".join(map(ast.unparse, others))
    if not any(map(_calls_check, body)):
        source += f"\n\ncheck({function})"
    return (source,), None


def _calls_check(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(ast.Call(ast.Name("check"))):
            return True
    return False


def _separate(check: ast.FunctionDef, function: str) -> tuple[str, ...] | None:
    """Return the asserts of a check, of the function itself; None if there is more.

    Asserts of a constant, which HumanEval has for debugging, are left out.
    """
    parameter = check.args.args[0].arg
    tests = []
    for statement in check.body:
        match statement:
            case ast.Pass() | ast.Expr(ast.Constant()) | ast.Assert(ast.Constant(True)):
                continue
            case ast.Assert(test):
                if parameter != function and _binds(test, parameter, function):
                    return None
                for node in ast.walk(test):
                    if isinstance(node, ast.Name) and node.id == parameter:
                        node.id = function
                tests.append(f"assert {ast.unparse(test)}")
            case _:
                return None
    return tuple(dict.fromkeys(tests))


def _binds(test: ast.expr, *names: str) -> bool:
    """Return True if an expression gives one of the names a meaning of its own."""
    for node in ast.walk(test):
        match node:
            case ast.arg(name) | ast.Name(name, ast.Store()) if name in names:
                return True
    return False

"""HumanEvalFix (Muennighoff et al. 2023): HumanEval's programs with a bug each.

Read from the Python rows of HumanEvalPack, one JSON object a line. Its tests are
functions `check` full of asserts. If such a function holds only asserts, each becomes
a test whose expected value the sandbox keeps to itself. Any other is kept whole as one
test, which then runs in the process of the program under test.
"""

import ast
import dataclasses
import pathlib

from repair.sandbox.syntax import parse_program
from repair.tasks.published.odd import OddRows
from repair.tasks.rows import Row, clean, clean_code, read_rows
from repair.tasks.task import Task, TaskList

SHOWN = 3  # of the tests proper, for a row without example tests
_PREFIX = "Python/"
_NEEDED = (
    "HumanEvalPack's fields task_id, instruction, declaration, canonical_solution,"
    " buggy_solution, entry_point, example_test and test"
)


def read(path: str | pathlib.Path) -> TaskList:
    """Read the tasks of a file of HumanEvalPack's Python rows.

    Example tests are shown, the tests proper hidden. A row without example tests that
    can be used shows the first three of the others. A row that cannot be read is left
    out.

    Raises:
      UserError: The file cannot be read, holds rows of another set, or none that can be
        read; the message holds the file, the row and the field.
    """
    tasks, odd = [], OddRows()
    for row in read_rows(path, _NEEDED):
        name = row.task_id
        if not isinstance(name, str) or not name.startswith(_PREFIX):
            raise row.error(
                "task_id",
                f"is {name!r}, expected Python/N; give HumanEvalPack's Python rows",
            )
        with odd.leave_out(name):
            task, changes = _task(row, name)
            tasks.append(task)
            odd.changed += [(name, change) for change in changes]
    return odd.finish(tasks)


def _task(row: Row, name: str) -> tuple[Task, list[str]]:
    """Return a row's task, and the changes to its tests."""
    function, changes = row.text("entry_point"), []
    shown = _Tests()
    if row.text("example_test", ""):
        try:
            shown = _read_tests(row, "example_test", function)
        except _Unusable as error:
            changes.append(f"example_test {error}; first tests shown")
    try:
        hidden = _read_tests(row, "test", function)
    except _Unusable as error:
        raise row.error("test", str(error)) from error
    kept_whole = [
        f"{field} kept whole as one test"
        for field, tests in (("example_test", shown), ("test", hidden))
        if tests.whole
    ]
    if not shown.tests:
        if hidden.whole:
            raise row.error("example_test", "gives no test to show, nor does its test")
        changes = changes or [f"no example tests; its first {SHOWN} tests shown"]
        shown = dataclasses.replace(shown, tests=hidden.tests[:SHOWN])
    setup = (row.text("import", ""), row.text("test_setup", ""))
    task = Task(
        task_id=name,
        text=clean(row.text("instruction")).strip(),
        code=_program(row, "canonical_solution", function),
        test_list=shown.tests,
        test_setup_code=clean_code(
            "\n".join(filter(None, [*setup, shown.imports, hidden.imports]))
        ),
        hidden_test_list=tuple(x for x in hidden.tests if x not in shown.tests),
        faulty_code=_program(row, "buggy_solution", function),
    )
    if not task.text:
        raise row.error("instruction", "is empty")
    return task, changes + kept_whole


def _program(row: Row, field: str, function: str) -> str:
    code = clean_code(row.text("declaration") + row.text(field))
    if f"def {function}(" not in code:
        raise row.error(
            "declaration", f"defines no function {function!r}, the row's entry_point"
        )
    return code


class _Unusable(Exception):
    """A field that holds no test; the message says why."""


@dataclasses.dataclass(frozen=True)
class _Tests:
    """The tests of a field.

    Attributes:
      tests: Statements.
      imports: What they import.
      whole: The field's check is one test, as it stands.
    """

    tests: tuple[str, ...] = ()
    imports: str = ""
    whole: bool = False


def _read_tests(row: Row, field: str, function: str) -> _Tests:
    """Return the tests of a field; raise _Unusable if there are none."""
    source = clean_code(row.text(field))
    try:
        body = parse_program(source).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise _Unusable(f"is no Python ({error})") from error
    checks = [s for s in body if isinstance(s, ast.FunctionDef) and s.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        raise _Unusable("defines no function check of one argument")
    (check,) = checks
    if not any(_tests_something(node) for node in ast.walk(check)):
        raise _Unusable("asserts nothing")
    others = [s for s in body if s is not check and not _calls_check(s)]
    if all(isinstance(s, ast.Import | ast.ImportFrom) for s in others):
        tests = _separate(check, function)
        if tests is not None:
            return _Tests(tests, "\n".join(map(ast.unparse, others)))
    if not any(map(_calls_check, body)):
        source += f"\n\ncheck({function})"
    return _Tests((source,), whole=True)


def _tests_something(node: ast.AST) -> bool:
    match node:
        case ast.Assert(ast.Constant(True)):
            return False
        case ast.Assert() | ast.Raise():
            return True
    return False


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

"""MBPP+ (EvalPlus, Liu et al. 2023): MBPP's tasks with many more inputs each.

Its rows hold inputs and no results, so the sandbox runs each row's reference, and the
values become literals in asserts. A program under test cannot reach the reference.

JSON has no tuples, sets, complex numbers or keys but strings. A row's own asserts
(`assertion`) do: they tell the type of an input, and how results are compared (as
sets, or for truth).
"""

import ast
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence

from repair.errors import UserError
from repair.sandbox.values import evaluate_expressions
from repair.tasks import mbpp
from repair.tasks.published.expect import as_literal, expectation
from repair.tasks.rows import Row, clean, clean_code, read_rows
from repair.tasks.task import Task, TaskList

TRAINING = "train"  # the split whose programs models are trained on
SPLITS = (*(name for name in mbpp.SPLITS if name != TRAINING), TRAINING, "all")

# Of these an example can tell something that JSON does not.
_SHAPED = (list, tuple, set, dict, complex)
_JOBS = 32  # rows that are evaluated together
_HOLE = "_call_"
_QUOTES = re.compile(r"'''|\"\"\"")


def read(
    path: str | pathlib.Path,
    split: str,
    *,
    count: int | None = None,
    training: bool = False,
) -> TaskList:
    """Read the tasks of one of MBPP's splits, or of all.

    Tests from `base_input` are shown, those from `plus_input` hidden.

    Args:
      path: EvalPlus's MbppPlus.jsonl.
      split: One of `SPLITS`.
      count: At most so many tasks.
      training: Use for training. Without it "train" is refused, and "all" leaves out
        its tasks.

    Raises:
      UserError: The split is unknown or refused, it has no rows, the file cannot be
        read, or a row is malformed; the message holds the file, the line and the field.
    """
    if split not in SPLITS:
        raise UserError(
            f"MBPP+ has no split {split!r}; choose one of {', '.join(SPLITS)}"
        )
    if split == TRAINING and not training:
        raise UserError(
            "mbppplus/train holds the tasks that models are trained on, so it is no"
            " evaluation; use mbppplus/test"
        )
    drafts, left_out = [], []
    for row in read_rows(path):
        draft = _draft(row)
        own = mbpp.split_of(draft.number)
        if split in (own, "all") and (own != TRAINING or training):
            drafts.append(draft)
        elif split == "all":
            left_out.append((str(draft.task.task_id), "MBPP's training split"))
    found = len(drafts) + len(left_out)
    if not found:
        raise UserError(f"{path} holds no row of MBPP's {split} split; give another")
    tasks: list[Task] = []
    changed = []
    for start in range(0, len(drafts), _JOBS):
        some = drafts[start : start + _JOBS]
        results = evaluate_expressions(
            [(draft.task.code, draft.sources) for draft in some]
        )
        for draft, values in zip(some, results, strict=True):
            name, (task, complete) = str(draft.task.task_id), draft.finish(values)
            if task is None:
                left_out.append((name, "its reference gives no plain value"))
                continue
            tasks.append(task)
            if not complete:
                changed.append((name, "without inputs that give no plain value"))
        if count is not None and len(tasks) >= count:
            break
    return TaskList(tasks[:count], found, left_out, changed)


@dataclasses.dataclass(frozen=True)
class _Draft:
    """A row whose tests still lack their expected values.

    Attributes:
      number: MBPP's task id.
      task: The task without tests.
      sources: Expressions to test, of which the first `shown` are shown.
      shown: See `sources`.
      complete: Every input of the row has become an expression.
      tolerance: The absolute error that a float may have.
    """

    number: int
    task: Task
    sources: tuple[str, ...]
    shown: int
    complete: bool
    tolerance: float

    def finish(self, values: Sequence[tuple | None]) -> tuple[Task | None, bool]:
        """Return the task, None if no test is left to show; and if all tests are left.

        Args:
          values: The value of each source in a tuple of one, None where there is none.
        """
        tests = [
            None if value is None else expectation(source, value[0], self.tolerance)
            for source, value in zip(self.sources, values, strict=True)
        ]
        shown = [test for test in tests[: self.shown] if test]
        hidden = [test for test in tests[self.shown :] if test and test not in shown]
        if not shown:
            return None, False
        task = dataclasses.replace(
            self.task,
            test_list=tuple(dict.fromkeys(shown)),
            hidden_test_list=tuple(dict.fromkeys(hidden)),
        )
        return task, self.complete and None not in tests


def _draft(row: Row) -> _Draft:
    number = row.task_id
    if isinstance(number, str):
        digits = number.removeprefix("Mbpp/")
        if not digits.isdecimal():
            raise row.error("task_id", f"is {number!r}, expected Mbpp/N")
        number = int(digits)
    function = row.text("entry_point")
    code = clean_code(row.text("canonical_solution"))
    if f"def {function}" not in code:
        raise row.error("canonical_solution", f"defines no function {function!r}")
    examples = list(_examples(row, function))
    columns = zip(*(args for _, args in examples if args), strict=False)
    likes = [max(column, key=_size) for column in columns]
    # One published row has an empty object for no inputs.
    no_plus = row.fields.get("plus_input") == {}
    inputs = row.list("base_input"), [] if no_plus else row.list("plus_input")
    base, plus = (
        [_call(row, field, function, arguments, likes) for arguments in some]
        for field, some in zip(("base_input", "plus_input"), inputs, strict=True)
    )
    lines = _QUOTES.sub("", clean(row.text("prompt"))).strip().split("\n")
    text = "\n".join(x for x in lines if not x.startswith("assert ")).strip()
    if not text:
        raise row.error("prompt", "is empty")
    tolerance = row.fields.get("atol", 0)
    is_number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
    if not is_number or tolerance < 0:
        raise row.error("atol", f"is {tolerance!r}, expected a number of 0 or more")
    compared = next((compared for compared, _ in examples if compared), _HOLE)
    return _Draft(
        number=number,
        task=Task(f"Mbpp/{number}", text, code, test_list=()),
        sources=tuple(compared.replace(_HOLE, call) for call in base + plus if call),
        shown=len(base) - base.count(None),
        complete=None not in base + plus,
        tolerance=float(tolerance),
    )


def _call(row: Row, field: str, function: str, arguments, likes: list) -> str | None:
    """Return a call with the arguments of an input; None if one has no literal."""
    if not isinstance(arguments, list):
        raise row.error(field, f"holds {str(arguments)[:40]!r}, expected lists")
    texts = [as_literal(value) for value in _typed(arguments, likes)]
    if None in texts:
        return None
    return f"{function}({', '.join(filter(None, texts))})"


def _examples(row: Row, function: str) -> Iterator[tuple[str | None, list | None]]:
    """Yield the compared expression and the arguments of each assert of a row."""
    for statement in row.parse("assertion", clean(row.text("assertion", ""))):
        if isinstance(statement, ast.Assert):
            calls = [
                node
                for node in ast.walk(statement)
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == function
            ]
            if len(calls) == 1:
                yield _compared(statement.test, calls[0]), _arguments(calls[0])


def _compared(test: ast.expr, call: ast.Call) -> str | None:
    """Return the expression that a test compares, with `_HOLE` for the call."""
    match test:
        case ast.Compare(left, [ast.Eq()], [_]):
            pass
        case ast.Call(ast.Name("isclose") | ast.Attribute(attr="isclose"), [left, *_]):
            pass
        case ast.UnaryOp(ast.Not(), left) | left if left is call:
            # Compared as a number: the sandbox lets no match object out.
            return f"int(bool({_HOLE}))"
        case _:
            return None
    if call not in ast.walk(left):
        return None
    return ast.unparse(left).replace(ast.unparse(call), _HOLE)


def _arguments(call: ast.Call) -> list | None:
    try:
        return [ast.literal_eval(argument) for argument in call.args]
    except (ValueError, TypeError):
        return None


def _size(value) -> int:
    return len(repr(value))


def _typed(arguments: Sequence, likes: Sequence) -> list:
    """Convert arguments to the types of the examples, as far as there are any."""
    examples = [*likes, *[None] * (len(arguments) - len(likes))]
    typed = []
    for value, example in zip(arguments, examples, strict=False):
        try:
            typed.append(_like(value, example))
        except (TypeError, ValueError, SyntaxError):
            typed.append(value)  # the example has another shape
    return typed


def _like(value, example):
    """Convert a JSON value to the types of an example."""
    if isinstance(example, complex) and isinstance(value, str):
        return complex(value)
    if isinstance(value, dict) and isinstance(example, dict) and example:
        kind, name = max(example.values(), key=_size), next(iter(example))
        # Keys are literals, unless the example's are strings.
        key_of = str if isinstance(name, str) else ast.literal_eval
        return {key_of(key): _like(item, kind) for key, item in value.items()}
    if not isinstance(value, list) or not isinstance(example, list | tuple | set):
        return value
    inner = [x for x in example if isinstance(x, _SHAPED)]
    kind = max(inner, key=_size, default=None)
    # Positions tell types apart only if there are as many.
    parts = [*example] if len(example) == len(value) else [kind] * len(value)
    parts = [part if isinstance(part, _SHAPED) else kind for part in parts]
    items = [_like(item, part) for item, part in zip(value, parts, strict=True)]
    return type(example)(items)

"""MBPP+ (EvalPlus, Liu et al. 2023): MBPP's tasks with many more inputs each.

Its rows hold inputs and no results: what a test expects is what the row's reference
gives, found out by an `evaluate` that the caller brings, since references are run in a
sandbox and this folder knows none. The values become literals in asserts, so that a
program is judged like by any other test and cannot reach the reference.

JSON has no tuples, sets, complex numbers or keys but strings. A row's own asserts
(`assertion`) do: they tell what an input was, and how results are compared (as sets,
say, or for truth).
"""

import ast
import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

from repair.errors import UserError
from repair.tasks import mbpp
from repair.tasks.expect import expect, literal
from repair.tasks.rows import Row, clean, clean_code, read_rows
from repair.tasks.task import Loaded, Task

TRAINING = "train"  # the split whose programs models are trained on
SPLITS = (*(name for name in mbpp.SPLITS if name != TRAINING), TRAINING, "all")

# From (program, expressions) of each job to the value of each expression, in a tuple,
# or None for one that has no plain value.
Evaluate = Callable[
    [Sequence[tuple[str, Sequence[str]]]], list[list[tuple[object] | None]]
]
# Of these an example can tell something that JSON does not.
_SHAPED = (list, tuple, set, dict, complex)
_JOBS = 32  # rows that are evaluated together
_HOLE = "_call_"
_QUOTES = re.compile(r"'''|\"\"\"")


def read(
    path: str | pathlib.Path,
    split: str,
    evaluate: Evaluate,
    *,
    count: int | None = None,
    training: bool = False,
) -> Loaded:
    """The tasks of one of MBPP's splits, or of all.

    Tests from `base_input` are shown, those from `plus_input` hidden.

    Args:
      path: EvalPlus's MbppPlus.jsonl.
      split: One of `SPLITS`.
      evaluate: Runs the references.
      count: At most so many tasks.
      training: Whether the tasks are for training. If not, "train" is refused, and
        "all" leaves out what is in it.

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
            left_out.append((draft.name, "MBPP's training split"))
    found = len(drafts) + len(left_out)
    if not found:
        raise UserError(f"{path} holds no row of MBPP's {split} split; give another")
    tasks: list[Task] = []
    changed = []
    for start in range(0, len(drafts), _JOBS):
        some = drafts[start : start + _JOBS]
        values = evaluate([(d.code, d.sources) for d in some])
        for draft, results in zip(some, values, strict=True):
            task, lost = draft.task(results)
            if task is None:
                left_out.append((draft.name, "its reference gives no plain value"))
                continue
            tasks.append(task)
            if lost:
                changed.append((draft.name, "without inputs that give no plain value"))
        if count is not None and len(tasks) >= count:
            break
    return Loaded(tuple(tasks[:count]), found, tuple(left_out), tuple(changed))


@dataclasses.dataclass(frozen=True)
class _Form:
    """How a row's asserts compare a result.

    Attributes:
      wrapped: What is compared, with `_HOLE` in the place of the call.
      truth: Whether nothing is compared, and only the result's being true counts.
    """

    wrapped: str = _HOLE
    truth: bool = False

    def source(self, call: str) -> str:
        """The expression whose value is wanted."""
        # A match of a regular expression, say, is no value that a sandbox lets out: so
        # it is the number that is asked for.
        called = f"int(bool({call}))" if self.truth else call
        return self.wrapped.replace(_HOLE, called)

    def test(self, call: str, value, tolerance: float) -> str | None:
        """An assert that the expression has this value."""
        return expect(self.source(call), value, tolerance)


@dataclasses.dataclass(frozen=True)
class _Draft:
    """A row without the values of its tests.

    The first `shown` of its calls are to be shown; `lost` says that there were more.
    """

    name: str
    number: int
    text: str
    code: str
    calls: tuple[str, ...]
    shown: int
    lost: bool
    form: _Form
    tolerance: float

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(map(self.form.source, self.calls))

    def task(self, results: Sequence[tuple | None]) -> tuple[Task | None, bool]:
        """The task, and whether some test is lost; None if none is left to show."""
        tests = [
            None if result is None else self.form.test(call, result[0], self.tolerance)
            for call, result in zip(self.calls, results, strict=True)
        ]
        shown = [test for test in tests[: self.shown] if test]
        hidden = [test for test in tests[self.shown :] if test and test not in shown]
        if not shown:
            return None, True
        task = Task(
            task_id=self.name,
            text=self.text,
            code=self.code,
            test_list=tuple(dict.fromkeys(shown)),
            hidden_test_list=tuple(dict.fromkeys(hidden)),
        )
        return task, self.lost or None in tests


def _draft(row: Row) -> _Draft:
    name, number = row.task_id, row.task_id
    if isinstance(name, str):
        digits = name.removeprefix("Mbpp/")
        if not digits.isdecimal():
            raise row.error("task_id", f"is {name!r}, expected Mbpp/N")
        number = int(digits)
    function = row.text("entry_point")
    code = clean_code(row.text("canonical_solution"))
    if f"def {function}" not in code:
        raise row.error("canonical_solution", f"defines no function {function!r}")
    examples = list(_examples(row, function))
    kinds = [max(column, key=_size) for column in _columns(examples)]
    base, plus = (
        [_call(row, field, function, arguments, kinds) for arguments in row.list(field)]
        for field in ("base_input", "plus_input")
    )
    text = _text(row.text("prompt"))
    if not text:
        raise row.error("prompt", "is empty")
    return _Draft(
        name=f"Mbpp/{number}",
        number=number,
        text=text,
        code=code,
        calls=tuple(call for call in base + plus if call),
        shown=len(base) - base.count(None),
        lost=None in base + plus,
        form=next((form for form, _ in examples if form), _Form()),
        tolerance=_tolerance(row),
    )


def _call(
    row: Row, field: str, function: str, arguments, kinds: Sequence
) -> str | None:
    """A call with the arguments of an input; None if one has no literal."""
    if not isinstance(arguments, list):
        raise row.error(field, f"holds {str(arguments)[:40]!r}, expected lists")
    texts = [literal(value) for value in _typed(arguments, kinds)]
    return None if None in texts else f"{function}({', '.join(texts)})"


def _text(prompt: str) -> str:
    """A prompt without its quotes and the asserts among its lines."""
    lines = _QUOTES.sub("", clean(prompt)).strip().split("\n")
    return "\n".join(x for x in lines if not x.startswith("assert ")).strip()


def _tolerance(row: Row) -> float:
    value = row.fields.get("atol", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise row.error("atol", f"is {value!r}, expected a number of 0 or more")
    return float(value)


def _examples(row: Row, function: str) -> Iterator[tuple[_Form | None, list | None]]:
    """Of each assert of a row how it compares, and the arguments, None if unclear."""
    source = row.text("assertion", "")
    try:
        body = ast.parse(clean(source)).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise row.error("assertion", f"is no Python ({error})") from error
    for statement in body:
        if isinstance(statement, ast.Assert):
            calls = [n for n in ast.walk(statement) if _calls(n, function)]
            if len(calls) == 1:
                yield _form(statement.test, calls[0]), _arguments(calls[0])


def _calls(node: ast.AST, function: str) -> bool:
    match node:
        case ast.Call(ast.Name(name)):
            return name == function
    return False


def _form(test: ast.expr, call: ast.Call) -> _Form | None:
    match test:
        case ast.Compare(left, [ast.Eq()], [_]):
            pass
        case ast.Call(ast.Name("isclose") | ast.Attribute(attr="isclose"), [left, *_]):
            pass
        case ast.UnaryOp(ast.Not(), left) | left if left is call:
            return _Form(truth=True)
        case _:
            return None
    return _Form(_around(left, call)) if call in ast.walk(left) else None


def _around(expression: ast.expr, call: ast.Call) -> str:
    source, hole = ast.unparse(expression), ast.unparse(call)
    return source.replace(hole, _HOLE)


def _arguments(call: ast.Call) -> list | None:
    try:
        return [ast.literal_eval(argument) for argument in call.args]
    except (ValueError, TypeError):
        return None


def _columns(examples) -> list[tuple]:
    rows = [arguments for _, arguments in examples if arguments]
    return list(zip(*rows, strict=False))


def _size(value) -> int:
    return len(repr(value))


def _typed(arguments: Sequence, kinds: Sequence) -> list:
    """Arguments in the types of the examples, as far as there are any."""
    examples = [*kinds, *[None] * (len(arguments) - len(kinds))]
    typed = []
    for value, example in zip(arguments, examples, strict=False):
        try:
            typed.append(_like(value, example))
        except (TypeError, ValueError, SyntaxError):
            typed.append(value)  # not such as the example is
    return typed


def _like(value, example):
    """A JSON value in the types of an example."""
    if isinstance(example, complex) and isinstance(value, str):
        return complex(value)
    if isinstance(value, dict) and isinstance(example, dict) and example:
        kind, name = max(example.values(), key=_size), next(iter(example))
        return {_key(key, name): _like(item, kind) for key, item in value.items()}
    if not isinstance(value, list) or not isinstance(example, list | tuple | set):
        return value
    inner = [x for x in example if isinstance(x, _SHAPED)]
    kind = max(inner, key=_size, default=None)
    # Positions tell types apart only if there are as many.
    parts = [*example] if len(example) == len(value) else [kind] * len(value)
    parts = [part if isinstance(part, _SHAPED) else kind for part in parts]
    items = [_like(item, part) for item, part in zip(value, parts, strict=True)]
    return type(example)(items)


def _key(key: str, example):
    """A JSON key, read as a literal where the example is no string."""
    return key if isinstance(example, str) else ast.literal_eval(key)

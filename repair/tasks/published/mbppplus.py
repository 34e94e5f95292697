"""MBPP+ (EvalPlus, Liu et al. 2023): MBPP's tasks with many more inputs each.

Its rows hold inputs and no results, so the sandbox runs each row's reference, and the
values become literals in asserts. A program under test cannot reach the reference.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from repair.errors import UserError
from repair.sandbox import Limits
from repair.sandbox.values import evaluate_expressions
from repair.tasks import mbpp
from repair.tasks.published import mbppplus_rules as rules
from repair.tasks.published.expect import as_literal
from repair.tasks.published.odd import OddRows
from repair.tasks.rows import Row, clean, clean_code, read_rows
from repair.tasks.task import Task, TaskList

TRAINING = "train"  # the split whose programs models are trained on
SPLITS = (*(name for name in mbpp.SPLITS if name != TRAINING), TRAINING, "all")

_NEEDED = (
    "EvalPlus's fields task_id, prompt, entry_point, canonical_solution, base_input and"
    " plus_input"
)
_JOBS = 32  # rows that are evaluated together
# Of a program with all inputs of its row, as much as EvalPlus gives: some references
# take half of it.
LIMITS = Limits(seconds=120.0, cpu_seconds=60.0)
_QUOTES = re.compile(r"'''|\"\"\"")


def read(
    path: str | pathlib.Path,
    split: str,
    *,
    count: int | None = None,
    training: bool = False,
) -> TaskList:
    """Read the tasks of one of MBPP's splits, or of all.

    Tests from `base_input` are shown, those from `plus_input` hidden. Rows of other
    splits are not looked at; a row that cannot be read is left out.

    Args:
      path: EvalPlus's MbppPlus.jsonl, or MbppPlus.jsonl.gz.
      split: One of `SPLITS`.
      count: At most so many tasks.
      training: Use for training. Without it "train" is refused, and "all" leaves out
        its tasks.

    Raises:
      UserError: The split is unknown or refused, it has no rows, the file cannot be
        read, or no row of it can; the message holds the file, the row and the field.
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
    drafts, odd = [], OddRows()
    for row in read_rows(path, _NEEDED):
        number = _number(row)
        own, name = mbpp.split_of(number), f"Mbpp/{number}"
        if split in (own, "all") and (own != TRAINING or training):
            with odd.leave_out(name):
                drafts.append(_draft(row, number))
        elif split == "all":
            odd.skip(name, "MBPP's training split")
    if not odd.found:
        raise UserError(f"{path} holds no row of MBPP's {split} split; give another")
    tasks: list[Task] = []
    for start in range(0, len(drafts), _JOBS):
        some = drafts[start : start + _JOBS]
        results = evaluate_expressions(
            [(draft.task.code, draft.asked) for draft in some], LIMITS
        )
        for draft, values in zip(some, results, strict=True):
            name, (task, complete) = str(draft.task.task_id), draft.finish(values)
            if task is None:
                odd.left_out.append((name, "its reference gives no plain value"))
                continue
            tasks.append(task)
            if not complete:
                odd.changed.append((name, "without inputs that give no plain value"))
        if count is not None and len(tasks) >= count:
            break
    return odd.finish(tasks).first(count)


@dataclasses.dataclass(frozen=True)
class _Draft:
    """A row whose tests still lack their expected values.

    Attributes:
      number: MBPP's task id.
      task: The task without tests.
      calls: Each call to test and its arguments; the first `shown` are shown.
      shown: See `calls`.
      complete: Every input of the row has become a call.
      tolerance: The absolute error that a float may have.
    """

    number: int
    task: Task
    calls: tuple[tuple[str, list], ...]
    shown: int
    complete: bool
    tolerance: float

    @property
    def asked(self) -> tuple[str, ...]:
        """The expressions to evaluate on the reference, one for each call."""
        return tuple(rules.asked(self.number, call) for call, _ in self.calls)

    def finish(self, values: Sequence[tuple | None]) -> tuple[Task | None, bool]:
        """Return the task, None if no test is left to show; and if all tests are left.

        Args:
          values: The value of each call in a tuple of one, None where there is none.
        """
        tests = [
            value
            and rules.expect_result(
                self.number, call, arguments, value[0], self.tolerance
            )
            for (call, arguments), value in zip(self.calls, values, strict=True)
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


def _number(row: Row) -> int:
    """Return MBPP's task id of a row."""
    number = row.task_id
    if isinstance(number, int):
        return number
    digits = number.removeprefix("Mbpp/")
    if not digits.isdecimal():
        raise row.error(
            "task_id", f"is {number!r}, expected Mbpp/N; give EvalPlus's MbppPlus.jsonl"
        )
    return int(digits)


def _draft(row: Row, number: int) -> _Draft:
    function = row.text("entry_point")
    code = clean_code(row.text("canonical_solution"))
    if f"def {function}" not in code:
        raise row.error("canonical_solution", f"defines no function {function!r}")
    base, plus = (
        [_call(row, field, function, number, arguments) for arguments in inputs]
        for field, inputs in (
            ("base_input", _inputs(row, "base_input")),
            ("plus_input", _inputs(row, "plus_input")),
        )
    )
    lines = _QUOTES.sub("", clean(row.text("prompt"))).strip().split("\n")
    text = "\n".join(x for x in lines if not x.startswith("assert ")).strip()
    if not text:
        raise row.error("prompt", "is empty")
    tolerance = row.fields.get("atol", 0)
    is_number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
    if not is_number or tolerance < 0:
        raise row.error("atol", f"is {tolerance!r}, expected a number of 0 or more")
    return _Draft(
        number=number,
        task=Task(f"Mbpp/{number}", text, code, test_list=()),
        calls=tuple(filter(None, base + plus)),
        shown=len(base) - base.count(None),
        complete=None not in base + plus,
        tolerance=float(tolerance),
    )


def _inputs(row: Row, field: str) -> list:
    # Mbpp/793 has an empty object for no inputs.
    return [] if row.fields.get(field) == {} else row.list(field)


def _call(
    row: Row, field: str, function: str, number: int, arguments
) -> tuple[str, list] | None:
    """Return a call and its arguments; None if one of them has no literal."""
    try:
        if not isinstance(arguments, list):
            raise TypeError("no list")
        values = rules.convert_arguments(number, arguments)
    except (TypeError, ValueError, AttributeError) as error:
        raise row.error(
            field,
            f"holds {str(arguments)[:40]!r}, expected lists of arguments in the"
            f" form of the task ({error})",
        ) from error
    texts = [as_literal(value) for value in values]
    if None in texts:
        return None
    return f"{function}({', '.join(filter(None, texts))})", values

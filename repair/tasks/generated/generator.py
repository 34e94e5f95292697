"""Seeded generator of small Python functions in MBPP's schema.

The default task set: enough to train and to measure on with no download. The split of
a task follows from a hash of its program without names, so that no program of one
split occurs in another under any names, for all seeds and counts; "heldout" has
families of its own.
"""

import hashlib
import random
from collections.abc import Callable
from types import CodeType

from repair.errors import UserError
from repair.tasks.generated.family import Family, Sketch, families
from repair.tasks.generated.variants import anonymous, near_misses
from repair.tasks.task import Task

COUNTS = {"train": 2000, "validation": 128, "test": 256, "heldout": 128}
SHOWN, HIDDEN = 3, 5
# Of sixteen hash buckets; "heldout" shares no family with these.
_BUCKETS = {"validation": range(0, 2), "test": range(2, 5), "train": range(5, 16)}
# Draws in a row without a new program after which a family counts as exhausted.
_PATIENCE = 400
# Calls among which the shown tests are chosen, and draws to find them.
_CALLS, _DRAWS = 20, 60
# Every token of an assert costs time at every step of training.
_MAX_ASSERT_CHARS = 80


def generate(split: str, seed: int = 0, count: int | None = None) -> list[Task]:
    """Draw tasks from the families in turn, no program twice.

    Args:
      split: "train", "validation", "test" or "heldout".
      seed: Seed of the draws; each gives other tasks of the same split.
      count: Number of tasks, by default `COUNTS[split]`. Fewer are the first of more.

    Returns:
      Tasks with three shown asserts and five hidden ones, whose values come from
      running the code. Same arguments, same bytes.

    Raises:
      UserError: The split does not exist or has fewer tasks.
    """
    if split not in COUNTS:
        raise UserError(
            f"generated tasks have no split {split!r}; choose one of"
            f" {', '.join(COUNTS)}"
        )
    count = COUNTS[split] if count is None else count
    living = families(held_out=split == "heldout")
    rng = random.Random(f"generated/{split}/{seed}")
    seen: set[str] = set()
    tasks: list[Task] = []
    while len(tasks) < count:
        for family in tuple(living):
            task = _draw(family, split, f"generated/{split}/{len(tasks)}", seen, rng)
            if task is None:
                living.remove(family)
            else:
                tasks.append(task)
        if not living:
            raise UserError(
                f"generated/{split} was asked for {count} tasks but gives only"
                f" {len(tasks)} different ones; ask for fewer"
            )
    return tasks[:count]


def _draw(
    family: Family, split: str, task_id: str, seen: set[str], rng: random.Random
) -> Task | None:
    """Draw a task with a new program, which joins `seen`; None if none is found."""
    for _ in range(_PATIENCE):
        sketch = family.sketch(rng)
        # Programs that differ by the function's name alone count as one.
        program = sketch.code.replace(sketch.name, "f")
        if program in seen or not _belongs(program, split):
            continue
        tests = _tests(sketch, rng)
        if tests is None:
            continue
        seen.add(program)
        return Task(
            task_id=task_id,
            text=sketch.text,
            code=sketch.code,
            test_list=tuple(tests[:SHOWN]),
            hidden_test_list=tuple(tests[SHOWN:]),
        )
    return None


def _belongs(program: str, split: str) -> bool:
    if split == "heldout":
        return True
    digest = hashlib.sha256(anonymous(program).encode()).digest()
    return digest[0] % 16 in _BUCKETS[split]


def _tests(sketch: Sketch, rng: random.Random) -> list[str] | None:
    """Make asserts, the shown ones first; None if the draws were unlucky.

    The shown ones are chosen, one after the other, to tell the program from most of
    its near misses, then to differ in value, then to be short.
    """
    run = _compile(sketch.code)
    values: dict[str, str] = {}
    calls: dict[str, CodeType] = {}
    for _ in range(_DRAWS):
        call = f"{sketch.name}({', '.join(map(repr, sketch.draw(rng)))})"
        if call in values:
            continue
        # The function gets new objects, as from the test's source.
        code = compile(call, "call", "eval")
        value = run(code)
        if len(_assert(call, value)) <= _MAX_ASSERT_CHARS:
            values[call], calls[call] = value, code
        if len(values) == _CALLS:
            break
    if len(values) < SHOWN + HIDDEN:
        return None
    misses = [_compile(code) for code in near_misses(sketch.code)]
    told = {
        call: {
            i for i, miss in enumerate(misses) if _outcome(miss, calls[call]) != value
        }
        for call, value in values.items()
    }
    shown: list[str] = []
    while len(shown) < SHOWN:
        known = set().union(*(told[call] for call in shown))
        old = {values[call] for call in shown}
        rest = [call for call in values if call not in shown]
        gains = {c: (len(told[c] - known), values[c] not in old) for c in rest}
        shown.append(max(rest, key=lambda c: (*gains[c], -len(c))))
    if len({values[call] for call in shown}) == 1:
        return None
    hidden = [call for call in values if call not in shown][:HIDDEN]
    return [_assert(call, values[call]) for call in shown + hidden]


def _assert(call: str, value: str) -> str:
    return f"assert {call} == {value}"


def _compile(code: str) -> Callable[[CodeType], str]:
    """Return a function from a compiled call to the text of its value.

    The code is this package's own, not a model's, so it runs in process.
    """
    scope: dict = {}
    exec(code, scope)
    return lambda call: repr(eval(call, scope))


def _outcome(run: Callable[[CodeType], str], call: CodeType) -> str:
    """Run a near miss, which may well fail, by an index past the end for example."""
    try:
        return run(call)
    except Exception as error:
        return type(error).__name__

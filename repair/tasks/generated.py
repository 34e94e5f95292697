"""A seeded generator of small Python functions in MBPP's schema.

It is the embedded default: enough to train and to measure on with no download.
A task's split follows from a hash of its program without names, so that no program
of one split occurs in another under any names, whatever the seeds and counts;
"heldout" has families of its own.
"""

import hashlib
import random
from collections.abc import Callable
from types import CodeType

from repair.errors import UserError
from repair.tasks import (
    families_compound,
    families_lists,
    families_numbers,
    families_text,
)
from repair.tasks.blocks import Sketch
from repair.tasks.task import Task
from repair.tasks.variants import anonymous, near_misses

FAMILIES = (
    families_lists.FAMILIES
    + families_compound.FAMILIES
    + families_numbers.FAMILIES
    + families_text.FAMILIES
)
HELD_OUT = families_lists.HELD_OUT + families_compound.HELD_OUT + families_text.HELD_OUT
COUNTS = {"train": 2000, "validation": 128, "test": 256, "heldout": 128}
SHOWN, HIDDEN = 3, 5
# Of sixteen hash buckets; "heldout" shares no family with these.
_BUCKETS = {"validation": range(0, 2), "test": range(2, 5), "train": range(5, 16)}
# Draws in a row without a new program after which a family counts as exhausted.
_PATIENCE = 400
# Calls among which the shown tests are chosen, and draws to find them.
_CALLS, _DRAWS = 20, 60
# Every token of an assert is paid for at every step of training.
_MAX_ASSERT_CHARS = 80


def generate(split: str, seed: int = 0, count: int | None = None) -> list[Task]:
    """Draws tasks; families take turns, and no two programs of a split are alike.

    Args:
      split: "train", "validation", "test" or "heldout".
      seed: Another seed gives other tasks from the same split.
      count: How many; by default `COUNTS[split]`. Fewer are the first of more.

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
    families = list(HELD_OUT if split == "heldout" else FAMILIES)
    rng = random.Random(f"generated/{split}/{seed}")
    seen: set[str] = set()
    tasks: list[Task] = []
    while len(tasks) < count:
        for family in tuple(families):
            task = _draw(family, split, f"generated/{split}/{len(tasks)}", seen, rng)
            if task is None:
                families.remove(family)
                continue
            tasks.append(task)
        if not families:
            raise UserError(
                f"generated/{split} was asked for {count} tasks but gives only"
                f" {len(tasks)} different ones; ask for fewer"
            )
    return tasks[:count]


def _draw(
    family: Callable[[random.Random], Sketch],
    split: str,
    task_id: str,
    seen: set[str],
    rng: random.Random,
) -> Task | None:
    """A task whose program is none of `seen` and joins it; None if there is none."""
    for _ in range(_PATIENCE):
        sketch = family(rng)
        # The function's name decides nothing, so it makes no program another.
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
    """Asserts, the shown ones first; None if the draws were unlucky.

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
        # The function gets what the test will evaluate, not our objects.
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
    """A function from a compiled call to its value's text.

    The code is this package's own, not a model's, so it runs in process.
    """
    scope: dict = {}
    exec(code, scope)
    return lambda call: repr(eval(call, scope))


def _outcome(run: Callable[[CodeType], str], call: CodeType) -> str:
    """What a near miss gives; it may well fail, by an index past the end say."""
    try:
        return run(call)
    except Exception as error:
        return type(error).__name__

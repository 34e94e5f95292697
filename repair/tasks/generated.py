"""A seeded generator of small Python functions in MBPP's schema.

It is the embedded default: enough to train and to measure on with no download.
A task's split follows from a hash of its program, so that no program of one split
occurs in another, whatever the seeds and counts; "heldout" has families of its own.
"""

import hashlib
import random

from repair.errors import UserError
from repair.tasks import families_lists, families_numbers, families_text
from repair.tasks.blocks import Sketch
from repair.tasks.task import Task

FAMILIES = families_lists.FAMILIES + families_numbers.FAMILIES + families_text.FAMILIES
HELD_OUT = families_lists.HELD_OUT + families_text.HELD_OUT
COUNTS = {"train": 2000, "validation": 128, "test": 256, "heldout": 128}
SHOWN, HIDDEN = 3, 5
# Of sixteen hash buckets; "heldout" shares no family with these.
_BUCKETS = {"validation": range(0, 2), "test": range(2, 5), "train": range(5, 16)}
# Draws in a row without a new program after which a split counts as exhausted.
_PATIENCE = 5000


def generate(split: str, seed: int = 0, count: int | None = None) -> list[Task]:
    """Draws tasks; families take turns, and no two programs of a split are alike.

    Args:
      split: "train", "validation", "test" or "heldout".
      seed: Another seed gives other tasks from the same split.
      count: How many; by default `COUNTS[split]`.

    Returns:
      Tasks with three shown asserts and five hidden ones, whose values come from
      running the code. Same arguments, same bytes.

    Raises:
      UserError: The split does not exist or has fewer tasks.
    """
    if split not in COUNTS:
        raise UserError(
            f"generated tasks have no split {split!r}; choose one of {', '.join(COUNTS)}"
        )
    count = COUNTS[split] if count is None else count
    families = HELD_OUT if split == "heldout" else FAMILIES
    rng = random.Random(f"generated/{split}/{seed}")
    seen: set[str] = set()
    tasks: list[Task] = []
    misses = 0
    while len(tasks) < count:
        sketch = families[len(tasks) % len(families)](rng)
        program = _nameless(sketch)
        fits = program not in seen and _belongs(program, split)
        tests = _tests(sketch, rng) if fits else None
        if tests is None:
            misses += 1
            if misses > _PATIENCE:
                raise UserError(
                    f"generated/{split} was asked for {count} tasks but gives only"
                    f" {len(tasks)} different ones; ask for fewer"
                )
            continue
        misses = 0
        seen.add(program)
        tasks.append(
            Task(
                task_id=f"generated/{split}/{len(tasks)}",
                text=sketch.text,
                code=sketch.code,
                test_list=tuple(tests[:SHOWN]),
                hidden_test_list=tuple(tests[SHOWN:]),
            )
        )
    return tasks


def _nameless(sketch: Sketch) -> str:
    """The program without its function's name, which decides nothing."""
    return sketch.code.replace(sketch.name, "f")


def _belongs(program: str, split: str) -> bool:
    if split == "heldout":
        return True
    digest = hashlib.sha256(program.encode()).digest()
    return digest[0] % 16 in _BUCKETS[split]


def _tests(sketch: Sketch, rng: random.Random) -> list[str] | None:
    """Eight different asserts, the shown ones not all of one value; None if unlucky."""
    scope: dict = {}
    exec(sketch.code, scope)  # our own code, not a model's
    tests: dict[str, str] = {}
    for _ in range(40):
        arguments = sketch.draw(rng)
        call = f"{sketch.name}({', '.join(map(repr, arguments))})"
        # The function gets what the test will evaluate, not our objects.
        value = repr(eval(call, scope))
        unvaried = len(tests) == SHOWN - 1 and set(tests.values()) == {value}
        if call not in tests and not unvaried:
            tests[call] = value
        if len(tests) == SHOWN + HIDDEN:
            return [f"assert {call} == {value}" for call, value in tests.items()]
    return None

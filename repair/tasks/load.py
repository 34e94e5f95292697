"""Tasks by name: the one place where `--tasks=...` is understood."""

import dataclasses
import pathlib

from repair.errors import UserError
from repair.tasks import humanevalfix, mbpp, mbppplus, quixbugs
from repair.tasks.generated import generate
from repair.tasks.jsonl import read_jsonl
from repair.tasks.mbppplus import Evaluate
from repair.tasks.task import Loaded, Task

# Published sets in formats of their own, and what their path is.
EVALUATION_SETS = {
    "quixbugs": "the folder of a clone of QuixBugs",
    "humanevalfix": "HumanEvalPack's Python rows (humanevalpack.jsonl)",
    "mbppplus": "EvalPlus's rows (MbppPlus.jsonl)",
}


def load_tasks(
    spec: str,
    *,
    path: str | None = None,
    seed: int = 0,
    count: int | None = None,
    evaluate: Evaluate | None = None,
) -> list[Task]:
    """The tasks of `load`."""
    loaded = load(spec, path=path, seed=seed, count=count, evaluate=evaluate)
    return list(loaded.tasks)


def load(
    spec: str,
    *,
    path: str | None = None,
    seed: int = 0,
    count: int | None = None,
    evaluate: Evaluate | None = None,
    training: bool = False,
) -> Loaded:
    """Loads tasks by name, and says what was left out.

    Args:
      spec: "generated/SPLIT", "mbpp/SPLIT", "quixbugs", "humanevalfix",
        "mbppplus/SPLIT" (also "mbppplus/all") or the path of a JSONL file.
      path: File or folder that a published set is read from.
      seed: Seed of the generator.
      count: At most so many tasks; for the generator exactly so many.
      evaluate: What runs the references of MBPP+, such as
        `repair.sandbox.values.evaluate`.
      training: Whether the tasks are for training, which alone may use those that MBPP
        has for it.

    Returns:
      The tasks, of a file in the order of its rows.

    Raises:
      UserError: The spec, the file or a row in it is wrong.
    """
    if is_evaluation_set(spec):
        return _load_set(spec, path, count, evaluate, training)
    source, _, split = spec.partition("/")
    if source == "generated":
        tasks = generate(split, seed, count)
    elif spec.endswith(".jsonl"):
        tasks = read_jsonl(spec)
    elif source == "mbpp":
        tasks = mbpp.read_split(path, split)
    else:
        raise UserError(
            f"unknown tasks {spec!r}; expected generated/SPLIT, mbpp/SPLIT,"
            f" {', '.join(EVALUATION_SETS)}/SPLIT or a path that ends in .jsonl"
        )
    return Loaded(tuple(tasks[:count]), len(tasks))


def is_evaluation_set(spec: str) -> bool:
    """Whether a spec names one of `EVALUATION_SETS`."""
    source, _, split = spec.partition("/")
    return source in EVALUATION_SETS and not split.endswith(".jsonl")


def _load_set(spec, path, count, evaluate, training) -> Loaded:
    source, slash, split = spec.partition("/")
    if not path:
        raise UserError(
            f"{spec} needs {EVALUATION_SETS[source]}: give its path (--path=..., or"
            " --config.tasks.eval_path for a run's evaluation)"
        )
    if source == "mbppplus":
        if evaluate is None:
            raise UserError(
                f"{spec} has its expected values from running its references, which"
                " cannot be done here; use it with python -m repair.evaluate"
            )
        return mbppplus.read(path, split, evaluate, count=count, training=training)
    if slash:
        raise UserError(f"{source} has no splits; use --tasks={source}")
    loaded = (quixbugs if source == "quixbugs" else humanevalfix).read(path)
    return dataclasses.replace(loaded, tasks=loaded.tasks[:count])


def load_pair(
    train: str,
    held: str,
    *,
    path: str = "",
    held_path: str = "",
    train_count: int | None = None,
    held_count: int | None = None,
    evaluate: Evaluate | None = None,
) -> tuple[list[Task], list[Task]]:
    """Loads tasks to train on and tasks held out of training, which share no program.

    Args:
      train: As for `load`.
      held: The same for the held-out tasks.
      path: A tasks file: what "mbpp/SPLIT" and published sets are read from, or what
        takes the place of `train`.
      held_path: The same for `held`. Where only `path` is given, and it has no rows of
        the held-out split, every tenth of its programs is held out.
      train_count: At most so many tasks to train on.
      held_count: At most so many held-out tasks.
      evaluate: As for `load`.

    Raises:
      UserError: Nothing is left to hold out, or a spec or file is wrong.
    """
    tasks = _load_from(train, path, None if path else train_count, evaluate, True)
    published = is_evaluation_set(held)
    if not path or held_path or published or _has_split(held, path):
        # A set is in a file of its own, unless both name the same one.
        shared = "" if published and held.partition("/")[0] not in train else path
        others = _load_from(held, held_path or shared, held_count, evaluate, False)
    else:
        # By programs: of one there may be many rows, each with another bug.
        chosen = set(list(dict.fromkeys(task.code for task in tasks))[9::10])
        others = [task for task in tasks if task.code in chosen]
    known = {task.code for task in others}
    tasks = [task for task in tasks if task.code not in known]
    if not others or not tasks:
        raise UserError(
            f"{path or train} and {held_path or held} leave {len(tasks)} tasks to train"
            f" on and {len(others)} to hold out; give held-out tasks of their own"
            " (tasks.eval, tasks.eval_path)"
        )
    return tasks[:train_count], others[:held_count]


def _load_from(
    spec: str, path: str, count: int | None, evaluate: Evaluate | None, training: bool
) -> list[Task]:
    if path and not spec.startswith("mbpp/") and not is_evaluation_set(spec):
        return read_jsonl(path)[:count]
    loaded = load(spec, path=path, count=count, evaluate=evaluate, training=training)
    return list(loaded.tasks)


def _has_split(spec: str, path: str) -> bool:
    source, _, split = spec.partition("/")
    if source != "mbpp":
        return False
    if pathlib.Path(path).is_dir():
        return True  # a dataset that knows its splits
    return any(mbpp.split_of(task.task_id) == split for task in read_jsonl(path))

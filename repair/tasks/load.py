"""Tasks by name: the one place where `--tasks=...` is understood."""

from repair.errors import UserError
from repair.tasks import mbpp
from repair.tasks.generated import generate
from repair.tasks.jsonl import read_jsonl
from repair.tasks.task import Task


def load_tasks(
    spec: str, *, path: str | None = None, seed: int = 0, count: int | None = None
) -> list[Task]:
    """Loads "generated/SPLIT", "mbpp/SPLIT" or the path of a JSONL file.

    Args:
      spec: What to load.
      path: File with MBPP's rows, needed for "mbpp/SPLIT".
      seed: Seed of the generator.
      count: At most so many tasks; for the generator exactly so many.

    Returns:
      The tasks, of a file in the order of its rows.

    Raises:
      UserError: The spec, the file or a row in it is wrong.
    """
    source, _, split = spec.partition("/")
    if source == "generated":
        return generate(split, seed, count)
    if source == "mbpp" and not spec.endswith(".jsonl"):
        return mbpp.read_split(path, split)[:count]
    if not spec.endswith(".jsonl"):
        raise UserError(
            f"unknown tasks {spec!r}; expected generated/SPLIT, mbpp/SPLIT or a path"
            " that ends in .jsonl"
        )
    return read_jsonl(spec)[:count]


def load_pair(
    train: str,
    held: str,
    *,
    path: str = "",
    held_path: str = "",
    train_count: int | None = None,
    held_count: int | None = None,
) -> tuple[list[Task], list[Task]]:
    """Loads tasks to train on and tasks held out of training, which share no program.

    Args:
      train: As for `load_tasks`.
      held: The same for the held-out tasks.
      path: A tasks file: the rows of "mbpp/SPLIT", or what takes the place of `train`.
      held_path: The same for `held`. Where only `path` is given, and it has no rows of
        the held-out split, every tenth of its tasks is held out.
      train_count: At most so many tasks to train on.
      held_count: At most so many held-out tasks.

    Raises:
      UserError: Nothing is left to hold out, or a spec or file is wrong.
    """
    tasks = _load_from(train, path, None if path else train_count)
    if not path or held_path or _has_split(held, path):
        others = _load_from(held, held_path or path, held_count)
    else:
        others = tasks[9::10]
    known = {task.code for task in others}
    tasks = [task for task in tasks if task.code not in known]
    if not others or not tasks:
        raise UserError(
            f"{path or train} and {held_path or held} leave {len(tasks)} tasks to train"
            f" on and {len(others)} to hold out; give held-out tasks of their own"
            " (tasks.eval, tasks.eval_path)"
        )
    return tasks[:train_count], others[:held_count]


def _load_from(spec: str, path: str, count: int | None) -> list[Task]:
    if path and not spec.startswith("mbpp/"):
        return read_jsonl(path)[:count]
    return load_tasks(spec, path=path, count=count)


def _has_split(spec: str, path: str) -> bool:
    source, _, split = spec.partition("/")
    rows = read_jsonl(path)
    return source == "mbpp" and any(mbpp.split_of(t.task_id) == split for t in rows)

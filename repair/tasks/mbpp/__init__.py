"""MBPP (Austin et al. 2021, arXiv 2108.07732): its splits, by task id."""

from repair.errors import UserError
from repair.tasks.jsonl import read_jsonl
from repair.tasks.task import Task

SPLITS = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
}


def split_of(task_id: int | str) -> str | None:
    """The split that a task id belongs to, or None."""
    return next((name for name, ids in SPLITS.items() if task_id in ids), None)


def read_split(path: str | None, split: str) -> list[Task]:
    """The tasks of one split from a file with MBPP's rows.

    Raises:
      UserError: No path was given, the split is unknown, or the file has none of it.
    """
    if split not in SPLITS:
        raise UserError(
            f"MBPP has no split {split!r}; choose one of {', '.join(SPLITS)}"
        )
    if not path:
        raise UserError(
            f"mbpp/{split} needs MBPP's public file: give its path"
            " (--path=mbpp.jsonl, or --config.tasks.path for training)"
        )
    tasks = [task for task in read_jsonl(path) if split_of(task.task_id) == split]
    if not tasks:
        ids = SPLITS[split]
        raise UserError(
            f"{path} holds no row of MBPP's {split} split (task ids {ids[0]} to"
            f" {ids[-1]}); give a file that does"
        )
    return tasks

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

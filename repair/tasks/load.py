"""Tasks by name: the only place that understands `--tasks=...`."""

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import mbpp
from repair.tasks.files import ENDS
from repair.tasks.generated import generate
from repair.tasks.jsonl import read_jsonl
from repair.tasks.published import checks, humanevalfix, mbppplus, quixbugs
from repair.tasks.task import Task, TaskList

# Published sets in formats of their own, and the path that each needs.
PUBLISHED = {
    "quixbugs": "the folder of a clone of QuixBugs",
    "humanevalfix": "HumanEvalPack's Python rows (humanevalpack.jsonl)",
    "mbppplus": "EvalPlus's rows (MbppPlus.jsonl.gz)",
}


def load_tasks(
    spec: str,
    *,
    path: str | None = None,
    seed: int = 0,
    count: int | None = None,
    training: bool = False,
    sandbox: Sandbox | None = None,
) -> TaskList:
    """Load tasks by name.

    Args:
      spec: "generated/SPLIT", "mbpp/SPLIT", "quixbugs", "humanevalfix",
        "mbppplus/SPLIT" (also "mbppplus/all") or the path of a file of tasks.
      path: File or folder of a published set, or a dataset on the Hub with its rows.
      seed: Seed of the generator.
      count: At most so many tasks; for the generator exactly so many.
      training: Use for training. Only then may MBPP+ give tasks of MBPP's training
        split.
      sandbox: Runs the references and known bugs of a published set, whose tests are
        changed where they do not hold (`published.checks`); None leaves them.

    Returns:
      The tasks, of a file in the order of its rows, and a record of the others.

    Raises:
      UserError: The spec, the file or a row in it is wrong.
    """
    source, _, split = spec.partition("/")
    if is_published(spec):
        published = _read_published(spec, path, count, training)
        return checks.check(published, sandbox) if sandbox else published
    if source == "generated":
        tasks = generate(split, seed, count)
    elif spec.endswith(ENDS):
        tasks = read_jsonl(spec)
    elif source == "mbpp":
        tasks = mbpp.read_split(path, split)
    else:
        raise UserError(
            f"unknown tasks {spec!r}; expected generated/SPLIT, mbpp/SPLIT,"
            f" {', '.join(PUBLISHED)}/SPLIT or a path that ends in {', '.join(ENDS)}"
        )
    return TaskList(tasks[:count], len(tasks))


def is_published(spec: str) -> bool:
    """Return True for the name of a published set."""
    source, _, split = spec.partition("/")
    return source in PUBLISHED and not split.endswith(ENDS)


def _read_published(
    spec: str, path: str | None, count: int | None, training: bool
) -> TaskList:
    source, slash, split = spec.partition("/")
    if not path:
        raise UserError(
            f"{spec} needs {PUBLISHED[source]}: give its path (--path=..., or"
            " --config.tasks.eval_path for a run's evaluation)"
        )
    if source == "mbppplus":
        return mbppplus.read(path, split, count=count, training=training)
    if slash:
        raise UserError(f"{source} has no splits; use --tasks={source}")
    return (quixbugs if source == "quixbugs" else humanevalfix).read(path).first(count)


def load_faulty(path: str) -> list[Task]:
    """Load a file of faulty programs, as `repair.make_data --kind=faulty` writes it.

    Raises:
      UserError: The file or a row in it is wrong, or a row has no faulty program.
    """
    tasks = read_jsonl(path)
    for number, task in enumerate(tasks, 1):
        if task.faulty_code is None:
            raise UserError(
                f"{path}: task {task.task_id!r}, row {number}, has no faulty_code;"
                " give a file of repair.make_data --kind=faulty"
            )
    return tasks


def load_pair(
    train: str,
    held: str,
    *,
    path: str = "",
    held_path: str = "",
    train_count: int | None = None,
    held_count: int | None = None,
) -> tuple[list[Task], list[Task]]:
    """Load tasks to train on and tasks held out of training, which share no program.

    Args:
      train: Name of the tasks to train on, as for `load_tasks`.
      held: Name of the held-out tasks.
      path: A tasks file: the source of "mbpp/SPLIT" and of published sets; in place of
        other names, its rows are the tasks.
      held_path: The same for `held`. If only `path` is given, and it has no rows of
        the held-out split, every tenth of its programs is held out.
      train_count: At most so many tasks to train on.
      held_count: At most so many held-out tasks.

    Raises:
      UserError: Nothing is left to hold out, or a spec or file is wrong.
    """
    tasks = _load_from(train, path, None if path else train_count, training=True)
    if not path or held_path or is_published(held) or _has_split(held, path):
        # A published set has a file of its own, unless both names are of one set.
        other_set = is_published(held) and held.partition("/")[0] not in train
        held_from = held_path or ("" if other_set else path)
        others = _load_from(held, held_from, held_count, training=False)
    else:
        # By programs: one may have many rows, each with another bug.
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
    spec: str, path: str, count: int | None, *, training: bool
) -> list[Task]:
    if path and not spec.startswith("mbpp/") and not is_published(spec):
        return read_jsonl(path)[:count]
    return load_tasks(spec, path=path, count=count, training=training)


def _has_split(spec: str, path: str) -> bool:
    source, _, split = spec.partition("/")
    if source != "mbpp":
        return False
    if mbpp.is_tfds(path):
        return True  # a TensorFlow dataset records its splits
    return bool(read_jsonl(path, lambda task_id: mbpp.split_of(task_id) == split))

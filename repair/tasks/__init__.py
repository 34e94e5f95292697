"""Programming tasks: records, readers, generator, and corruptions of programs."""

from repair.tasks.jsonl import read_jsonl
from repair.tasks.load import load_faulty, load_pair, load_tasks
from repair.tasks.task import Bug, Task, TaskList

__all__ = [
    "Bug",
    "Task",
    "TaskList",
    "load_faulty",
    "load_pair",
    "load_tasks",
    "read_jsonl",
]

"""What is to be repaired: tasks, their files, and how programs get broken."""

from repair.tasks.jsonl import read_jsonl
from repair.tasks.load import load_pair, load_tasks
from repair.tasks.task import Bug, Task

__all__ = ["Bug", "Task", "load_pair", "load_tasks", "read_jsonl"]

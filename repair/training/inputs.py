"""Check of everything that a run is given, before it makes or writes anything."""

from collections.abc import Callable

from repair.demos.records import read_demos
from repair.demos.traces import read_traces
from repair.model.hf.folder import check_source, settings_folder
from repair.model.hf.peft import read_peft
from repair.tasks import load_faulty
from repair.training.checkpoint import is_checkpoint
from repair.training.initial_weights import tokenizer_source
from repair.training.task_set import TaskSet, open_tokenizer


def check_inputs(task_set: TaskSet) -> None:
    """Check the inputs of a run but for its tasks: model, tokenizer, files.

    A model on the Hub is fetched; no weight is read.

    Raises:
      UserError: One of them is missing or wrong.
    """
    c = task_set.config
    if c.init_from and not is_checkpoint(c.init_from):
        check_source(c.init_from)
    if c.adapter:
        read_peft(c.adapter)
    if words := c.text.tokenizer or c.init_from:
        source = tokenizer_source(words)
        with settings_folder(source) as folder:
            open_tokenizer(folder, task_set)
    readers: tuple[tuple[str, Callable], ...] = (
        (c.demos.path, read_demos),
        (c.text.examples, read_demos),
        (c.demos.traces, read_traces),
        (c.rlvr.bugs, load_faulty),
    )
    for path, read in readers:
        if path:
            read(path)

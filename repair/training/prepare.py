"""Demonstrations and tokenizer of a run.

They are made once and kept in the workdir, from where a resumed run reads them.
"""

import dataclasses
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence

from repair.demos.answers import as_answers
from repair.demos.records import Demo, read_demos, write_demos
from repair.errors import UserError
from repair.model.hf.folder import copy_settings
from repair.sandbox import Sandbox
from repair.tasks import Task
from repair.text.prompts import render_prompt
from repair.text.tokenizer import Tokenizer, train_tokenizer
from repair.training.bug_source import check_held_out
from repair.training.config import Config
from repair.training.initial_weights import tokenizer_source
from repair.training.task_set import TaskSet
from repair.training.workdir import Results, load_object, path_digest, written_folder

# Demonstrations that a tokenizer is trained on; more change next to nothing.
_TOKENIZER_DEMOS = 2000
# Ends an answer of many lines, in a tokenizer of our own.
_END = "<end>"


def prepare_demos(
    task_set: TaskSet,
    workdir: pathlib.Path,
    report: Callable[[str], None],
    tasks: tuple[list[Task], list[Task]],
    sandbox: Sandbox,
    results: Results,
) -> list[Demo]:
    """Return the demonstrations of a run: kept, read from `demos.path`, or made.

    Args:
      task_set: Makes them.
      workdir: Folder of the run; its demos.jsonl keeps them.
      report: Gets a line of text.
      tasks: Those to train on, and those held out.
      sandbox: Runs the tests.
      results: Gets the report and the seconds.

    Raises:
      UserError: A file is wrong, or has demonstrations of programs that are held out.
    """
    path = workdir / "demos.jsonl"
    if path.exists():
        kept = results.values.get("demos", {}).get("digest")
        try:
            found = path_digest(path)
            if kept not in (None, found):
                raise UserError("it has other bytes than the run wrote")
            demos = read_demos(path)
            results.add("demos", digest=found)
            return demos
        except UserError as error:
            path.rename(path.with_name(path.name + ".damaged"))
            report(f"{path} is damaged and set aside ({error})")
    if source := task_set.config.demos.path:
        demos = read_demos(source)
        trained = (demo.bug.task for demo in demos)
        check_held_out("demonstration", trained, tasks[1], source)
        report(f"demonstrations: {len(demos)} from {source}")
    else:
        started = time.perf_counter()
        demos, made = task_set.demos(tasks[0], sandbox)
        # Figures first: once the file is there, nothing comes back here.
        results.add("demos", **dataclasses.asdict(made))
        results.set_seconds("demos", time.perf_counter() - started)
        report(made.line())
    write_demos(path, demos)
    results.add("demos", digest=path_digest(path))
    return demos


def prepare_tokenizer(
    task_set: TaskSet,
    workdir: pathlib.Path,
    report: Callable[[str], None],
    demos: Sequence[Demo],
) -> None:
    """Put the run's tokenizer into the workdir, unless it is there.

    It is that of the config, or else one trained on the demonstrations. A damaged one
    is set aside and made anew.
    """
    config, prompt = task_set.config, task_set.prompt
    folder = workdir / "tokenizer"
    if folder.exists():
        files = {*folder.glob("*.json"), folder / "tokenizer.json"}
        torn = [p for p in files if not p.exists() or load_object(p) is None]
        if not torn:
            return
        aside = folder.with_name(folder.name + ".damaged")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        names = ", ".join(sorted(p.name for p in torn))
        report(f"{folder} is damaged and set aside ({names} is no JSON object)")
    with written_folder(folder) as new:
        if source := config.text.tokenizer:
            copy_settings(source, new)
        elif source := config.init_from:
            copy_settings(tokenizer_source(source), new)
        else:
            _train_tokenizer(config, prompt, demos).save(new)


def _train_tokenizer(config: Config, prompt, demos: Sequence[Demo]) -> Tokenizer:
    """Return a tokenizer trained on some of the demonstrations."""
    every = max(len(demos) // _TOKENIZER_DEMOS, 1)
    texts = [
        render_prompt(demo.bug.task, prompt, config.mode)
        + "".join(
            f"{state}{command}\n"
            for state, command in zip(demo.states, demo.commands, strict=True)
        )
        for demo in as_answers(demos[::every], config.mode)
    ]
    size = config.model.vocab_size
    if config.mode == "coe":
        return Tokenizer(train_tokenizer(texts, size), prompt)
    tokenizer = train_tokenizer(texts, size, ("<pad>", _END))
    ends = [tokenizer.token_to_id(_END)]
    return Tokenizer(tokenizer, prompt, mode=config.mode, eos_ids=ends)

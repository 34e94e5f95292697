"""Demonstrations, tokenizer and starting weights of a run.

Demonstrations and tokenizer are made once and kept in the workdir, from where a resumed
run reads them.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import jax

from repair.demos.answers import as_answers
from repair.demos.records import Demo, read_demos, write_demos
from repair.errors import UserError
from repair.model.api import Model
from repair.model.hf.folder import copy_settings, load_hf
from repair.model.hf.model_config import RUN_FIELDS
from repair.model.lora import init_adapters
from repair.model.sharding import build
from repair.sandbox import Sandbox
from repair.tasks import Task
from repair.text.prompts import render_prompt
from repair.text.tokenizer import Tokenizer, train_tokenizer
from repair.training.config import Config
from repair.training.task_set import TaskSet
from repair.training.workdir import Results

# Demonstrations that a tokenizer is trained on; more change next to nothing.
_TOKENIZER_DEMOS = 2000
# Ends an answer of many lines, in a tokenizer of our own.
_END = "<end>"


def prepare_demos(
    task_set: TaskSet,
    tasks: tuple[list[Task], list[Task]],
    sandbox: Sandbox,
    workdir: pathlib.Path,
    results: Results,
    report: Callable[[str], None],
) -> list[Demo]:
    """Return the demonstrations of a run: kept, read from `demos.path`, or made.

    Args:
      task_set: Makes them.
      tasks: Those to train on, and those held out.
      sandbox: Runs the tests.
      workdir: Folder of the run; its demos.jsonl keeps them.
      results: Gets the report and the seconds.
      report: Gets a line of text.

    Raises:
      UserError: A file is wrong, or has demonstrations of programs that are held out.
    """
    path = workdir / "demos.jsonl"
    if path.exists():
        return read_demos(path)
    if source := task_set.config.demos.path:
        demos = read_demos(source)
        _check_held_out(demos, tasks[1], source)
        report(f"demonstrations: {len(demos)} from {source}")
    else:
        with results.timed("demos"):
            demos, made = task_set.demos(tasks[0], sandbox)
            # Figures first: once the file is there, nothing comes back here.
            results.set("demos", dataclasses.asdict(made))
        report(made.line())
    write_demos(path, demos)
    return demos


def _check_held_out(demos: Sequence[Demo], held_out: list[Task], path: str) -> None:
    codes = {task.code for task in held_out}
    for number, demo in enumerate(demos, 1):
        if demo.bug.task.code in codes:
            raise UserError(
                f"demonstration {number} of {path} repairs the program of task"
                f" {demo.bug.task.task_id!r}, which is held out; make the"
                " demonstrations of the training tasks alone, or choose other tasks to"
                " hold out (tasks.eval)"
            )


def prepare_tokenizer(
    task_set: TaskSet, demos: Sequence[Demo], folder: pathlib.Path
) -> None:
    """Put the run's tokenizer into a folder, unless it is there.

    It is that of the config, or else one trained on the demonstrations.
    """
    config, prompt = task_set.config, task_set.prompt
    if (folder / "tokenizer.json").exists():
        return
    if source := config.text.tokenizer or config.init_from:
        copy_settings(source, folder)
        return
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
        Tokenizer(train_tokenizer(texts, size), prompt).save(folder)
    else:
        tokenizer = train_tokenizer(texts, size, ("<pad>", _END))
        ends = [tokenizer.token_to_id(_END)]
        Tokenizer(tokenizer, prompt, mode=config.mode, eos_ids=ends).save(folder)


def prepare_model(config: Config, mesh) -> tuple[Model, dict]:
    """Return the model of a run and the parameters that it starts from.

    These are the weights of `init_from`, with new adapters, or random ones by the seed.
    """
    key = jax.random.key(config.seed)
    if not config.init_from:
        model = Model(config.model, mesh)
        return model, build(mesh, model.init_params, key)
    ours = {name: getattr(config.model, name) for name in RUN_FIELDS}
    shape, params = load_hf(config.init_from, mesh, **ours)
    if shape.lora_rank:
        params |= build(mesh, lambda k: init_adapters(shape, k), key)
    return Model(shape, mesh), params

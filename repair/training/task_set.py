"""Task sets: tasks, demonstrations, prompt, tool and verifier of a run in one place.

`RepairTaskSet` is the package's own. A class of one's own with the same methods takes
its place in `run` and `load_policy`: docs/your_own_tool.md.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from repair.demos.answers import as_answers
from repair.demos.make import Demo, make_demos
from repair.demos.records import read_demos
from repair.demos.replay import Replayed
from repair.demos.statistics import DemoReport
from repair.env.tools import Tool, tool_of
from repair.env.verifier import Verifier
from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Bug, Task, load_faulty, load_pair
from repair.tasks.bugs import distinct_programs, make_bugs
from repair.text.prompts import Prompt
from repair.text.tokenizer import Tokenizer, load_tokenizer
from repair.training.config import Config, DemosConfig
from repair.training.metrics import progress


class TaskSet(Protocol):
    """The interface between a config and the stages.

    Everything here is a function of the config, so that a resumed run, and every
    process of it, gets the same.

    Attributes:
      name: Value of `Config.task_set`.
      config: The run's config.
      prompt: A style of `repair.text.prompts.PROMPTS`, or a function from the task to
        the text before the first state.
    """

    name: str
    config: Config
    prompt: Prompt

    def open_verifier(self) -> Verifier:
        """Return the verifier of the states; used in a `with`."""

    def make_tool(self, state: str) -> Tool:
        """Return the tool at the start of an episode, from `Bug.faulty_code`."""

    def tasks(self) -> tuple[list[Task], list[Task]]:
        """Return the tasks that a run trains on, and those that it holds out."""

    def bugs(self, tasks: list[Task], verifier: Verifier, seed: int) -> list[Bug]:
        """Return the bugs that episodes of RLVR and evaluation start from."""

    def demos(
        self, tasks: list[Task], verifier: Verifier
    ) -> tuple[list[Demo], DemoReport | Replayed]:
        """Return solved episodes, and a report on all candidates."""


class RepairTaskSet:
    """Broken programs, their tests in the sandbox, and the tool of the mode."""

    name = "repair"

    def __init__(self, config: Config):
        self.config = config

    @property
    def prompt(self) -> Prompt:
        """The style that the config names."""
        return self.config.text.prompt

    @property
    def make_tool(self) -> Callable[[str], Tool]:
        """The editor, or the tool of answers in one piece."""
        return tool_of(self.config.mode, self.config.text.max_answers)

    def open_verifier(self) -> Sandbox:
        """Return a sandbox with the config's limits."""
        workers = self.config.sandbox_workers or None
        return Sandbox(workers, self.config.sandbox)

    def tasks(self) -> tuple[list[Task], list[Task]]:
        """Return the tasks that a run trains on, and those that it holds out."""
        c, path = self.config.tasks, self.config.eval.bugs
        train, held_out = load_pair(
            c.train,
            c.eval,
            path=c.path,
            held_path=c.eval_path,
            train_count=c.train_count or None,
            held_count=c.eval_count or None,
        )
        if not path:
            return train, held_out
        held_out = load_faulty(path)
        codes = {task.code for task in held_out}
        train = [task for task in train if task.code not in codes]
        if not train:
            raise UserError(
                f"eval.bugs={path} has bugs of all tasks to train on, which leaves"
                " none; give other tasks.train"
            )
        return train, held_out

    def bugs(
        self, tasks: list[Task], verifier: Verifier, seed: int, per_task: int = 1
    ) -> list[Bug]:
        """Return faulty programs of every task."""
        return make_bugs(tasks, verifier, self._corruptions(seed, per_task=per_task))

    def demos(
        self, tasks: list[Task], verifier: Verifier
    ) -> tuple[list[Demo], DemoReport]:
        """Return corrupted programs and the edits that mend them."""
        config = self._corruptions(self.config.seed)
        total = len(distinct_programs(tasks)) * config.per_task
        with progress(total, "demonstrations") as bar:
            return make_demos(
                tasks,
                verifier,
                config,
                max_turns=self.config.text.max_turns,
                progress=lambda done, _: bar.update(done),
            )

    def _corruptions(self, seed: int, **changes) -> DemosConfig:
        demos = self.config.demos
        return dataclasses.replace(demos, seed=seed + demos.seed, **changes)


def open_tokenizer(folder, task_set: TaskSet) -> Tokenizer:
    """Load a tokenizer for the prompts, mode and worked examples of a task set.

    Raises:
      UserError: The tokenizer, or the file of the examples, is unreadable or does not
        go with the prompt or mode.
    """
    config, examples = task_set.config, list[Demo]()
    if path := config.text.examples:
        # A fence shows a model that was never trained here where its answer ends.
        examples = as_answers(read_demos(path), config.mode, fenced=True)
    return load_tokenizer(folder, task_set.prompt, config.mode, examples)


def open_task_set(config: Config, make: Callable[[Config], TaskSet]) -> TaskSet:
    """Return the task set of a config.

    Raises:
      UserError: The config is that of another task_set, or asks for what only the
        package's own tools can do.
    """
    task_set = make(config)
    if task_set.name != config.task_set:
        raise UserError(
            f"config: task_set is {config.task_set!r}, but this runs"
            f" {task_set.name!r}; use the command that {config.task_set!r} brings, or"
            " give its class as task_set= to training.run or load_policy"
        )
    if task_set.make_tool is tool_of(config.mode, config.text.max_answers):
        return task_set
    for holds, field in (
        (config.mode == "coe", f"mode={config.mode!r}"),
        (not config.demos.path, "demos.path"),
        (not config.rlvr.bugs, "rlvr.bugs"),
        (not config.eval.bugs, "eval.bugs"),
        (config.rlvr.bugs_per_task == 1, "rlvr.bugs_per_task"),
        (config.eval.bugs_per_task == 1, "eval.bugs_per_task"),
    ):
        if not holds:
            raise UserError(
                f"config: {field} is for the tools of the task set"
                f" {RepairTaskSet.name!r}, not for that of {task_set.name!r}; leave it"
                " out"
            )
    return task_set

"""What a run is about: tasks, demonstrations, prompt, tool and judge, in one place.

`Repair` is what this package is for. A class of one's own that has the same methods
takes its place in `experiment.run` and `policy.load_policy`: docs/your_own_tool.md.
"""

from collections.abc import Callable
from typing import Protocol

from repair.env.answers import tool_of
from repair.env.bugs import make_bugs
from repair.env.demos import Demo, make_demos
from repair.env.environment import Tool
from repair.env.figures import DemoReport
from repair.env.judge import Judge
from repair.env.replay import Replayed
from repair.env.sandbox import Sandbox
from repair.env.sandbox.values import evaluate as evaluate_references
from repair.errors import UserError
from repair.learn.config import Config
from repair.learn.metrics import progress
from repair.tasks import Bug, Task, load_pair
from repair.text.prompts import Prompt


class Domain(Protocol):
    """What stands between a config and the stages; made from the config alone.

    Everything here is a function of the config, so that a run that was killed, and
    every process of it, meets the same.

    Attributes:
      name: What `Config.domain` holds.
      config: The run's.
      prompt: A style of `repair.text.prompts.PROMPTS`, or what stands before the first
        state as a function of the task.
    """

    name: str
    config: Config
    prompt: Prompt

    def open_judge(self) -> Judge:
        """What judges the states; used in a `with`."""

    def make_tool(self, state: str) -> Tool:
        """The tool at the start of an episode: `Bug.faulty_code`."""

    def tasks(self) -> tuple[list[Task], list[Task]]:
        """The tasks that a run trains on, and those that it holds out."""

    def bugs(self, tasks: list[Task], judge: Judge, seed: int) -> list[Bug]:
        """Where the episodes of RLVR and evaluation start."""

    def demos(
        self, tasks: list[Task], judge: Judge
    ) -> tuple[list[Demo], DemoReport | Replayed]:
        """Solved episodes, and what became of the others."""


class Repair:
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
        """The editor, or the tool of one answer."""
        return tool_of(self.config.mode)

    def open_judge(self) -> Sandbox:
        """A sandbox with the config's limits."""
        return Sandbox(limits=self.config.sandbox)

    def tasks(self) -> tuple[list[Task], list[Task]]:
        """The tasks that a run trains on, and those that it holds out."""
        c = self.config.tasks
        return load_pair(
            c.train,
            c.eval,
            path=c.path,
            held_path=c.eval_path,
            train_count=c.train_count or None,
            held_count=c.eval_count or None,
            evaluate=evaluate_references,
        )

    def bugs(self, tasks: list[Task], judge: Judge, seed: int) -> list[Bug]:
        """One faulty program of every task."""
        c = self.config.demos
        return make_bugs(
            tasks,
            judge,
            per_task=1,
            corruptions=(c.min_corruptions, c.max_corruptions),
            kinds=c.kinds,
            seed=seed,
        )

    def demos(self, tasks: list[Task], judge: Judge) -> tuple[list[Demo], DemoReport]:
        """Corrupted programs and the edits that mend them."""
        c = self.config.demos
        with progress(len(tasks) * c.per_task, "demonstrations") as bar:
            return make_demos(
                tasks,
                judge,
                per_task=c.per_task,
                corruptions=(c.min_corruptions, c.max_corruptions),
                order=c.order,
                kinds=c.kinds,
                seed=self.config.seed,
                max_turns=self.config.text.max_turns,
                progress=lambda done, _: bar.update(done),
            )


def open_domain(config: Config, make: Callable[[Config], Domain]) -> Domain:
    """The domain of a config.

    Raises:
      UserError: The config is that of another domain, or asks for what only the
        package's own tools can do.
    """
    domain = make(config)
    if domain.name != config.domain:
        raise UserError(
            f"config: domain is {config.domain!r}, but this runs {domain.name!r}; use"
            f" the command that {config.domain!r} brings, or give its class as domain="
            " to experiment.run or policy.load_policy"
        )
    if domain.make_tool is tool_of(config.mode):
        return domain
    for holds, field in (
        (config.mode == "coe", f"mode={config.mode!r}"),
        (not config.sampler.grammar, "sampler.grammar"),
        (not config.demos.path, "demos.path"),
    ):
        if not holds:
            raise UserError(
                f"config: {field} is for the tools of the domain {Repair.name!r}, not"
                f" for that of {domain.name!r}; leave it out"
            )
    return domain

"""The environment in verifiers, and so in prime-rl.

verifiers finds it by the name `repair-editor` (`vf-eval repair-editor`, or
`id = "repair-editor"` under `[env.taskset]`); in Python `load_environment` returns the
same. A task is one bug, so the rollouts of a task are a group. The process that loads
tasks makes the bugs, the one that plays episodes runs the tests, each in a sandbox of
its own.
"""

import asyncio
import dataclasses
import inspect
import re
import ssl
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import pydantic
import verifiers.v1 as vf
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_config import BaseConfig
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harness import HarnessConfig

from repair.env import Environment, Rewards, Sandbox, StepResult, reset_all
from repair.integrations.problems import open_problems, outcome
from repair.tasks import Bug
from repair.tasks.bugs import CorruptionConfig

PLUGIN = "repair-editor"


class Section(BaseConfig):
    """A dataclass of ours as a section of verifiers' config."""

    model_config = pydantic.ConfigDict(from_attributes=True)
    kind: ClassVar[type]

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        self.value()
        return self

    def value(self) -> Any:
        """Return the dataclass; UserError if a value is out of range."""
        return self.kind(**dict(self))


def section(defaults: Any) -> type[Section]:
    """Return a section with the fields of a dataclass, and their help of its docstring.

    Args:
      defaults: An instance with the default values.
    """
    text = inspect.getdoc(defaults).partition("Attributes:\n")[2].partition("\n\n")[0]
    texts = dict(re.findall(r"^  (\w+): (.*(?:\n    .*)*)", text, re.MULTILINE))
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(defaults):
        described = " ".join(texts[field.name].split())
        default = getattr(defaults, field.name)
        fields[field.name] = field.type, pydantic.Field(default, description=described)
    kind = type(defaults)
    made = pydantic.create_model(kind.__name__, __base__=Section, **fields)
    made.kind = kind
    return made


BugsSection = section(CorruptionConfig(per_task=1))
RewardsSection = section(Rewards())


class RepairTasksetConfig(vf.TasksetConfig):
    """The bugs; equal settings give equal bugs. verifiers shows the texts as help."""

    tasks: str = "generated/train"
    """Name of a task set, for `repair.tasks.load_tasks`."""
    path: str | None = None
    """File or folder of a published set."""
    count: int | None = None
    """Most tasks; of generated tasks the exact number. None for all: 2,000 generated
    ones."""
    bugs: BugsSection = BugsSection()
    """The bugs of a task; the seed draws generated tasks too."""
    prompt: str = "full"
    """The prompt: "full", or "short" for a model trained from scratch on it."""


class RepairData(vf.TaskData):
    """A bug on its way to the process that plays it; it has the hidden tests too."""

    bug: Bug


class RepairTask(vf.Task[RepairData, vf.State, vf.TaskConfig]):
    """One bug."""


class RepairTaskset(vf.Taskset[RepairTask, RepairTasksetConfig]):
    """Bugs of a named task set; a prompt ends with the first state."""

    def load(self) -> Iterator[RepairTask]:
        """Make the bugs; UserError if a setting is wrong."""
        c = self.config
        with open_problems(
            c.tasks, path=c.path, count=c.count, bugs=c.bugs.value(), prompt=c.prompt
        ) as problems:
            bugs = problems.bugs
            steps = reset_all([problems.make_environment() for _ in bugs], bugs)
        for bug, step in zip(bugs, steps, strict=True):
            data = RepairData(
                id=bug.bug_id,
                name=bug.bug_id,
                prompt=problems.prompt(bug) + step.state_text,
                bug=bug,
            )
            yield RepairTask(data, c.task)


class ChatHarness(vf.Harness[HarnessConfig]):
    """One reply of the policy; verifiers' "null" starts a process for every turn."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(self, ctx, trace, runtime, endpoint, secret, mcp_urls, data):
        """Ask for one reply through verifiers' own endpoint, which records it."""
        if not isinstance(runtime.config, vf.SubprocessConfig):
            found = runtime.config.type
            raise ValueError(f"the runtime is {found!r}; {PLUGIN} needs 'subprocess'")
        system, prompt = self.resolve_prompt(data)
        messages = [{"role": "system", "content": system}] if system else []
        if isinstance(prompt, str):
            messages.append({"role": "user", "content": prompt})
        else:
            messages += [message_to_wire(message) for message in prompt]
        # The endpoint is on this machine, so no certificates: to load them would hold
        # up all episodes at every turn. verifiers itself limits the time.
        http = DefaultAsyncHttpxClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        async with AsyncOpenAI(
            base_url=endpoint, api_key=secret, timeout=None, http_client=http
        ) as client:
            await client.chat.completions.create(model=ctx.model, messages=messages)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


class RepairEnvConfig(vf.EnvConfig):
    """Rules of the episodes. verifiers shows the texts as help."""

    policy: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    """The agent. Its limits of tokens cut an episode as a full context does."""
    rewards: RewardsSection = RewardsSection()
    """Rewards and rules."""
    max_turns: int | None = None
    """Most commands of an episode; None for the default of `Environment`."""
    workers: int | None = None
    """Processes of the sandbox; None for one a core."""


class RepairVerifiersEnv(vf.Env[RepairEnvConfig]):
    """Episodes of the line editor; each reply is one command.

    A reply of several lines is malformed, so sample with a stop at the newline unless
    the model was taught to end there. verifiers' client for training keeps sampled ids.

    The reward "repair" of a trace is the sum over the turns, each of which is in
    `trace.info["turns"]`. The status of the episode is the trace's `stop_condition`, so
    one cut at max_turns counts as truncated. Metrics: "solved", "turns", "malformed".

    Limits of verifiers: a chat template stands between states and commands, and
    trainers give one advantage to all tokens of an episode, unless they read
    `trace.info["turns"]`.
    """

    async def start(self) -> None:
        """Open the sandbox that all episodes share."""
        self._sandbox = await asyncio.to_thread(Sandbox, self.config.workers)

    async def stop(self) -> None:
        """Close the sandbox."""
        if sandbox := vars(self).pop("_sandbox", None):
            await asyncio.to_thread(sandbox.close)

    async def run(self, task: RepairTask, agents: vf.Agents) -> None:
        """Play one episode; threads wait for the sandbox, so that others go on."""
        c = self.config
        options = {} if c.max_turns is None else {"max_turns": c.max_turns}
        environment = Environment(self._sandbox, c.rewards.value(), **options)
        last = await asyncio.to_thread(environment.reset, task.data.bug)
        steps: list[StepResult] = []
        async with agents.policy.interaction(task) as interaction:
            reply = await interaction.turn()
            while not reply.terminated:
                command = reply.messages[-1].content or ""
                last = await asyncio.to_thread(environment.step, command)
                steps.append(last)
                if last.done:
                    interaction.trace.stop(last.status)
                    break
                reply = await interaction.turn(last.state_text)
        trace = interaction.trace
        if not trace.ok:
            return  # the policy could not be asked: no episode, and no reward
        if environment.running:
            last = environment.truncate()
            steps[-1:] = [last] if steps else []
        trace.record_reward("repair", sum(step.reward for step in steps))
        trace.info["turns"] = [
            {"reward": step.reward, **outcome(step)} for step in steps
        ]
        trace.record_metrics(
            {
                "solved": last.status == "solved",
                "turns": len(steps),
                "malformed": sum(step.malformed for step in steps),
            }
        )


def load_environment(**settings) -> RepairVerifiersEnv:
    """Return the environment, ready for `async with env.serving()`.

    Args:
      **settings: Fields of `RepairTasksetConfig` and `RepairEnvConfig`; an unknown one
        or a wrong value raises pydantic.ValidationError.
    """
    ours = RepairTasksetConfig.model_fields
    taskset = {name: settings.pop(name) for name in ours if name in settings}
    config = RepairEnvConfig(taskset={**taskset, "id": PLUGIN}, **settings)
    return vf.load_environment(config)

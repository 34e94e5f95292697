"""Repairing bugs as an environment of verifiers, for prime-rl and whoever speaks it.

verifiers finds it by the name `repair-editor` (`vf-eval repair-editor`, or
`id = "repair-editor"` under `[env.taskset]`); in Python `load_environment` gives the
same. A task is one bug, so that verifiers' rollouts of a task are a group. Bugs are
made where tasks are loaded, episodes are judged where they are played: each has a
sandbox of its own and closes it.
"""

import asyncio
import ssl
from collections.abc import Iterator

import verifiers.v1 as vf
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harness import HarnessConfig

from repair.env.batch import reset_all
from repair.env.environment import Environment, StepResult
from repair.env.rewards import Rewards
from repair.integrations.problems import Problems, outcome
from repair.sandbox import Sandbox
from repair.tasks import Bug, load_tasks
from repair.tasks.bugs import CorruptionConfig, make_bugs

PLUGIN = "repair-editor"


class RepairTasksetConfig(vf.TasksetConfig):
    """Which bugs. Fields that are None are left to what they are passed to.

    Attributes:
      tasks: As for `repair.tasks.load.load_tasks`.
      path: The same.
      count: The same.
      bugs: Faulty programs of a task, as for `repair.tasks.bugs.make_bugs`; its seed is
        that of generated tasks too: equal settings give equal bugs.
      prompt: "full", or "short" for a model trained from scratch on such prompts.
    """

    tasks: str = "generated/train"
    path: str | None = None
    count: int | None = None
    bugs: CorruptionConfig = CorruptionConfig(per_task=1)
    prompt: str = "full"


class RepairData(vf.TaskData):
    """A bug as it travels to whoever plays it; hidden tests too, never shown."""

    bug: Bug


class RepairTask(vf.Task[RepairData, vf.State, vf.TaskConfig]):
    """One bug."""


class RepairTaskset(vf.Taskset[RepairTask, RepairTasksetConfig]):
    """Bugs of tasks by name, their prompts with the first state."""

    def load(self) -> Iterator[RepairTask]:
        """Makes the bugs.

        Raises:
          UserError: A setting is wrong.
        """
        c = self.config
        with Sandbox() as sandbox:
            tasks = load_tasks(c.tasks, path=c.path, seed=c.bugs.seed, count=c.count)
            bugs = make_bugs(tasks, sandbox, c.bugs)
            problems = Problems(bugs, lambda: Environment(sandbox), c.prompt)
            environments = [problems.make_environment() for _ in bugs]
            turns = reset_all(environments, bugs)
        for bug, turn in zip(bugs, turns, strict=True):
            data = RepairData(
                id=bug.bug_id,
                name=bug.bug_id,
                prompt=problems.prompt(bug) + turn.state_text,
                bug=bug,
            )
            yield RepairTask(data, c.task)


class ChatHarness(vf.Harness[HarnessConfig]):
    """The policy speaks, and has no program: one reply to the conversation so far.

    verifiers' own harness for this ("null") starts a process for every turn.
    """

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self, ctx, trace, runtime, endpoint, secret, mcp_urls, data
    ) -> vf.ProgramResult:
        """Asks for one reply, through verifiers' own endpoint, which keeps it."""
        if not isinstance(runtime.config, vf.SubprocessConfig):
            raise ValueError(
                f"{PLUGIN} asks the policy from this process; its runtime is"
                f" {runtime.config.type!r}, use 'subprocess' or another harness"
            )
        system, prompt = self.resolve_prompt(data)
        messages = [{"role": "system", "content": system}] if system else []
        if isinstance(prompt, str):
            messages.append({"role": "user", "content": prompt})
        else:
            messages += [message_to_wire(message) for message in prompt]
        # The endpoint is on this machine, and to load certificates would hold up all
        # episodes at every turn, so there are none. verifiers has limits of time.
        http = DefaultAsyncHttpxClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        async with AsyncOpenAI(
            base_url=endpoint, api_key=secret, timeout=None, http_client=http
        ) as client:
            await client.chat.completions.create(model=ctx.model, messages=messages)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


class RepairEnvConfig(vf.EnvConfig):
    """By which rules.

    Attributes:
      policy: Who repairs. Limits of its tokens cut an episode as a full context does.
      rewards: Rewards and rules.
      max_turns: As for `repair.env.Environment`, which decides where it is None.
      workers: Processes of the sandbox, as for `repair.sandbox.Sandbox`.
    """

    policy: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    rewards: Rewards = Rewards()
    max_turns: int | None = None
    workers: int | None = None


class RepairEnv(vf.Env[RepairEnvConfig]):
    """Episodes of the line editor; each reply is one command, no more and no less.

    A reply of several lines is malformed, so sample with a stop at the newline where
    the model was not taught to end there. Ids that were sampled are never tokenised
    anew if verifiers' client for training is used; that is its doing.

    Carried over: the sum of the turns' rewards is the trace's reward "repair"; each
    turn is in `trace.info["turns"]`; the end of the episode is the trace's
    `stop_condition`, so that one cut at max_turns counts as truncated there; metrics
    "solved", "turns" and "malformed".

    Lost: a chat template stands between states and commands. verifiers' traces have one
    reward, and trainers on top of it give one advantage to all tokens of an episode,
    unless they read `trace.info["turns"]`.
    """

    async def start(self) -> None:
        """Opens the sandbox that all episodes share."""
        self._sandbox = await asyncio.to_thread(Sandbox, self.config.workers)

    async def stop(self) -> None:
        """Closes it."""
        if sandbox := vars(self).pop("_sandbox", None):
            await asyncio.to_thread(sandbox.close)

    async def run(self, task: RepairTask, agents: vf.Agents) -> None:
        """One episode; the sandbox is waited for in threads, so that others go on."""
        environment = self._make_environment()
        last = await asyncio.to_thread(environment.reset, task.data.bug)
        turns: list[StepResult] = []
        async with agents.policy.interaction(task) as interaction:
            reply = await interaction.turn()
            while not reply.terminated:
                command = reply.messages[-1].content or ""
                last = await asyncio.to_thread(environment.step, command)
                turns.append(last)
                if last.done:
                    interaction.trace.stop(last.status)
                    break
                reply = await interaction.turn(last.state_text)
        trace = interaction.trace
        if not trace.ok:
            return  # the policy could not be asked: no episode, and no reward
        if environment.running:
            last = environment.truncate()
            turns[-1:] = [last] if turns else []
        trace.record_reward("repair", sum(turn.reward for turn in turns))
        trace.info["turns"] = [
            {"reward": turn.reward, **outcome(turn)} for turn in turns
        ]
        trace.record_metrics(
            {
                "solved": last.status == "solved",
                "turns": len(turns),
                "malformed": sum(turn.malformed for turn in turns),
            }
        )

    def _make_environment(self) -> Environment:
        c = self.config
        options = {} if c.max_turns is None else {"max_turns": c.max_turns}
        return Environment(self._sandbox, c.rewards, **options)


def load_environment(**settings) -> RepairEnv:
    """The environment, ready for `async with env.serving()`.

    Args:
      **settings: Fields of `RepairTasksetConfig` and `RepairEnvConfig`.

    Raises:
      pydantic.ValidationError: There is no such field, or a value is wrong.
    """
    ours = RepairTasksetConfig.model_fields
    taskset = {name: settings.pop(name) for name in ours if name in settings}
    config = RepairEnvConfig(taskset={**taskset, "id": PLUGIN}, **settings)
    return vf.load_environment(config)

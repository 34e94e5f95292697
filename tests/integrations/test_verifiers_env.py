"""The environment of verifiers, played by verifiers against a scripted endpoint."""

import asyncio
import collections
import dataclasses
import re

import pytest

pytest.importorskip("verifiers", reason="needs pip install -e '.[verifiers]'")

import verifiers.v1 as vf
from endpoint import Endpoint
from scripted import MAX_TURNS, SENSELESS, play, repair, scripts
from verifiers.v1.cli.eval.main import main

from repair.env import Rewards
from repair.integrations.verifiers_env import (
    RepairEnvConfig,
    RepairTasksetConfig,
    load_environment,
)
from repair.tasks.bugs import CorruptionConfig

SETTINGS = {
    "tasks": "generated/train",
    "count": 4,
    "bugs": {"per_task": 2, "max_corruptions": 1},
    "rewards": {"turn_cost": 0.125},
    "max_turns": MAX_TURNS,
    "workers": 2,
}


def run(env, tasks, lines, samples=1):
    """Episodes of tasks, all at once; of each what verifiers makes of it."""

    async def everything(endpoint):
        client = vf.EvalClientConfig(base_url=endpoint.url, api_key_var="UNSET")
        context = vf.ModelContext(model="scripted", client=client)
        async with env.serving():
            slots = [slot for task in tasks for slot in env.slots(task, samples)]
            return await asyncio.gather(
                *(env.run_slot(slot, context) for slot in slots)
            )

    with Endpoint(lines) as endpoint:
        episodes = asyncio.run(everything(endpoint))
    return endpoint, episodes


@pytest.fixture(scope="module")
def env():
    return load_environment(**SETTINGS)


@pytest.fixture(scope="module")
def tasks(env):
    return list(env.taskset)


def test_tasks_are_the_bugs_with_their_prompts(tasks, problems, bugs):
    assert [task.data.bug for task in tasks] == list(bugs)
    for task, bug in zip(tasks, bugs, strict=True):
        state = play(problems, bug, [])[0].state_text
        assert task.data.prompt == problems.prompt(bug) + state
        # As it travels between processes.
        wire = task.data.model_dump_json()
        assert type(task.data).model_validate_json(wire).bug == bug


@pytest.mark.parametrize("name", ["solved", "slip", "exited_unsolved", "max_turns"])
def test_turns_are_those_of_the_environment(env, tasks, problems, name):
    task = tasks[0]
    commands = scripts(task.data.bug)[name]
    expected = play(problems, task.data.bug, commands)[1:]
    endpoint, (episode,) = run(env, [task], {task.data.prompt: commands})
    assert episode.ok, (episode.errors, episode.traces[0].errors)
    (trace,) = episode.traces
    assert [turn["reward"] for turn in trace.info["turns"]] == [
        turn.reward for turn in expected
    ]
    assert trace.reward == sum(turn.reward for turn in expected)
    assert trace.stop_condition == expected[-1].status
    assert trace.is_truncated == (name == "max_turns")
    assert trace.metrics["turns"] == trace.num_turns == len(commands)
    assert trace.metrics["solved"] == (name in ("solved", "slip"))
    # What the policy was told are the environment's own states, in order.
    told = [m["content"] for m in endpoint.last if m["role"] == "user"]
    assert told[1:] == [turn.state_text for turn in expected[:-1]]


def test_groups_play_at_once_in_one_sandbox(env, tasks):
    lines = {task.data.prompt: repair(task.data.bug) for task in tasks}
    endpoint, episodes = run(env, tasks, lines, samples=3)
    assert [e.traces[0].stop_condition for e in episodes] == ["solved"] * 24
    groups = collections.Counter(e.task.data.bug.bug_id for e in episodes)
    assert set(groups.values()) == {3}
    assert endpoint.asked == {key: 3 * len(said) for key, said in lines.items()}
    assert not hasattr(env, "_sandbox")


def test_a_limit_of_tokens_is_a_full_context(tasks):
    policy = {"max_total_tokens": 30}
    env = load_environment(**SETTINGS, policy=policy)
    task = tasks[0]
    _, (episode,) = run(env, [task], {task.data.prompt: [SENSELESS] * 9})
    (trace,) = episode.traces
    rewards = [turn["reward"] for turn in trace.info["turns"]]
    assert rewards == [-0.625] * (len(rewards) - 1) + [-1.125]
    assert 0 < len(rewards) < MAX_TURNS
    assert trace.info["turns"][-1]["status"] == "truncated"


def test_an_endpoint_that_fails_earns_nothing(env, tasks):
    _, (episode,) = run(env, tasks[:1], {})
    assert not episode.ok and not episode.traces[0].rewards


def test_misspelt_settings_are_refused():
    with pytest.raises(ValueError, match="per_tsk"):
        load_environment(per_tsk=2)
    with pytest.raises(ValueError, match="solvd"):
        load_environment(rewards={"solvd": 2})


def test_settings_out_of_range_are_refused_by_their_owners():
    with pytest.raises(ValueError, match="order is 'sideways', expected one of rev"):
        load_environment(bugs={"order": "sideways"})


def test_sections_are_the_dataclasses():
    """By their defaults, by some values, and from an instance."""
    assert RepairTasksetConfig().bugs.value() == CorruptionConfig(per_task=1)
    assert RepairEnvConfig().rewards.value() == Rewards()
    config = RepairEnvConfig(rewards={"dense": 0.5, "tests": "all"})
    assert config.rewards.value() == Rewards(dense=0.5, tests="all")
    config = RepairTasksetConfig(bugs=CorruptionConfig(per_task=7))
    assert config.bugs.value() == CorruptionConfig(per_task=7)


def test_help_of_the_command_line_describes_every_setting(capsys, monkeypatch):
    """Each option of ours with its text and default, as `vf-eval --help` prints it."""
    monkeypatch.setattr("sys.argv", ["vf-eval"])
    with pytest.raises(SystemExit):
        main(["repair-editor", "--help"])
    text = " ".join(re.sub("[│╭╮╰╯─]", "", capsys.readouterr().out).split())
    for shown in (
        "--env.taskset.tasks STR Name of a task set, for `repair.tasks.load_tasks`.",
        "--env.taskset.bugs.per-task INT Faulty programs of a task: candidates for"
        " demonstrations, or bugs. (default: 1)",
        "--env.rewards.malformed FLOAT For a command that cannot be parsed or does not"
        " apply (paper: -0.5).",
        "--env.max-turns INT|None Most commands of an episode;",
    ):
        assert shown in text
    own = re.findall(r"--env\.(?:taskset\.bugs|rewards)\.\S+ \S+ (\S+)", text)
    assert len(own) == len(dataclasses.fields(CorruptionConfig)) + len(
        dataclasses.fields(Rewards)
    )
    assert "default:" not in own and "(default:" not in own

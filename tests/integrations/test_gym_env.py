"""The Gymnasium environment against gymnasium itself."""

import concurrent.futures

import pytest

pytest.importorskip("gymnasium", reason="needs pip install -e '.[gymnasium]'")

import gymnasium
from gymnasium.utils.env_checker import check_env
from scripted import EXIT, MAX_TURNS, SENSELESS, play, repair, scripts

from repair.errors import UserError
from repair.integrations.gym_env import RepairEnv, make_env
from repair.sandbox import SandboxError
from repair.tasks.bugs import CorruptionConfig

TWO = CorruptionConfig(per_task=2, max_corruptions=1)


def test_gymnasium_finds_nothing_wrong(problems):
    """With a spec, so that all is checked: determinism, rendering, closing twice."""
    gymnasium.register(
        "repair/Test-v0", lambda render_mode=None: RepairEnv(problems, render_mode)
    )
    try:
        check_env(gymnasium.make("repair/Test-v0").unwrapped)
    finally:
        del gymnasium.registry["repair/Test-v0"]


@pytest.mark.parametrize("name", ["solved", "slip", "exited_unsolved", "max_turns"])
def test_turns_are_those_of_the_environment(problems, name):
    bug = problems.bugs[0]
    commands = scripts(bug)[name]
    first, *turns = play(problems, bug, commands)
    env = RepairEnv(problems)
    observation, info = env.reset(options={"bug_id": bug.bug_id})
    assert observation == problems.prompt(bug) + first.state_text
    assert info == {
        "bug_id": bug.bug_id,
        "status": None,
        "passed": False,
        "malformed": False,
    }
    for command, turn in zip(commands, turns, strict=True):
        observation, reward, terminated, truncated, info = env.step(command)
        assert (observation, reward) == (turn.state_text, turn.reward)
        assert (terminated or truncated) == turn.done
        assert truncated == (turn.status == "max_turns")
        assert (info["status"], info["passed"]) == (turn.status, turn.passed)
    assert info["status"] == ("solved" if name == "slip" else name)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(EXIT)


def test_the_last_command_of_a_cut_episode_counts(problems):
    bug = problems.bugs[0]
    env = RepairEnv(problems, "ansi")
    env.reset(options={"bug_id": bug.bug_id})
    steps = [env.step(command) for command in scripts(bug)["max_turns"]]
    assert len(steps) == MAX_TURNS
    assert [reward for _, reward, *_ in steps] == [-0.625] * 5 + [1 - 0.5 - 0.125]
    assert env.render() == bug.task.code


def test_a_full_context_is_a_cut(problems):
    env = RepairEnv(problems)
    env.reset(seed=1)
    state, before, *_ = env.step(SENSELESS)
    assert env.truncate()[:4] == (state, before - 0.5, False, True)


def test_one_seed_is_one_bug(problems):
    env, other = RepairEnv(problems), RepairEnv(problems)
    drawn = [env.reset(seed=seed)[1]["bug_id"] for seed in range(20)]
    assert drawn == [other.reset(seed=seed)[1]["bug_id"] for seed in range(20)]
    assert len(set(drawn)) > len(problems.bugs) / 2
    with pytest.raises(UserError, match="no bug 'x' among 8; ids are like"):
        env.reset(options={"bug_id": "x"})


def test_many_episodes_share_the_sandbox(problems):
    """From threads, and as a vector of environments."""

    def one(bug):
        env = RepairEnv(problems)
        env.reset(options={"bug_id": bug.bug_id})
        return [env.step(command) for command in repair(bug)][-1][4]["status"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, problems.bugs)) == {"solved"}
    env = gymnasium.vector.SyncVectorEnv([lambda: RepairEnv(problems)] * 3)
    observations, info = env.reset(seed=[5, 5, 6])
    assert observations[0] == observations[1]
    _, rewards, terminated, _, _ = env.step((EXIT, SENSELESS, EXIT))
    assert rewards.tolist() == [-0.125, -0.625, -0.125]
    assert terminated.tolist() == [True, False, True]
    env.close()


def test_an_environment_by_settings_owns_its_sandbox(bugs):
    env = make_env("ansi", count=4, bugs=TWO, workers=1)
    env.reset(options={"bug_id": bugs[-1].bug_id})
    assert env.render() == bugs[-1].faulty_code
    env.close()
    env.close()
    with pytest.raises(SandboxError, match="closed"):
        env.step("### ADDL 1 >>># not from the cache")
    with pytest.raises(UserError, match="prompt is 'long'"):
        make_env(count=1, prompt="long")

"""Loading: a checkpoint finds its workdir, and one outside of any is refused."""

import pytest

from repair.errors import UserError
from repair.training.config import Config, TextConfig
from repair.training.policy import load_model, load_policy, make_policy, workdir_of
from repair.training.task_set import RepairTaskSet
from tests.dummies import BUGS, TASK, FakeSandbox


@pytest.mark.parametrize("below", ["sft", "rlvr/3"])
def test_a_checkpoint_lies_in_its_workdir(tmp_path, below):
    assert workdir_of(tmp_path / "run" / "checkpoints" / below) == tmp_path / "run"


def test_a_path_outside_of_any_workdir_is_refused(tmp_path):
    with pytest.raises(UserError, match="give WORKDIR/checkpoints/STAGE"):
        workdir_of(tmp_path / "sft")


@pytest.mark.parametrize("load", [load_policy, load_model])
def test_a_missing_checkpoint_is_refused(tmp_path, load):
    with pytest.raises(UserError, match="no checkpoint found in"):
        load(tmp_path / "checkpoints" / "sft")


@pytest.mark.parametrize("answers", [1, 3])
def test_an_episode_has_as_many_wrong_answers_as_the_config_allows(policy_of, answers):
    environment = policy_of(answers).engine.make_environment()
    environment.reset(BUGS[0])
    results = [environment.step("def f(x):\n    return 0") for _ in range(answers)]
    assert [result.done for result in results] == [False] * (answers - 1) + [True]
    assert results[-1].status == "exited_unsolved"


def test_an_answer_that_passes_is_the_last(policy_of):
    environment = policy_of(3).engine.make_environment()
    environment.reset(BUGS[0])
    assert not environment.step("def f(x):\n    return 0").done
    result = environment.step(TASK.code)
    assert result.status == "solved" and result.reward == 1


@pytest.fixture
def policy_of(model, tokenizer):
    """Return a function from the most answers to a policy of mode "direct"."""

    def make(answers):
        text = TextConfig(max_answers=answers, max_length=256)
        task_set = RepairTaskSet(Config(mode="direct", text=text))
        return make_policy(task_set, model, tokenizer, FakeSandbox(), {})

    return make

"""Loading: a checkpoint finds its workdir, and one outside of any is refused."""

import pytest

from repair.errors import UserError
from repair.training.policy import load_model, load_policy, workdir_of


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

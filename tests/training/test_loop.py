"""One stage: it ends where it should, and says what a checkpoint is of."""

import dataclasses

import jax.numpy as jnp
import pytest

from repair.errors import UserError
from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.model.sharding import make_mesh
from repair.training.checkpoint import Checkpointer
from repair.training.config import Config
from repair.training.loop import Workshop, run_stage
from repair.training.metrics import NoMetrics
from repair.training.sft import SftConfig

SETTINGS = SftConfig(steps=5)


@pytest.fixture
def stage(tmp_path):
    """Runs a stage whose parameter counts its steps; `losses` are what it tells."""
    model = Model(LlamaConfig(), make_mesh(1, 1, 1))
    config = dataclasses.replace(Config(), checkpoint_every=1)
    said = []
    where = Workshop(config, model, tmp_path, NoMetrics(), said.append)

    def run(losses=(), **kwargs):
        def one_step(step, state, frozen, optimizer):
            counted = {"params": {"scale": state.trainable["params"]["scale"] + 1}}
            loss = losses[step] if step < len(losses) else 0.5
            state = dataclasses.replace(state, step=state.step + 1, trainable=counted)
            return state, {"loss": loss, "real_share": float("nan")}

        params = {"params": {"scale": jnp.zeros(2)}}
        return run_stage(where, "sft", params, SETTINGS, one_step, **kwargs)

    run.said, run.folder = said, tmp_path
    return run


def test_it_runs_to_its_end_and_no_further(stage):
    params, steps = stage()
    assert steps == 5 and params["params"]["scale"].tolist() == [5, 5]
    params, steps = stage()
    assert steps == 0 and params["params"]["scale"].tolist() == [5, 5]
    assert stage.said == ["sft: resumed at step 5 of 5"]


def test_it_may_be_over_before(stage):
    assert stage(over=lambda steps: steps >= 2)[1] == 2


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_run_that_diverged_ends_and_keeps_its_last_good_checkpoint(stage, loss):
    with pytest.raises(UserError, match="sft, step 4: loss not finite.* below 0.001"):
        stage([0.5, 0.5, 0.5, loss])
    assert Checkpointer(stage.folder).latest_step() == 3


def test_another_mesh_is_told_of(stage, monkeypatch):
    save = Checkpointer.save

    def elsewhere(self, step, state, extra):
        save(self, step, state, extra | {"mesh": {"data": 4, "fsdp": 1, "tensor": 1}})

    monkeypatch.setattr(Checkpointer, "save", elsewhere)
    stage(over=lambda steps: steps >= 2)
    stage()
    assert "the checkpoint is of a mesh {'data': 4" in stage.said[1]
    assert "not to the same bits" in stage.said[1]

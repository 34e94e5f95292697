"""One stage: it ends where it should, and says what a checkpoint is of."""

import dataclasses
import math

import jax.numpy as jnp
import pytest

from repair.errors import UserError
from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.model.sharding import make_mesh
from repair.training.checkpoint import Checkpointer
from repair.training.loop import Loop, StageContext
from repair.training.metrics import MetricsWriter
from repair.training.sft import SftConfig

SETTINGS = SftConfig(steps=5)


@pytest.fixture
def stage(tmp_path):
    """Run a stage whose parameter counts its steps; `losses` are its metrics."""
    model, said = Model(LlamaConfig(), make_mesh(1, 1, 1)), []
    metrics = MetricsWriter(tmp_path)
    context = StageContext(model, tmp_path, metrics, said.append, checkpoint_every=1)

    def run(losses=(), settings=SETTINGS, **kwargs):
        params = {"params": {"scale": jnp.zeros(2)}}
        loop = Loop(context, "sft", params, settings, **kwargs)
        for step in loop:
            counted = {"params": {"scale": loop.state.trainable["params"]["scale"] + 1}}
            loop.state = dataclasses.replace(
                loop.state, step=loop.state.step + 1, trainable=counted
            )
            loss = losses[step] if step < len(losses) else 0.5
            loop.log({"loss": loss, "real_share": math.nan, "sampled_tokens": 10})
            loop.extra = {"seen": [*loop.extra.get("seen", []), step]}
        return loop

    run.said, run.folder = said, tmp_path / "checkpoints" / "sft"
    yield run
    metrics.close()


def test_it_runs_to_its_end_and_no_further(stage):
    loop = stage()
    assert loop.step == 5 and loop.over
    assert loop.params["params"]["scale"].tolist() == [5, 5]
    loop = stage()
    assert loop.step == 5
    assert loop.params["params"]["scale"].tolist() == [5, 5]
    assert stage.said == ["sft: resumed at step 5 of 5"]
    # What the body keeps comes from the checkpoint, as it was after the last step.
    assert loop.extra == {"seen": [0, 1, 2, 3, 4]}


def test_a_budget_ends_it_before_and_for_good(stage):
    """Also where the checkpoint alone would not tell: the metrics do."""
    loop = stage(budget=20)
    assert loop.step == 2 and loop.over
    assert [row["sampled_tokens"] for row in loop.history] == [10, 10]
    again = stage(budget=20)
    assert again.step == 2 and stage.said == ["sft: resumed at step 2 of 5"]
    assert again.history == read_metrics_of(loop.history)
    assert stage(budget=30).step == 3


def read_metrics_of(history):
    """As a file gives them back: nothing for what is no number."""
    return [
        {name: None if math.isnan(value) else value for name, value in row.items()}
        for row in history
    ]


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
    two = dataclasses.replace(SETTINGS, steps=2)
    stage(settings=two)
    stage()
    assert "the checkpoint is of a mesh {'data': 4" in stage.said[1]
    assert "not to the same bits" in stage.said[1]

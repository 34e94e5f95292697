"""One stage: it ends where it should, and says what a checkpoint is of."""

import dataclasses
import itertools
import math
import shutil
import types

import jax.numpy as jnp
import pytest

from repair.errors import Interrupted, UserError
from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.model.sharding import make_mesh
from repair.training.checkpoint import Checkpointer, load_params
from repair.training.config import Config
from repair.training.loop import Loop, StageContext
from repair.training.metrics import MetricsWriter, read_metrics
from repair.training.optimizer import OptimizerConfig
from repair.training.sft import SftConfig

SETTINGS = SftConfig(steps=5)


@pytest.fixture
def stage(tmp_path):
    """Run a stage whose parameter counts its steps; `losses` are its metrics.

    `values` are the pass@1 of its evaluations.
    """
    model, said = Model(LlamaConfig(), make_mesh(1, 1, 1)), []
    metrics = MetricsWriter(tmp_path)

    def run(losses=(), settings=SETTINGS, values=(), after=None, **kwargs):
        config = Config(
            checkpoint_every=kwargs.pop("every", 1),
            best_of=kwargs.pop("best_of", "pass@1"),
            sft=settings,
        )
        context = StageContext(
            model,
            tmp_path,
            metrics,
            said.append,
            config=config,
            digests=kwargs.pop("digests", {}),
        )
        run.context = context
        params = {"params": {"scale": jnp.zeros(2)}}
        loop = Loop(context, "sft", params, settings, **kwargs)
        for step in loop:
            counted = {"params": {"scale": loop.state.trainable["params"]["scale"] + 1}}
            loop.state = dataclasses.replace(
                loop.state, step=loop.state.step + 1, trainable=counted
            )
            loss = losses[step] if step < len(losses) else 0.5
            loop.log({"loss": loss, "real_share": math.nan, "sampled_tokens": 10})
            memory = loop.progress.memory
            loop.progress.memory = {"seen": [*memory.get("seen", []), step]}
            if loop.evaluation_due:
                number = -(-loop.step // settings.eval_every) - 1
                shown = 1 - values[number] if config.best_of != "pass@1" else 0.0
                loop.log_evaluation({"pass@1": values[number], "shown_pass@1": shown})
            if after:
                after(loop)
        return loop

    run.said, run.folder = said, tmp_path / "checkpoints" / "sft"
    run.metrics = tmp_path / "metrics.jsonl"
    yield run
    metrics.close()


def scale_of(params):
    return params["params"]["scale"].tolist()


def test_it_runs_to_its_end_and_no_further(stage):
    loop = stage()
    assert loop.step == 5 and loop.over
    assert scale_of(loop.params) == [5, 5]
    loop = stage()
    assert loop.step == 5
    assert scale_of(loop.params) == [5, 5]
    end = "sft ends at 5: all its steps are done (sft.steps)"
    assert stage.said == [end, "sft: resumed at step 5 of 5", end]
    # Facts that the body keeps come from the checkpoint, as after the last step.
    assert loop.progress.memory == {"seen": [0, 1, 2, 3, 4]}


def test_the_best_step_is_kept_and_loaded(stage):
    """The first of equal ones; beside the latest, which drive it out otherwise."""
    settings = dataclasses.replace(SETTINGS, steps=9, eval_every=2)
    loop = stage(settings=settings, values=(0.1, 0.5, 0.5, 0.2, 0.3))
    assert loop.progress.best == {"step": 4, "value": 0.5} and loop.step == 9
    assert scale_of(loop.best_params()) == [4, 4]
    assert scale_of(load_params(stage.folder / "best")[0]) == [4, 4]
    assert scale_of(load_params(stage.folder)[0]) == [9, 9]
    rows = [r for r in read_metrics(stage.metrics) if r["stage"] == "sft_eval"]
    assert [(r["step"], r["pass@1"]) for r in rows] == [
        *((2, 0.1), (4, 0.5), (6, 0.5), (8, 0.2), (9, 0.3))
    ]
    assert stage.said[1] == "sft, step 4: pass@1 0.5 shown_pass@1 0 (best so far)"
    assert stage.said[2].endswith("(best: step 4)")


def test_the_best_step_may_go_by_the_shown_tests(stage):
    settings = dataclasses.replace(SETTINGS, steps=6, eval_every=2)
    loop = stage(settings=settings, values=(0.1, 0.5, 0.2), best_of="shown_pass@1")
    assert loop.progress.best == {"step": 2, "value": 0.9}


def test_patience_ends_a_stage_that_does_not_improve(stage):
    settings = dataclasses.replace(SETTINGS, steps=20, eval_every=2, patience=2)
    values = (0.1, 0.3, 0.2, 0.3, 0.9)
    assert stage(settings=settings, values=values).step == 8
    reason = "no evaluation since step 4 was better (sft.patience)"
    assert stage.said[-1] == f"sft ends at 8: {reason}"
    assert stage(settings=settings, values=values).step == 8  # resumed: for good


def test_a_best_step_whose_promotion_was_killed_is_promoted_on_resume(stage):
    settings = dataclasses.replace(SETTINGS, steps=4, eval_every=2)
    stage(settings=settings, values=(0.1, 0.5))
    shutil.rmtree(stage.folder / "best")
    stage(settings=settings, values=(0.1, 0.5))
    assert scale_of(load_params(stage.folder / "best")[0]) == [4, 4]


def test_a_signal_saves_the_step_under_way_and_ends(stage):
    def interrupt(loop):
        if loop.step == 3:
            assert loop.context.interrupts.waits
            loop.context.interrupts.got = 15

    with pytest.raises(Interrupted, match="SIGTERM after sft 3; the same command"):
        stage(after=interrupt, every=100)
    assert not stage.context.interrupts.waits
    assert Checkpointer(stage.folder).latest_step() == 3
    assert scale_of(stage().params) == [5, 5]


def test_checkpoints_come_by_minutes_too(stage, monkeypatch):
    seconds = itertools.count(0, 400)  # told in turn
    clock = types.SimpleNamespace(
        monotonic=lambda: next(seconds), perf_counter=lambda: 0.0
    )
    monkeypatch.setattr("repair.training.loop.time", clock)
    saved, save = [], Checkpointer.save

    def note(self, step, *args):
        saved.append(step)
        save(self, step, *args)

    monkeypatch.setattr(Checkpointer, "save", note)
    stage(every=100)
    assert saved == [2, 4, 5]  # ten minutes later, and the last


def schedule(stage, **optimizer):
    """Return the share of the peak at each step of a stage, and its metric."""
    shares = []
    settings = dataclasses.replace(SETTINGS, optimizer=OptimizerConfig(**optimizer))

    def before(loop):
        shares.append(loop.history[-1]["learning_rate"])

    stage(settings=settings, after=before)
    return shares


def test_the_learning_rate_falls_over_the_steps(stage):
    found = schedule(
        stage, learning_rate=2.0, warmup=1, decay="linear", final_fraction=0.2
    )
    # Half of the peak, then 2, 1.6, 1.2, 0.8 towards 0.4 at the end.
    assert found == pytest.approx([1.0, 2.0, 1.6, 1.2, 0.8])


def test_a_warm_up_longer_than_the_stage_leaves_one_step_at_the_peak(stage):
    found = schedule(stage, learning_rate=5.0, warmup=20, decay="constant")
    assert found == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0])


def test_the_learning_rate_falls_over_the_budget_where_that_ends_the_stage(stage):
    settings = dataclasses.replace(
        SETTINGS,
        steps=1000,
        optimizer=OptimizerConfig(
            learning_rate=1.0, warmup=0, decay="cosine", final_fraction=0.0
        ),
    )
    loop = stage(settings=settings, budget=40)
    shares = [row["learning_rate"] for row in loop.history]
    expected = [(1 + math.cos(math.pi * done)) / 2 for done in (0, 0.25, 0.5, 0.75)]
    assert shares == pytest.approx(expected)


def test_lost_metrics_are_told_and_do_not_change_the_run(stage):
    """The budget goes by the checkpoint."""
    assert stage(budget=20).step == 2
    stage.context.metrics.truncate_after("sft", 0)
    assert stage(budget=20).step == 2
    assert (
        "metrics.jsonl does not have the lines of the checkpoint's 2" in stage.said[2]
    )


def test_other_steps_under_a_decay_are_told(stage):
    stage(settings=dataclasses.replace(SETTINGS, steps=3))
    stage(settings=SETTINGS)
    assert "fell over 3 steps, now falls over 5" in stage.said[-2]


def test_changed_inputs_are_refused(stage):
    stage(settings=dataclasses.replace(SETTINGS, steps=1), digests={"demos.jsonl": "1"})
    stage(settings=dataclasses.replace(SETTINGS, steps=2), digests={"demos.jsonl": "1"})
    with pytest.raises(UserError, match="demos.jsonl is not what the checkpoint was"):
        stage(digests={"demos.jsonl": "2"})


def test_a_budget_ends_it_before_and_for_good(stage):
    """Also where the checkpoint alone would not tell: the metrics do."""
    loop = stage(budget=20)
    assert loop.step == 2 and loop.over
    assert [row["sampled_tokens"] for row in loop.history] == [10, 10]
    again = stage(budget=20)
    end = "sft ends at 2: 20 tokens sampled (rlvr.sampled_tokens)"
    assert again.step == 2 and stage.said == [end, "sft: resumed at step 2 of 5", end]
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
    stage(budget=20)
    stage()
    assert "the checkpoint is of a mesh {'data': 4" in stage.said[2]
    assert "not to the same bits" in stage.said[2]

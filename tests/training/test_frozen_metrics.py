"""Metrics of a tiny run, frozen as numbers: a refactoring must not move them."""

import pytest

from repair.training import rlvr
from repair.training import run as experiment
from repair.training.config import Config, defaults, read
from repair.training.metrics import read_metrics

SFT = {
    "loss": 6.924366474151611,
    "command_loss": 2.183846950531006,
    "command_accuracy": 0.4714285731315613,
    "gradient_norm": 1.9057940244674683,
    "real_share": 0.9052734375,
}
RLVR = {
    "reward": -1.4375,
    "reward_std": 0.6584783595532961,
    "malformed": 0.8409090909090909,
    "turns": 2.75,
    "sampled_tokens": 289,
    "entropy": 3.269599676132202,
    "kl": 0.005036406684666872,
    "policy_loss": 0.2018958330154419,
    "gradient_norm": 0.9913693070411682,
    "real_share": 0.7291015625,
    "sandbox_passed": 0.5,
    "sandbox_syntax_error": 0.375,
}


def tiny(stages) -> Config:
    """Two stages on generated tasks, with some signal in each."""
    c = defaults()
    c.stages = stages
    c.tasks.train_count = 12
    c.demos.per_task = 4
    c.demos.max_corruptions = 1
    c.text.prompt = "short"
    c.text.max_turns = 3
    c.text.max_length = 512
    c.text.max_command = 24
    c.model.vocab_size = 400
    c.model.width = 32
    c.model.mlp_width = 64
    c.model.layers = 2
    c.model.heads = 2
    c.model.kv_heads = 1
    c.model.head_size = 16
    c.sampler.slots = 16
    c.sampler.block = 64
    c.sampler.lengths = (512,)
    c.sft.steps = 60
    c.sft.rows = 2
    c.sft.row_length = 512
    c.sft.state_weight = 0.2
    c.sft.optimizer.learning_rate = 0.01
    c.rlvr.steps = 2
    c.rlvr.problems = 4
    c.rlvr.samples = 4
    c.rlvr.rows = 2
    c.rlvr.row_length = 512
    c.rlvr.loss.kl_coef = 0.01
    return read(c)


FROZEN = {("sft", 60): SFT, ("rlvr", 2): RLVR}


@pytest.mark.parametrize(
    "stages", [("sft",), pytest.param(("sft", "rlvr"), marks=pytest.mark.slow)]
)
def test_metrics_of_a_tiny_run_stay_as_they_are(tmp_path, monkeypatch, stages):
    said: list[str] = []
    alarm = {"name": "try less"}
    monkeypatch.setattr(rlvr, "new_alarms", lambda rows: alarm if len(rows) > 1 else {})
    experiment.run(tiny(stages), tmp_path, report=said.append)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    for (stage, step), frozen in FROZEN.items():
        if stage in stages:
            row = next(r for r in rows if (r["stage"], r["step"]) == (stage, step))
            for name, value in frozen.items():
                assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
            assert row["learning_rate"] > 0
    if "rlvr" in stages:
        assert row["alarms"] == alarm and said.count("rlvr, step 2: try less") == 1
        assert "alarms" not in rows[-2]
        assert row["seconds_per_command"] * row["turns"] * row["episodes"] == (
            pytest.approx(row["seconds_rollouts"])
        )

"""The model card of an export: front matter that the Hub reads, and the figures."""

import dataclasses

import pytest
import yaml

from repair.training.config import Config, DemosConfig
from repair.training.model_card import model_card

STAGES = {
    name: {"pass@1": {"mean": mean, "low": 0.1, "high": 0.3}, "malformed": 0.5}
    for name, mean in (("init", 0.0), ("sft", 0.25), ("rlvr", 0.5))
}


def card(stages=STAGES, base="owner/model", **fields):
    config = dataclasses.replace(Config(), train="lora", **fields)
    extra = {"config": dataclasses.asdict(config)}
    return model_card(extra, stages, "sft", base, "adapters/x")


def test_the_front_matter_names_the_base():
    _, front, _ = card().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "owner/model",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["program-repair"],
    }
    _, front, text = card(base="").split("---\n", 2)
    assert "base_model" not in yaml.safe_load(front)
    assert "Base model: random weights" in text and "from_pretrained" in text
    assert "Trained on the weights of x.gguf." in card(init_from="x.gguf")
    assert "weights of" not in card(init_from="owner/model")


def test_figures_are_those_up_to_the_stage():
    text = card()
    assert "| init | 0.0 (10.0 to 30.0) |\n| sft | 25.0 (10.0 to 30.0) |\n" in text
    assert "| rlvr |" not in text
    assert "has no evaluation" in card(stages={})


@pytest.mark.parametrize("mode", ["coe", "direct", "cot"])
def test_changed_fields_are_listed(mode):
    text = card(mode=mode, demos=DemosConfig(per_task=7), checkpoint_every=3)
    assert "| `demos.per_task` | `7` |" in text
    assert f"in mode `{mode}`:" in text
    assert "`seed`" not in text and "checkpoint_every" not in text

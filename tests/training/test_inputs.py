"""Wrong inputs are refused before a run makes or writes anything."""

import dataclasses
import json

import pytest

from repair import train
from repair.errors import UserError
from repair.training import run as experiment
from repair.training.config import Config, TasksConfig
from repair.training.inputs import check_inputs
from repair.training.task_set import RepairTaskSet

SMALL = Config(tasks=TasksConfig(train_count=4, eval_count=4))
FIELDS = [
    ("init_from", "nothing/here.gguf", "No such file"),
    ("init_from", "no folder", "neither a folder nor reachable"),
    ("text.tokenizer", "no folder", "neither a folder nor reachable"),
    ("demos.path", "nothing.jsonl", "nothing.jsonl"),
    ("demos.traces", "nothing.jsonl", "nothing.jsonl"),
    ("text.examples", "nothing.jsonl", "nothing.jsonl"),
    ("rlvr.bugs", "nothing.jsonl", "nothing.jsonl"),
    ("eval.bugs", "nothing.jsonl", "nothing.jsonl"),
    ("tasks.path", "nothing.jsonl", "nothing.jsonl"),
]


def config_with(name: str, value: str) -> Config:
    """Return a small config with one field changed."""
    config = SMALL
    if name == "tasks.path":
        tasks = dataclasses.replace(config.tasks, train="mbpp/train", eval="mbpp/test")
        config = dataclasses.replace(config, tasks=tasks)
    section, _, field = name.rpartition(".")
    if not section:
        return dataclasses.replace(config, **{field: value})
    part = dataclasses.replace(getattr(config, section), **{field: value})
    return dataclasses.replace(config, **{section: part})


@pytest.mark.parametrize(("name", "value", "message"), FIELDS)
def test_missing_inputs_leave_the_workdir_free(tmp_path, name, value, message):
    config = config_with(name, value)
    with pytest.raises(UserError, match=message):
        experiment.run(config, tmp_path / "run", report=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_model_is_refused(tmp_path):
    raw = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match="safetensors|model_type"):
        check_inputs(RepairTaskSet(config_with("init_from", str(tmp_path))))


def test_what_can_be_read_passes():
    check_inputs(RepairTaskSet(SMALL))


def test_check_trains_nothing(monkeypatch, capsys, tmp_path):
    flags = type("", (), {"config": object(), "plan": "", "check": True})
    monkeypatch.setattr(train.flags, "FLAGS", flags)
    monkeypatch.setattr("repair.training.config.read", lambda config: SMALL)
    assert train.main() == 0
    assert "can be read" in capsys.readouterr().out

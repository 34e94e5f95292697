"""make_data --kind=faulty, with a small model in Hugging Face's format."""

import json
import types

import jax
import pytest

from repair import make_data
from repair.errors import UserError
from repair.model.api import Model
from repair.model.hf.folder import save_hf
from repair.model.llama import LlamaConfig
from repair.tasks import load_tasks
from repair.text.prompts import render_examples
from repair.text.tokenizer import Tokenizer, train_tokenizer

FLAGS = {
    "kind": "faulty",
    "tasks": "generated/test",
    "path": "",
    "count": 3,
    "seed": 0,
    "examples": "",
    "samples": 6,
    "temperature": 5.0,  # close to uniform, so that a fence comes now and then
    "keep": 2,
    "max_tokens": 256,
    "max_length": 1024,
    "slots": 4,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a folder with random weights and a tokenizer that knows the fence."""
    folder = tmp_path_factory.mktemp("model")
    tasks = load_tasks("generated/train", count=20)
    tokenizer = train_tokenizer([render_examples(tasks, tasks[0])] * 2, 300)
    Tokenizer(tokenizer, "full").save(folder)
    shape = LlamaConfig(
        300, width=16, mlp_width=32, layers=1, heads=2, kv_heads=1, head_size=8
    )
    params = jax.jit(Model(shape).init_params)(jax.random.key(0))
    # Louder, so that drafts differ.
    params = jax.tree.map(lambda x: x * 6 if x.ndim > 1 else x, params)
    save_hf(folder, shape, params)
    return folder


def make(monkeypatch, out, **values):
    flags = FLAGS | values | {"out": str(out), "model": str(values["model"])}
    monkeypatch.setattr(make_data.flags, "FLAGS", types.SimpleNamespace(**flags))
    make_data.main()


@pytest.mark.slow
def test_a_small_model_writes_faulty_programs(monkeypatch, model, tmp_path, capsys):
    make(monkeypatch, tmp_path / "a", model=model)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["drafts"] == 18 and summary["tasks"] > 0
    assert summary["settings"]["examples"] == "generated/train"
    assert summary["kept"] + sum(summary["left_out"].values()) == 18
    text = (tmp_path / "a" / "faulty.jsonl").read_text()
    assert len(text.splitlines()) == summary["kept"]
    assert "135.6" in capsys.readouterr().out
    tasks = load_tasks(str(tmp_path / "a" / "faulty.jsonl"))
    assert all(task.faulty_code != task.code for task in tasks)
    make(monkeypatch, tmp_path / "b", model=model)
    assert (tmp_path / "b" / "faulty.jsonl").read_text() == text
    with pytest.raises(UserError, match="holds faulty programs already"):
        make(monkeypatch, tmp_path / "a", model=model)
    with pytest.raises(UserError, match=r"none of 18 drafts .* \(cut 18\); try"):
        make(monkeypatch, tmp_path / "c", model=model, max_tokens=1)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["summary.json"]


def test_somebody_must_write(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="needs --model"):
        make(monkeypatch, tmp_path, model="")
    with pytest.raises(UserError, match="neither a folder nor reachable"):
        make(monkeypatch, tmp_path, model=tmp_path / "nowhere")

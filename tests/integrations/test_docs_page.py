"""The code of docs/other_trainers.md, run as it is printed."""

import collections
import os
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).parent.parent.parent / "docs" / "other_trainers.md"


def code(title, *changes):
    """Return the Python under a title of the page, with what no test has replaced."""
    section = PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for old, new in changes:
        assert block.count(old) == 1, old
        block = block.replace(old, new)
    return compile(block, f"{PAGE.name}: {title}", "exec")


def test_problems_and_environment(capsys):
    exec(code("Problems and environment", ("count=20", "count=2")), {})
    state, _, reward = capsys.readouterr().out.rstrip("\n").rpartition("\n")
    assert state.startswith("L 1 ") and "\n***\n" in state
    assert reward == "0.0"


def test_gymnasium(capsys):
    pytest.importorskip("gymnasium", reason="needs pip install -e '.[gymnasium]'")
    exec(code("Gymnasium", ("count=20", "count=2")), {})
    assert "You are an expert" in (out := capsys.readouterr().out)
    assert out.endswith("0.0 None\n")


def test_verifiers(capsys):
    pytest.importorskip("verifiers", reason="needs pip install -e '.[verifiers]'")
    from endpoint import Endpoint

    exits = collections.defaultdict(lambda: ["### EXIT"])
    with Endpoint(exits) as endpoint:
        url = ("http://localhost:8000/v1", endpoint.url)
        exec(code("verifiers", url, ("count=20", "count=2")), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert {line.partition(" [")[0] for line in lines} == {"0.0 exited_unsolved"}
    assert set(endpoint.asked.values()) == {4}


def test_the_command_of_verifiers_plays_five_tasks(tmp_path):
    pytest.importorskip("verifiers", reason="needs pip install -e '.[verifiers]'")
    from endpoint import Endpoint

    (command,) = re.findall(r"^vf-eval (?:.*\\\n)+.*", PAGE.read_text(), re.MULTILINE)
    exits = collections.defaultdict(lambda: ["### EXIT"])
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.defpath])
    here = {**os.environ, "PATH": path, "PYTHONPATH": str(PAGE.parent.parent)}
    with Endpoint(exits) as endpoint:
        assert command.count("http://localhost:8000/v1") == 1
        command = command.replace("http://localhost:8000/v1", endpoint.url)
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=here, capture_output=True
        )
    assert done.returncode == 0, done.stderr.decode()
    assert list(endpoint.asked.values()) == [1] * 5
    (traces,) = (tmp_path / "outputs").glob("*/traces.jsonl")
    assert traces.read_text().count('"exited_unsolved"') >= 5


@pytest.mark.filterwarnings("ignore:You are using 'environment_factory'")
def test_trl(tmp_path, monkeypatch, problems):
    """With a tiny model of random weights, on a CPU, for one step."""
    pytest.importorskip("trl", reason="needs pip install -e '.[trl]'")
    from tiny_torch import make_tokenizer, tiny_config
    from transformers import LlamaForCausalLM

    tokenizer = make_tokenizer([problems.prompt(bug) for bug in problems.bugs])
    LlamaForCausalLM(tiny_config(tokenizer)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    here = "max_completion_length=32, max_steps=1, use_cpu=True, bf16=False"
    block = code(
        "TRL",
        ("Qwen/Qwen3-0.6B", str(tmp_path / "model")),
        ("max_completion_length=2048", here + ", report_to='none'"),
        ("count=20", "count=2"),
    )
    exec(block, names := {})
    (trained,) = [
        log for log in names["trainer"].state.log_history if "train_loss" in log
    ]
    assert trained["step"] == 1
    # Random weights call no tool: one malformed command, and no EXIT.
    (environment, *_) = names["trainer"].environments
    assert environment.get_reward() == -1.0

"""make_data, called as its command calls it."""

import json
import subprocess
import sys
import types

import pytest

from repair import make_data
from repair.demos.records import read_demos
from repair.errors import UserError
from repair.tasks.corrupt import KINDS
from repair.text.episodes import encode_demos
from repair.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer


def set_flags(monkeypatch, module, **values):
    monkeypatch.setattr(module.flags, "FLAGS", types.SimpleNamespace(**values))


def demos_flags(out, **changes):
    values = {"kind": "demos", "tasks": "generated/train", "path": "", "count": 4}
    values |= {"per_task": 2, "corruptions": "1,2", "kinds": list(KINDS), "seed": 0}
    values |= {"order": "top_down", "tokenizer": ""}
    return values | {"prompt": "full", "out": str(out)} | changes


def test_make_data_writes_demos_their_summary_and_a_table(
    monkeypatch, tmp_path, capsys
):
    folder = tmp_path / "tokenizer"
    Tokenizer(train_tokenizer(["assert f(1) == 2\n"], 300), "full").save(folder)
    values = demos_flags(tmp_path / "out", tokenizer=str(folder))
    set_flags(monkeypatch, make_data, **values)
    make_data.main()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    demos = read_demos(tmp_path / "out")
    assert len(demos) == summary["made"] > 0
    assert all(demo.commands[-1] == "### EXIT" for demo in demos)
    tokenizer = load_tokenizer(folder, "full")
    lengths = [len(episode) for episode in encode_demos(tokenizer, demos)]
    assert summary["tokens"]["total"] == sum(lengths)
    assert summary["tokens"]["too_long"] == 0
    table = capsys.readouterr().out
    assert "35,223" in table and f"{sum(lengths):,}" in table
    # Once it is finished, the same command only tells of it again.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("d*")}
    make_data.main()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().out == table


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"per_task": 3}, "per_task: 2 there, 3 here"),
        ({"corruptions": "2,1"}, "--corruptions is '2,1'"),
    ],
)
def test_make_data_refuses(monkeypatch, tmp_path, changes, says):
    set_flags(monkeypatch, make_data, **demos_flags(tmp_path / "old"))
    make_data.main()
    set_flags(monkeypatch, make_data, **demos_flags(tmp_path / "old", **changes))
    with pytest.raises(UserError, match=says):
        make_data.main()


@pytest.mark.parametrize("split", ["train", "test"])
def test_make_data_runs_the_references_of_mbppplus(monkeypatch, tmp_path, split):
    row = {
        "task_id": f"Mbpp/{dict(train=601, test=11)[split]}",
        "prompt": "Double a number.",
        "entry_point": "double",
        "canonical_solution": "def double(x):\n    y = 2 * x\n    return y\n",
        "base_input": [[1], [3]],
        "plus_input": [[0]],
    }
    path = tmp_path / "plus.jsonl"
    path.write_text(json.dumps(row))
    changes = {"tasks": f"mbppplus/{split}", "path": str(path), "per_task": 4}
    set_flags(monkeypatch, make_data, **demos_flags(tmp_path / "out", **changes))
    make_data.main()
    demos = read_demos(tmp_path / "out")
    tests = ("assert double(1) == 2", "assert double(3) == 6")
    assert {demo.bug.task.test_list for demo in demos} == {tests}


def test_make_data_starts_without_jax():
    """Or --help would take seconds."""
    code = "import sys, repair.make_data; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("text", ["3", "2,1", "0,1", "a,b"])
def test_make_data_refuses_odd_corruptions(text):
    with pytest.raises(UserError, match="corruptions"):
        make_data._corruptions(text)

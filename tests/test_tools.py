"""make_data and fix, called as their commands call them."""

import json
import subprocess
import sys
import types

import pytest

from repair import fix, make_data
from repair.env.demo_folder import DemoFolder
from repair.env.environment import Environment
from repair.env.sandbox import Sandbox
from repair.errors import UserError
from repair.learn.config import Config
from repair.learn.trajectory import Rollout
from repair.tasks.corrupt import KINDS
from repair.text.episodes import Episode, encode_demos
from repair.text.tokens import Codec, load_codec, train_tokenizer

FAULTY = 'def keep(xs):\n    """Keep the items above 4."""\n    return [xs]'
REPAIR = "### REPL 3 >>>    return [x for x in xs if x > 4]"
TESTS = "assert keep([5, 1]) == [5]\nassert keep(\n    [9]\n) == [9]\n"


class ScriptedPolicy:
    """Answers every attempt with the same commands in the real environment."""

    def __init__(self, *commands):
        self.commands, self.sandbox = commands, Sandbox(workers=1)
        self.config = Config()

    def play(self, params, bugs, samples, temperature):
        return [self._play(bugs[0], i) for i in range(samples)]

    def _play(self, bug, sample):
        environment = Environment(self.sandbox)
        turns = [environment.reset(bug)]
        turns += [environment.step(command) for command in self.commands]
        code = environment.code
        return Rollout(bug, sample, Episode(), turns, list(self.commands), code)


def set_flags(monkeypatch, module, **values):
    monkeypatch.setattr(module.flags, "FLAGS", types.SimpleNamespace(**values))


def run_fix(monkeypatch, tmp_path, commands, tests=TESTS, **values):
    (tmp_path / "tests.py").write_text(tests)
    file = tmp_path / "keep.py"
    if not file.exists():
        file.write_text(FAULTY + "\n")
    policy = ScriptedPolicy(*commands)
    monkeypatch.setattr(fix, "load_policy", lambda checkpoint: (policy, {}))
    settings = {"text": "", "samples": 2, "temperature": 0.8, "dry_run": False}
    settings |= {"tests": str(tmp_path / "tests.py"), "checkpoint": ""} | values
    set_flags(monkeypatch, fix, **settings)
    try:
        return fix.main(str(file)), file
    finally:
        policy.sandbox.close()


def test_fix_writes_what_passes_and_keeps_the_old_file(monkeypatch, tmp_path, capsys):
    code, file = run_fix(monkeypatch, tmp_path, [REPAIR, "### EXIT"])
    assert code == 0
    assert "if x > 4]" in file.read_text()
    assert (tmp_path / "keep.py.orig").read_text() == FAULTY + "\n"
    assert "+    return [x for x in xs if x > 4]" in capsys.readouterr().out
    code, _ = run_fix(monkeypatch, tmp_path, [])
    assert code == 0 and "nothing to repair" in capsys.readouterr().out


def test_fix_dry_run_writes_nothing(monkeypatch, tmp_path):
    code, file = run_fix(monkeypatch, tmp_path, [REPAIR, "### EXIT"], dry_run=True)
    assert code == 0
    assert file.read_text() == FAULTY + "\n"
    assert not (tmp_path / "keep.py.orig").exists()


def test_fix_that_fails_leaves_the_file(monkeypatch, tmp_path):
    code, file = run_fix(monkeypatch, tmp_path, ["### DELL 9", "### EXIT"])
    assert code == 1
    assert file.read_text() == FAULTY + "\n"


@pytest.mark.parametrize("tests", ["x = 1", "assert (", ""])
def test_fix_refuses_tests_that_are_no_asserts(monkeypatch, tmp_path, tests):
    with pytest.raises(UserError, match="tests.py"):
        run_fix(monkeypatch, tmp_path, [], tests=tests)


def demos_flags(out, **changes):
    values = {"kind": "demos", "tasks": "generated/train", "path": "", "count": 4}
    values |= {"per_task": 2, "corruptions": "1,2", "kinds": list(KINDS), "seed": 0}
    values |= {"order": "top_down", "format": "jsonl", "tokenizer": ""}
    return values | {"prompt": "full", "out": str(out)} | changes


def test_make_data_writes_demos_their_summary_and_a_table(
    monkeypatch, tmp_path, capsys
):
    folder = tmp_path / "tokenizer"
    Codec(train_tokenizer(["assert f(1) == 2\n"], 300), "full").save(folder)
    values = demos_flags(tmp_path / "out", tokenizer=str(folder))
    set_flags(monkeypatch, make_data, **values)
    make_data.main()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    demos = DemoFolder(tmp_path / "out")
    assert len(demos) == summary["made"] > 0
    assert all(demo.commands[-1] == "### EXIT" for demo in demos)
    codec = load_codec(folder, "full")
    lengths = [len(episode) for episode in encode_demos(codec, list(demos))]
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


def test_make_data_starts_without_jax():
    """Or --help would take seconds."""
    code = "import sys, repair.make_data; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("text", ["3", "2,1", "0,1", "a,b"])
def test_make_data_refuses_odd_corruptions(text):
    with pytest.raises(UserError, match="corruptions"):
        make_data._corruptions(text)

"""make_data, fix and report, called as their commands call them."""

import json
import types

import pytest

from repair import fix, make_data, report
from repair.env.demos import read_demos
from repair.env.environment import Environment
from repair.env.sandbox import Sandbox
from repair.errors import UserError
from repair.learn.config import Config
from repair.learn.trajectory import Rollout
from repair.text.episodes import Episode

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


def test_report_shows_the_run_and_escapes_what_a_model_wrote(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    rate = {"mean": 0.5, "low": 0.25, "high": 0.75}
    results = {"stages": {"sft": {"pass@1": rate, "pass@4": rate, "bugs": 2}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    rows = [{"stage": "sft", "step": i, "command_loss": 1.0 / i} for i in (1, 2)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(lines)
    turn = {"state": "L 1 <script>\n", "command": "### EXIT", "reward": -0.5}
    record = {"bug_id": "a/0", "sample": 0, "status": "solved", "text": "t"}
    record |= {"tests": ["assert 1 < 2"], "turns": [turn], "code": "x = '<b>'"}
    (tmp_path / "trajectories").mkdir()
    (tmp_path / "trajectories" / "eval_sft.jsonl").write_text(json.dumps(record) + "\n")
    set_flags(monkeypatch, report, out="", trajectories=5)
    report.main(str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "50.0 (25.0 to 75.0)" in page and "command loss" in page
    assert "&lt;script&gt;" in page and "<script" not in page
    assert "reward -0.5" in page and " src=" not in page and "<link" not in page


def test_report_of_no_run_is_refused(monkeypatch, tmp_path):
    set_flags(monkeypatch, report, out="", trajectories=5)
    with pytest.raises(UserError, match="no results"):
        report.main(str(tmp_path))


def test_make_data_writes_demos_and_their_summary_once(monkeypatch, tmp_path):
    values = {"tasks": "generated/train", "path": "", "count": 4, "per_task": 2}
    values |= {"corruptions": "1,2", "order": "top_down", "seed": 0}
    set_flags(monkeypatch, make_data, out=str(tmp_path / "out"), **values)
    make_data.main()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    demos = read_demos(tmp_path / "out" / "demos.jsonl")
    assert len(demos) == summary["made"] > 0
    assert all(demo.commands[-1] == "### EXIT" for demo in demos)
    with pytest.raises(UserError, match="already"):
        make_data.main()


@pytest.mark.parametrize("text", ["3", "2,1", "0,1", "a,b"])
def test_make_data_refuses_odd_corruptions(text):
    with pytest.raises(UserError, match="corruptions"):
        make_data._corruptions(text)

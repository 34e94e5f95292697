"""The command that measures: its seed, its folder, and comparisons with others."""

import contextlib
import dataclasses
import json
import types

import pytest

from repair import evaluate
from repair.errors import UserError
from repair.tasks import Bug
from repair.training import comparison
from repair.training.config import Config, EvalConfig
from tests.dummies import TASK

RATE = {"mean": 0.5, "low": 0.2, "high": 0.8}


class _Level:
    def line(self):
        return "sandbox: full"


class _Verifier(contextlib.nullcontext):
    level = _Level()

    def __enter__(self):
        return self


class _Tasks:
    """A task set whose bugs depend on the seed."""

    def tasks(self):
        return [], [TASK]

    def bugs(self, tasks, verifier, seed):
        return [Bug(f"1/{k}", TASK, f"{seed} {k}") for k in range(4)]


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """From flags and greedy outcomes to (results, output)."""
    config = dataclasses.replace(Config(), seed=5, eval=EvalConfig(seed=3))
    played = []

    def run(greedy=(1, 1, 0, 0), **given):
        fields = {"tasks": "", "path": "", "count": 0, "samples": 0, "out": ""}
        fields |= {"temperature": 0.8, "top_k": None, "top_p": None, "seed": None}
        fields |= {"max_turns": 0}
        fields |= {"checkpoint": f"{tmp_path}/run/checkpoints/sft", "against": ""}
        fields |= {
            "adapter": "",
            "model": "",
            "cpu_seconds": None,
            "corruptions": None,
            "kinds": None,
        }

        def measure(policy, bugs, settings, path, description):
            played.append(settings.seed)
            counts = dict(zip([bug.bug_id for bug in bugs], greedy, strict=True))
            path.write_text("")
            shown = {"by_status": {}, "by_turn": {}, "by_corruptions": {}}
            shown |= {
                "unfit": 0,
                "malformed": 0.0,
                "turns": 1.0,
                "pass@1": RATE,
                "faults": 2,
            }
            return shown | {"outcomes": comparison.by_bug(bugs, counts)}

        def load(*_, max_turns, **__):
            text = dataclasses.replace(config.text, max_turns=max_turns or 10)
            return types.SimpleNamespace(
                config=dataclasses.replace(config, text=text),
                task_set=_Tasks(),
                verifier=_Verifier(),
            )

        monkeypatch.setattr("repair.training.policy.load_policy", load)
        monkeypatch.setattr("repair.training.evaluation.measure", measure)
        chosen = types.SimpleNamespace(compile_cache="", **fields | given)
        monkeypatch.setattr(evaluate, "flags", types.SimpleNamespace(FLAGS=chosen))
        evaluate.main()
        out = chosen.out or tmp_path / "run/evaluations/held-out_tasks_of_the_run"
        return json.loads((tmp_path / out / "results.json").read_text()), (
            capsys.readouterr().out
        )

    run.played = played
    return run


def test_bugs_and_samples_come_from_the_seed_of_the_evaluation(command):
    ours, said = command()
    assert ours["seed"] == 3 and command.played == [3]
    assert ours["machine"].keys() >= {"commit", "devices", "jax", "python"}
    assert "2 episodes broke" in said
    other, _ = command(seed=8, max_turns=3)
    assert (ours["max_turns"], other["max_turns"]) == (10, 3)
    assert other["seed"] == 8 and command.played == [3, 8]
    (ours,), (other,) = ours["stages"].values(), other["stages"].values()
    assert ours["outcomes"]["bugs"] != other["outcomes"]["bugs"]


def test_it_compares_with_another_evaluation(command, tmp_path):
    command(greedy=(1, 0, 0, 0), out=str(tmp_path / "first"))
    found, said = command(greedy=(1, 1, 1, 0), against=str(tmp_path / "first"))
    (difference,) = found["against"]["differences"].values()
    assert difference["pass@1"]["mean"] == 0.5
    assert "; greedy: 2 bugs mended, 0 broken of 4, sign test p = " in said
    assert "in points: pass@1 +50.0 (" in said and f"{tmp_path}/first" in said


def test_other_bugs_are_refused_before_anything_is_played(command, tmp_path):
    command(out=str(tmp_path / "first"))
    with pytest.raises(UserError, match="other bugs than these 4"):
        command(against=str(tmp_path / "first"), seed=4)
    assert command.played == [3]


def test_a_folder_that_cannot_be_written_is_found_first(command, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written .* --out"):
        command(out=str(tmp_path / "file" / "below"))
    assert command.played == []

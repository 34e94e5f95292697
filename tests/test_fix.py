"""The fix command, with a policy that recites commands."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import types

import pytest

from repair import fix
from repair.env.batch import reset_all, step_all
from repair.env.environment import Environment
from repair.errors import UserError
from repair.rollout.rollout import Rollout
from repair.text.episodes import Episode
from repair.training import attempts as attempts_module
from repair.training.config import Config
from repair.training.policy import Policy

FAULTY = 'def keep(xs):\n    """Keep the items above 4."""\n    return [xs]\n'
REPAIR = "### REPL 3 >>>    return [x for x in xs if x > 4]"
NEARLY = "### REPL 3 >>>    return xs"
TESTS = "assert keep([5, 1]) == [5]\nassert keep(\n    [9]\n) == [9]\n"
PYTEST = """
from keep import keep

class TestKeep:
    def test_one(self):
        assert keep([5, 1]) == [5]

    def test_all(self):
        xs = [9]
        kept = keep(xs)
        assert kept == xs
        assert kept is not xs
"""
EXIT = "### EXIT"


class Letters:
    """A tokenizer with a token for each character."""

    def prompt_ids(self, task):
        return list(task.text + "".join(task.test_list))

    def state_ids(self, text, first):
        return list(text)


class Reciter:
    """An engine that recites commands, the greedy attempt first, in lockstep."""

    def __init__(self, sandbox, attempts):
        self.sandbox, self.attempts = sandbox, attempts
        self.tokenizer, self.played = Letters(), 0

    def collect(self, params, bugs, samples, sampling, seed, observer):
        assert (samples == 1) == (sampling.temperature == 0.0)
        scripts = self.attempts[self.played : self.played + samples]
        self.played += samples
        environments = [Environment(self.sandbox) for _ in scripts]
        turns = reset_all(environments, bugs * len(scripts))
        rollouts = [
            Rollout(bugs[0], i, Episode(), turn, [], [], "")
            for i, turn in enumerate(turns)
        ]
        live = list(range(len(scripts)))
        while live:
            commands = [scripts[i][len(rollouts[i].commands)] for i in live]
            turns = step_all([environments[i] for i in live], commands)
            for i, command, turn in zip(list(live), commands, turns, strict=True):
                rollouts[i].commands.append(command)
                rollouts[i].steps.append(turn)
                if turn.done:
                    live.remove(i)
                if observer.watch(rollouts[i]):
                    return []
        return rollouts


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run fix on FAULTY with scripted attempts; return (exit code, output)."""
    file, tests = tmp_path / "keep.py", tmp_path / "keep_test.py"
    file.write_text(FAULTY)
    tests.write_text(TESTS)

    def run(*attempts, config=None, **values):
        def load(checkpoint, verifier, base, **sampler):
            engine = Reciter(verifier, attempts)
            run.policy = Policy(config or Config(), None, None, engine, verifier, {})
            return run.policy

        monkeypatch.setattr("repair.training.policy.load_policy", load)
        monkeypatch.setattr(attempts_module, "collect_rollouts", Reciter.collect)
        settings = {"text": "", "samples": len(attempts) - 1, "temperature": 0.8}
        settings |= {"dry_run": False, "seed": 0, "cpu_seconds": 5.0, "pytest": ""}
        settings |= {"verbose": False, "json": False, "compile_cache": ""}
        settings |= {
            "tests": str(tests),
            "checkpoint": "runs/tiny",
            "adapter": "",
            "model": "",
        } | values
        monkeypatch.setattr(fix.flags, "FLAGS", types.SimpleNamespace(**settings))
        code = fix.main(str(file))
        captured = capsys.readouterr()
        run.err = captured.err
        return code, captured.out

    run.file, run.tests = file, tests
    return run


def files(folder):
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("tests", [TESTS, PYTEST])
def test_it_writes_what_passes_and_keeps_the_old_file(run, tmp_path, tests):
    run.tests.write_text(tests)
    code, out = run(["### DELL 9", REPAIR, EXIT])
    assert code == 0
    repaired = FAULTY.replace("[xs]", "[x for x in xs if x > 4]")
    assert run.file.read_text() == repaired
    assert (tmp_path / "keep.py.orig").read_text() == FAULTY
    assert files(tmp_path) == ["keep.py", "keep.py.orig", "keep_test.py"]
    assert "malformed: no line 9" in out
    assert "+    return [x for x in xs if x > 4]" in out
    assert "attempt 1: 1 edit, passes" in out and "attempt 2" not in out
    assert "passes all 2 tests; it is left alone" in run([])[1]
    assert files(tmp_path) == ["keep.py", "keep.py.orig", "keep_test.py"]


def test_samples_follow_and_the_first_that_passes_stops_them(run):
    code, out = run([EXIT], [NEARLY, NEARLY, REPAIR], [NEARLY, REPAIR], [EXIT])
    assert code == 0 and "x > 4]" in run.file.read_text()
    assert "attempt 4: 0 edits, stopped here" in out and "attempt 2:" not in out
    assert "best: attempt 3, 2 edits, passes all tests" in out


def test_a_dry_run_writes_nothing(run, tmp_path):
    code, out = run([REPAIR], dry_run=True)
    assert code == 0 and "+    return [x" in out
    assert run.file.read_text() == FAULTY
    assert files(tmp_path) == ["keep.py", "keep_test.py"]


def test_the_best_attempt_is_shown_where_none_passes(run, tmp_path):
    code, out = run(
        ["### DELL 9", EXIT],
        [NEARLY, "### ADDL 1 >>>import math", EXIT],
        [NEARLY, EXIT],
    )
    assert code == 1 and run.file.read_text() == FAULTY
    best = out[out.index("best:") :]
    assert best.startswith("best: attempt 2, 1 edit, fails 1 of 2 tests")
    assert "+    return xs" in best and "import math" not in best
    assert f"not repaired; {run.file} is as it was. Try --samples=4" in out
    assert out.count("\n") <= 40
    assert files(tmp_path) == ["keep.py", "keep_test.py"]


def test_what_is_worse_than_the_file_is_never_the_best(run):
    run.file.write_text(FAULTY.replace("[xs]", "xs"))  # one of two tests passes
    code, out = run(["### REPL 3 >>>    return None", EXIT])
    assert code == 1 and "best:" not in out and "no edit made it better" in out
    # A good state that later edits spoil counts.
    code, out = run([REPAIR.replace("4", "5"), NEARLY, "### DELL 3", EXIT])
    assert "no edit made it better" in out
    run.file.write_text(FAULTY)
    code, out = run([NEARLY, "### DELL 3", EXIT])
    assert code == 1 and "best: attempt 1, 1 edit, fails 1 of 2 tests" in out


def test_a_failure_is_short_unless_more_is_asked_for(run):
    edits = [f"### REPL 3 >>>    return {i}" for i in range(8)]
    attempts = [[*edits, EXIT]] * 9
    code, out = run(*attempts)
    assert code == 1 and out.count("\n") <= 40 and "more with --verbose" in out
    code, out = run(*attempts, verbose=True)
    assert code == 1 and out.count("\n") > 100 and "return 7" in out


def test_one_object_of_json_says_how_it_ended(run):
    code, out = run([NEARLY, EXIT], json=True)
    found = json.loads(out)
    assert code == 1 and not found["repaired"] and found["tests"] == 2
    assert len(found["failing_before"]) == 2 and len(found["failing"]) == 1
    assert "+    return xs" in found["diff"] and "not repaired" in run.err
    code, out = run([REPAIR], json=True)
    found = json.loads(out)
    assert code == 0 and found["repaired"] and found["written"]
    assert found["backup"].endswith("keep.py.orig") and found["trust"] == "value"
    found = json.loads(run([], json=True)[1])
    assert not found["repaired"] and not found["failing"]


def test_files_longer_than_the_context_are_worked_on_by_function(run):
    others = "".join(f"def other_{i}(x):\n    return x * {i}\n\n\n" for i in range(90))
    text = (
        others
        + "class Box:\n"
        + textwrap.indent(FAULTY, "    ").replace("keep(xs)", "keep(self, xs)")
    )
    run.file.write_text(text)
    run.tests.write_text("assert Box().keep([5, 1]) == [5]\n")
    code, out = run(["### REPL 3 >>>    return [x for x in xs if x > 4]"])
    assert code == 0 and "working on keep" in out
    assert run.file.read_text() == text.replace("[xs]", "[x for x in xs if x > 4]")


def test_what_a_file_looks_like_stays(run):
    run.file.write_bytes(b"\xef\xbb\xbf" + FAULTY.replace("\n", "\r\n")[:-2].encode())
    before = run.file.read_bytes()
    os.chmod(run.file, 0o750)
    assert run([REPAIR])[0] == 0
    changed = before.replace(b"[xs]", b"[x for x in xs if x > 4]")
    assert run.file.read_bytes() == changed
    assert run.file.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    "tests, says",
    [
        ("def test(:", "keep_test.py:1 is not valid Python"),
        ("x = 1", "pytest finds no test in"),
        ("import no_such\n\ndef test(): pass", "keep_test.py:1 imports no_such, which"),
    ],
)
def test_tests_that_cannot_be_used_are_refused(run, tests, says):
    run.tests.write_text(tests)
    with pytest.raises(UserError, match=says):
        run([REPAIR])


def test_arguments_of_pytest_are_passed_on(run):
    run.tests.write_text(PYTEST)
    with pytest.raises(UserError, match="pytest refuses .*--no-such"):
        run([REPAIR], pytest="--no-such")
    code, out = run([NEARLY, EXIT], pytest="-k one")
    assert code == 1 and "fails 1 of 1 tests" in out
    assert "keep_test.py::TestKeep::test_one  got [[5, 1]]" in out


def test_files_that_cannot_be_repaired_are_refused_before_all_else(run):
    with pytest.raises(UserError, match="give tests in a file of their own"):
        run([REPAIR], tests=str(run.file))
    with pytest.raises(UserError, match="none.py does not exist"):
        run([REPAIR], tests=str(run.file.with_name("none.py")))
    with pytest.raises(UserError, match="--temperature is 0"):
        run([REPAIR], [REPAIR], temperature=0.0)
    run.file.chmod(0o444)
    with pytest.raises(UserError, match="read-only.*--dry_run"):
        run([REPAIR])
    assert run([REPAIR], dry_run=True)[0] == 0
    run.file.unlink()
    with pytest.raises(UserError, match="keep.py does not exist"):
        run([REPAIR])


def test_models_that_cannot_do_it_are_refused(run):
    with pytest.raises(UserError, match="trained in mode 'direct'"):
        run([REPAIR], config=dataclasses.replace(Config(), mode="direct"))
    run.file.write_text(FAULTY.replace("return", "#" * 5000 + "\n    return"))
    with pytest.raises(UserError, match="no function of .* fits the model's context"):
        run([REPAIR])


@pytest.mark.parametrize(
    "file, tests, checkpoint, code, says",
    [
        ("none.py", "keep_test.py", "none", 2, "error: none.py does not exist"),
        ("keep.py", "keep_test.py", "none", 2, "error: no checkpoint found in"),
        ("sound.py", "keep_test.py", "none", 0, ""),
    ],
)
def test_the_command_says_in_one_sentence(run, file, tests, checkpoint, code, says):
    run.file.with_name("sound.py").write_text(FAULTY.replace("[xs]", "xs[:1]"))
    command = [sys.executable, "-m", "repair.fix", file, f"--tests={tests}"]
    done = subprocess.run(
        [*command, f"--checkpoint={checkpoint}"],
        cwd=run.file.parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(says) and done.stderr.count("\n") == (code == 2)
    assert files(run.file.parent) == ["keep.py", "keep_test.py", "sound.py"]


def test_fix_starts_without_jax():
    """Start without jax, which would delay --help and refusals by seconds."""
    code = "import sys, repair.fix; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

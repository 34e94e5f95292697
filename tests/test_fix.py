"""The fix command, with a policy that recites commands."""

import dataclasses
import io
import os
import subprocess
import sys
import types

import pytest
from rich.console import Console

from repair import fix
from repair.env.batch import reset_all, step_all
from repair.env.environment import Environment
from repair.errors import UserError
from repair.rollout.rollout import Rollout
from repair.sandbox import Limits
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

    def encode(self, text):
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
        settings = {
            "text": "",
            "compile_cache": "",
            "samples": len(attempts) - 1,
            "temperature": 0.8,
        }
        settings |= {"dry_run": False, "seed": 0, "cpu_seconds": Limits.cpu_seconds}
        settings |= {
            "tests": str(tests),
            "checkpoint": "runs/tiny",
            "base": "",
        } | values
        monkeypatch.setattr(fix.flags, "FLAGS", types.SimpleNamespace(**settings))
        code = fix.main(str(file))
        return code, capsys.readouterr().out

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
    assert EXIT not in out  # no sample after a pass
    assert "there is nothing to repair" in run([])[1]
    assert files(tmp_path) == ["keep.py", "keep.py.orig", "keep_test.py"]


def test_samples_follow_and_the_first_that_passes_stops_them(run):
    code, out = run([EXIT], [NEARLY, NEARLY, REPAIR], [NEARLY, REPAIR], [EXIT])
    assert code == 0 and "x > 4]" in run.file.read_text()
    assert "attempts 2 to 4: turn 2, 1 of 3 ended" in out
    assert "attempt 3: a sample" in out and "attempt 2: a sample" not in out
    assert "attempt 3 passes 2 of 2 tests after 2 edits" in out


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
    assert "best: attempt 3 passes 1 of 2 tests after 1 edit " in out
    best = out[out.index("best:") :]
    assert "+    return xs" in best and "import math" not in best
    assert f"not repaired; {run.file} is as it was" in out
    assert files(tmp_path) == ["keep.py", "keep_test.py"]


def test_edits_are_coloured_diffs_that_cannot_drive_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=20)
    fix._print_diff(console, "x = 1\ny = 2", f"x = 1\ny = '{'a' * 30}\x1b[2J'", 1)
    out = console.file.getvalue()
    assert "\x1b[31m-y = 2\x1b[0m" in out
    assert f"\x1b[32m+y = '{'a' * 30}\\x1b[2J'\x1b[0m" in out


def test_what_a_file_looks_like_stays(run):
    run.file.write_bytes(b"\xef\xbb\xbf" + FAULTY.replace("\n", "\r\n")[:-2].encode())
    before = run.file.read_bytes()
    os.chmod(run.file, 0o750)
    assert run([REPAIR])[0] == 0
    changed = before.replace(b"[xs]", b"[x for x in xs if x > 4]")
    assert run.file.read_bytes() == changed
    assert run.file.stat().st_mode & 0o777 == 0o750


def test_a_program_that_does_more_than_define_is_told_of(run):
    run.file.write_text("import sys\nprint('hello')\nsys.exit(3)\n" + FAULTY)
    code, out = run(["### DELL 3", "### REPL 5 >>>    return [x for x in xs if x > 4]"])
    assert "line 3: SystemExit: 3 (it ends the interpreter when it is loaded" in out
    assert code == 0
    run.file.write_text("open('data.txt', 'w')\n" + FAULTY)
    assert "no files to write" in run([EXIT])[1]
    guard = "if __name__ == '__main__':\n    raise SystemExit(keep(1))\n"
    run.file.write_text(FAULTY + guard)
    assert "got [[5, 1]]" in run([EXIT])[1]
    run.file.write_text(FAULTY.replace("return", "while xs: pass\n    return"))
    code, out = run([EXIT], cpu_seconds=0.2)
    assert code == 1 and "longer than --cpu_seconds, 0.2 s" in out
    # The program's own words do not count.
    run.file.write_text(FAULTY.replace("[xs]", "'memory timeout SystemExit'"))
    assert "got 'memory timeout SystemExit'\n" in run([EXIT])[1]


@pytest.mark.parametrize(
    "tests, says",
    [
        ("assert (", "keep_test.py:1 is not valid Python"),
        ("x = 1", "holds no test"),
        ("import numpy\nassert keep(1)", "keep_test.py:1 imports numpy"),
        ("assert 1 == 1", "tests nothing of"),
        ("assert keep([]) == []\nassert len([]) == 1", "keep_test.py:2 fails whatever"),
    ],
)
def test_tests_that_cannot_be_used_are_refused(run, tests, says):
    run.tests.write_text(tests)
    with pytest.raises(UserError, match=says):
        run([REPAIR])


def test_tests_that_want_two_values_are_told_of_and_tried(run):
    run.tests.write_text("assert keep([1]) == []\nassert keep([1]) == [1]\n")
    code, out = run([NEARLY, EXIT])
    assert code == 1 and "wants two values of keep([1]), in lines 1 and 2" in out


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
    run.file.write_text("#" * 5000 + "\n" + FAULTY)
    with pytest.raises(UserError, match=r"are 5\d\d\d tokens, and the model's context"):
        run([REPAIR])
    assert "#\n" in run.file.read_text()


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

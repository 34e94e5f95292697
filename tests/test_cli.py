"""The entry points from outside: a user's mistake is one sentence and exit code 2."""

import os
import subprocess
import sys

import pytest

TINY = "--config=configs/tiny.py"


@pytest.fixture
def refused(request):
    """Runs a command that must be refused; returns what it says."""

    def run(module, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", f"repair.{module}", *map(str, arguments)],
            cwd=request.config.rootpath,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = done.stderr + done.stdout
        assert done.returncode == 2, said
        assert "Traceback" not in said
        (sentence,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
        return sentence

    return run


def test_a_misspelt_field_is_refused(refused, tmp_path):
    said = refused("train", TINY, f"--workdir={tmp_path}", "--config.sft.stepz=3")
    assert "stepz" in said
    assert list(tmp_path.iterdir()) == []


def test_an_argument_that_may_be_given_more_than_once(refused, tmp_path):
    assert "missing argument WORKDIR;" in refused("report")
    (tmp_path / "config.json").write_text("{}")
    assert "b holds no run" in refused("report", tmp_path, tmp_path / "b")


def test_a_missing_workdir_is_refused(refused):
    assert "workdir" in refused("train", TINY)


def test_a_workdir_below_a_file_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused("train", TINY, f"--workdir={tmp_path}/file/run")
    assert "cannot be written" in said


def test_a_workdir_of_another_config_is_refused_by_field(refused, tmp_path):
    refusal = ("train", TINY, f"--workdir={tmp_path}", "--config.tasks.train=nowhere")
    assert "nowhere" in refused(*refusal)  # after the workdir was made
    said = refused(*refusal, "--config.sft.steps=7")
    assert "sft.steps" in said and "7 here" in said


def test_a_missing_checkpoint_is_refused(refused, tmp_path):
    folder = tmp_path / "checkpoints" / "sft"
    assert "no checkpoint" in refused("evaluate", f"--checkpoint={folder}")

"""The folder of a run: its lock, its config, its results, and disks that refuse."""

import dataclasses
import errno
import json
import os
import subprocess
import sys

import pytest

from repair.errors import UserError
from repair.training.config import Config
from repair.training.workdir import (
    Results,
    hold_workdir,
    open_workdir,
    path_digest,
    write_whole,
    written_folder,
)

HOLD = """
import sys, time
from repair.training.workdir import hold_workdir
with hold_workdir(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(folder):
    """Hold a workdir in another process, until that is killed."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    return other


def test_two_processes_do_not_share_a_workdir(tmp_path):
    other = hold_elsewhere(tmp_path)
    try:
        with pytest.raises(UserError, match=f"process {other.pid} on .* trains in"):
            with hold_workdir(tmp_path):
                pass
    finally:
        other.kill()
        other.wait()
    with hold_workdir(tmp_path):  # the lock died with its process
        pass
    other.stdout.close()


def test_a_disk_that_refuses_is_told_in_one_sentence(tmp_path):
    cases = [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "a")),
        OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(tmp_path / "a")),
    ]
    for case in cases:
        with pytest.raises(UserError, match="cannot be written .*run the same") as told:
            with hold_workdir(tmp_path):
                raise case
        assert "\n" not in str(told.value)


def test_other_errors_keep_their_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        with hold_workdir(tmp_path):
            raise FileNotFoundError(errno.ENOENT, "no such file", "/elsewhere")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        with hold_workdir(tmp_path / "file" / "run"):
            pass


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_changes_are_told_and_kept_in_the_history(tmp_path):
    said, first = [], Config()
    open_workdir(tmp_path, first, said.append)
    whole = config_of(tmp_path)
    open_workdir(tmp_path, first, said.append)
    assert said == [] and config_of(tmp_path) == whole and "history" not in whole
    second = dataclasses.replace(first, checkpoint_every=5, keep=3)
    open_workdir(tmp_path, second, said.append)
    assert said == [
        "resumed with other settings: checkpoint_every 100 -> 5, keep 2 -> 3"
    ]
    open_workdir(tmp_path, dataclasses.replace(second, keep=4), said.append)
    saved = config_of(tmp_path)
    assert saved.pop("history") == [
        {"checkpoint_every": [100, 5], "keep": [2, 3]},
        {"keep": [3, 4]},
    ]
    assert saved["keep"] == 4
    (tmp_path / "checkpoints/sft/1/rest").mkdir(parents=True)
    with pytest.raises(UserError, match="seed: 0 there, 1 here"):
        open_workdir(tmp_path, dataclasses.replace(second, seed=1), said.append)


def test_a_run_without_a_checkpoint_is_set_aside(tmp_path):
    said, first = [], Config()
    (tmp_path / "notes.txt").write_text("of the user")
    open_workdir(tmp_path, first)
    for seed in (1, 2):
        (tmp_path / "demos.jsonl").write_text(f"before seed {seed}")
        open_workdir(tmp_path, dataclasses.replace(first, seed=seed), said.append)
        assert config_of(tmp_path)["seed"] == seed
        assert "history" not in config_of(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            *("config.json", "notes.txt", "set_aside")
        ]
        aside = tmp_path / "set_aside"
        assert config_of(aside)["seed"] == seed - 1
        assert (aside / "demos.jsonl").read_text() == f"before seed {seed}"
    line = f"the files of a run without a checkpoint are now in {aside}"
    assert said == [line] * 2


@pytest.mark.parametrize("text", ["", "[]", "{", "\0"])
def test_a_damaged_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json is damaged"):
        open_workdir(tmp_path, Config())
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"stages": 3, "seconds": {}}'])
def test_damaged_results_are_set_aside(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    said = []
    results = Results(tmp_path, said.append)
    assert results.values == {"stages": {}, "seconds": {}}
    assert len(said) == 1 and "evaluations are made anew" in said[0]
    assert (tmp_path / "results.json.damaged").read_text() == text
    results.set_seconds("sft", 1.23)
    results.add("demos", count=3)
    results.add("demos", digest="a")
    again = Results(tmp_path, said.append)
    assert len(said) == 1 and again.values["seconds"] == {"sft": 1.2}
    assert again.values["demos"] == {"count": 3, "digest": "a"}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "file"
    write_whole(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="full"):
            write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "tokenizer"
    (tmp_path / "tokenizer.partial").mkdir()
    (tmp_path / "tokenizer.partial" / "torn").write_text("")
    with written_folder(folder) as new:
        (new / "a").write_text("1")
        assert not folder.exists()
    assert [p.name for p in folder.iterdir()] == ["a"]
    before = path_digest(folder)
    with written_folder(folder) as new:
        (new / "a").write_text("2")
    assert path_digest(folder) != before
    with written_folder(folder) as new:
        (new / "a").write_text("1")
    assert path_digest(folder) == before == path_digest(folder)
    (folder / "a").rename(folder / "b")
    assert path_digest(folder) != before

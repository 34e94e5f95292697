"""The machine of a run: kept in its workdir, and told where it differs."""

import dataclasses
import json
import os
import subprocess
import types

import pytest

from repair.model.llama import LlamaConfig
from repair.model.sharding import make_mesh
from repair.training import machine


def test_another_machine_is_told_by_what_differs(tmp_path, monkeypatch):
    mesh, said = make_mesh(1, 1, 1), []
    machine.note_machine(tmp_path, mesh, said.append)
    machine.note_machine(tmp_path, mesh, said.append)
    sessions = json.loads((tmp_path / "machine.json").read_text())["sessions"]
    assert said == [] and len(sessions) == 1
    here = sessions[0]
    assert here["jax"] and here["python"] and int(here["cores"]) >= 1
    assert here["devices"].startswith("1 of ")
    other = here | {"cores": "96", "instruction set": "other"}
    monkeypatch.setattr(machine, "describe_machine", lambda mesh: other)
    machine.note_machine(tmp_path, mesh, said.append)
    assert len(said) == 1
    assert said[0].startswith(
        "this session differs from the one before in instruction set, cores"
        f" {here['cores']} -> 96;"
    )
    (tmp_path / "machine.json").write_text("")
    machine.note_machine(tmp_path, mesh, said.append)
    sessions = json.loads((tmp_path / "machine.json").read_text())["sessions"]
    assert sessions == [other] and len(said) == 1


def test_the_commit_is_of_the_files_in_the_folder(tmp_path):
    """A folder that its repository does not track has none."""
    assert machine.source_commit(tmp_path) == "none"
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("x = 1")
    person = {
        f"GIT_{who}_{what}": "a@b"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }

    def git(*words):
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            check=True,
            text=True,
            capture_output=True,
            env=os.environ | person,
        )
        return done.stdout.strip()

    git("init", "-q", "..")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    assert machine.source_commit(folder) == commit
    (folder / "a.py").write_text("x = 2")
    assert machine.source_commit(folder) == f"{commit}-dirty"
    installed = folder / "site-packages"
    installed.mkdir()
    (installed / "b.py").write_text("")
    assert machine.source_commit(installed) == "none"


def device(capability=None):
    found = types.SimpleNamespace(device_kind="Tesla T4")
    if capability is not None:
        found.compute_capability = capability
    return found


@pytest.mark.parametrize(
    ("capability", "dtype", "expected"),
    [
        ("7.5", "bfloat16", "float32"),
        ("8.0", "bfloat16", "bfloat16"),
        ("10.0", "bfloat16", "bfloat16"),
        ("7.5", "float16", "float16"),
        ("gfx90a", "bfloat16", "bfloat16"),  # AMD's
        (None, "bfloat16", "bfloat16"),  # a CPU, a TPU
    ],
)
def test_gpus_without_bfloat16_compute_in_float32(capability, dtype, expected):
    said, shape = [], LlamaConfig(dtype=dtype, param_dtype="bfloat16")
    found = machine.usable_precision(shape, [device(), device(capability)], said.append)
    assert found == dataclasses.replace(shape, dtype=expected)
    assert bool(said) == (expected != dtype)
    assert not said or said[0].startswith("Tesla T4 has no bfloat16, which")

"""The machine of a run: kept in its workdir, and told where it differs."""

import json
import os
import subprocess

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

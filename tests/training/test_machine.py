"""The machine of a run: kept in its workdir, and told where it differs."""

import json

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

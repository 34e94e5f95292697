"""The files around a program and its tests."""

import pathlib

import pytest

from repair.env import project as project_module
from repair.env.project import find_root, read_project
from repair.errors import UserError


def write(folder, *paths):
    for path in paths:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"# {path}\n")
    return folder


def test_the_root_is_marked_or_nearest(tmp_path):
    write(tmp_path, "a/src/p.py", "a/tests/unit/t.py", "b/q.py", "k/m/t.py")
    program, tests = tmp_path / "a/src/p.py", tmp_path / "a/tests/unit/t.py"
    assert find_root(program, tests) == tmp_path / "a"
    assert find_root(program, tests.parent) == tmp_path / "a"
    write(tmp_path, "pyproject.toml")
    assert find_root(program, tests) == tmp_path
    write(tmp_path, "a/tox.ini")
    assert find_root(program, tests) == tmp_path / "a"


def test_the_root_lies_above_packages(tmp_path):
    write(tmp_path, "k/__init__.py", "k/m/__init__.py", "k/m/p.py", "k/m/t.py")
    assert find_root(tmp_path / "k/m/p.py", tmp_path / "k/m/t.py") == tmp_path


def test_all_its_files_are_read_but_for_caches(tmp_path, monkeypatch):
    write(tmp_path, "setup.cfg", "p.py", "tests/t.py", "tests/data/x.bin", "docs/y.md")
    write(tmp_path, ".git/config", "tests/__pycache__/t.pyc", "env/pyvenv.cfg")
    (tmp_path / "p.py").write_text("import numpy, os\nfrom tests import t\nimport this")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path / "tests")
    found = read_project(tmp_path / "p.py", "t.py::test_one", "-k 'a or b' -x")
    assert set(found.files) == {
        *("setup.cfg", "p.py", "tests/t.py", "tests/data/x.bin", "docs/y.md"),
    }
    assert found.root == str(tmp_path) and found.program == "p.py"
    assert found.arguments == ("t.py::test_one", "-k", "a or b", "-x")
    assert found.cwd == "tests" and found.modules == ("numpy",)
    monkeypatch.chdir("/")
    found = read_project(tmp_path / "p.py", str(tmp_path / "tests"), "")
    assert found.arguments == ("tests",) and found.cwd == "."


def test_of_many_files_the_nearest_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(project_module, "_MOST_FILES", 4)
    write(tmp_path, *(f"a/{i}.txt" for i in range(9)), "setup.cfg")
    write(tmp_path, "z/p.py", "z/near.txt", "z/tests/t.py")
    found = read_project(tmp_path / "z/p.py", str(tmp_path / "z/tests/t.py"), "")
    assert {"z/p.py", "z/near.txt", "z/tests/t.py"} <= set(found.files)
    assert len(found.files) <= 6


def test_wrong_arguments_are_refused(tmp_path):
    write(tmp_path, "p.py", "t.py")
    with pytest.raises(UserError, match="none.py does not exist"):
        read_project(tmp_path / "p.py", "none.py", "")
    with pytest.raises(UserError, match="cannot be split"):
        read_project(pathlib.Path(tmp_path / "p.py"), str(tmp_path / "t.py"), "-k 'a")

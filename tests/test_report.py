"""The report command: several workdirs, a page or a terminal, user mistakes."""

import dataclasses
import json
import os
import types

import pytest

from repair import report
from repair.errors import UserError
from repair.training.config import Config
from repair.training.workdir import open_workdir

FLAGS = {"out": "", "episodes": 1000, "terminal": False}
FLAGS |= dict.fromkeys(("step", "group", "sample", "status", "error"), "")
FLAGS |= {"list": False, "failed": False, "sort": None}


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Run the command on workdirs a and b, which have no step of training."""
    for seed, name in enumerate("ab"):
        open_workdir(tmp_path / name, dataclasses.replace(Config(), seed=seed))

    def run(*names, **values):
        flags = types.SimpleNamespace(**FLAGS | values)
        monkeypatch.setattr(report.flags, "FLAGS", flags)
        report.main(*(str(tmp_path / name) for name in names))

    return run


def test_a_page_is_written_beside_the_first_run(command, tmp_path, capsys):
    command("a", "b")
    page = (tmp_path / "a" / "report.html").read_text()
    assert "<h1>a, b</h1>" in page and "No run has been evaluated yet" in page
    assert "No run has made a step of training yet" in page
    assert str(tmp_path / "a" / "report.html") in capsys.readouterr().out
    with pytest.raises(UserError, match="cannot be written"):
        command("b", out=str(tmp_path / "b"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    command("b", out=str(tmp_path / "elsewhere" / "page.html"))
    assert (tmp_path / "elsewhere" / "page.html").exists()


def test_one_run_of_many_may_have_no_evaluation(command, tmp_path):
    rate = {"mean": 0.5, "low": 0.25, "high": 0.75}
    results = {"stages": {"init": {"pass@1": rate}}}
    (tmp_path / "a" / "results.json").write_text(json.dumps(results))
    command("a", "b")
    assert "Not evaluated yet: b." in (tmp_path / "a" / "report.html").read_text()


def test_the_terminal_lists_all_runs(command, tmp_path, capsys):
    command("a", "b", terminal=True)
    told = capsys.readouterr().out
    assert " a " in told and " b " in told and told.count("no episodes yet") == 2
    assert not (tmp_path / "a" / "report.html").exists()


def test_the_list_is_printed_and_a_pager_may_end_early(command, capsys, monkeypatch):
    command("a", terminal=True, list=True)
    assert capsys.readouterr().out == "a: no episodes yet\n"
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as torn:
        monkeypatch.setattr("sys.stdout", torn)
        command("a", terminal=True, list=True)


@pytest.mark.parametrize(
    "values, says",
    [
        ({"sample": "0"}, "--sample, --status and --list go with --terminal"),
        ({"status": "solved"}, "--sample, --status and --list go with --terminal"),
        ({"list": True}, "--sample, --status and --list go with --terminal"),
        ({"terminal": True, "failed": True}, "go with --terminal --list"),
        ({"terminal": True, "sort": "turns"}, "go with --terminal --list"),
        ({"terminal": True, "out": "x.html"}, "--out goes with the page"),
        ({"step": "3"}, "no episodes of step '3'; it has those of: none yet"),
        ({"out": "/dev/null/page.html"}, "cannot be written"),
    ],
)
def test_mistakes_are_told(command, values, says):
    with pytest.raises(UserError, match=says):
        command("a", **values)


def test_no_run_is_refused(command):
    with pytest.raises(UserError, match="holds no run"):
        command("c")

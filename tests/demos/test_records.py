"""Demonstrations in a file: the same bytes, however often a kill came between."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest

from repair.demos import make
from repair.demos.make import make_demos
from repair.demos.records import DemoFile, read_demos, to_line, write_demos
from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Task, load_tasks
from repair.tasks.bugs import CorruptionConfig

BROKEN = Task("broken", "Fail.", "def f():\n    pass", ("assert False",))
CONFIG = CorruptionConfig(per_task=4, seed=5)
SETTINGS = {"per_task": 4, "seed": 5}


@pytest.fixture(scope="module")
def tasks():
    return [*load_tasks("generated/train", count=20), BROKEN]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def whole(tasks, sandbox, tmp_path_factory):
    """(folder, demonstrations, report) of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("whole")
    made = make_demos(tasks, sandbox, CONFIG, file=DemoFile(folder, SETTINGS))
    return folder, *made


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_holds_the_demonstrations_in_memory(tasks, sandbox, whole, tmp_path):
    folder, demos, report = whole
    assert (demos, report) == make_demos(tasks, sandbox, CONFIG)
    assert len(demos) == report.made > 70 and report.unrunnable == ("broken",)
    assert read_demos(folder / "demos.jsonl") == demos
    write_demos(tmp_path / "demos.jsonl", demos)
    assert contents(tmp_path)["demos.jsonl"] == contents(folder)["demos.jsonl"]
    assert sorted(contents(folder)) == ["demos.jsonl", "settings.json"]


KILLED = """
    import os, signal, sys
    from repair.demos import make, records
    from repair.sandbox import Sandbox
    from repair.tasks import Task, load_tasks
    from repair.tasks.bugs import CorruptionConfig

    make._CHUNK = 16
    broken = Task("broken", "Fail.", "def f():\\n    pass", ("assert False",))
    tasks = [*load_tasks("generated/train", count=20), broken]

    def progress(done, total):
        if done == 48:
            os.kill(os.getpid(), signal.SIGKILL)

    file = records.DemoFile(sys.argv[1], {"per_task": 4, "seed": 5})
    with Sandbox(workers=1) as sandbox:
        config = CorruptionConfig(per_task=4, seed=5)
        make.make_demos(tasks, sandbox, config, file=file, progress=progress)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tasks, sandbox, whole, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    begun = (tmp_path / "demos.jsonl").read_bytes()
    complete = contents(whole[0])["demos.jsonl"]
    assert 30 < begun.count(b"\n") < 49 and complete.startswith(begun)
    made = make_demos(tasks, sandbox, CONFIG, file=DemoFile(tmp_path, SETTINGS))
    assert made == whole[1:]
    assert contents(tmp_path) == contents(whole[0])


class Counting:
    """A sandbox that keeps the programs it is given."""

    def __init__(self, sandbox):
        self.sandbox, self.codes = sandbox, []

    @property
    def references(self):
        return self

    def steady(self, jobs):
        return self.sandbox.steady(jobs)

    def map(self, jobs):
        self.codes += [job[0] for job in jobs]
        return self.sandbox.map(jobs)

    def allowances(self, references):
        return self.sandbox.allowances(references)


@pytest.mark.parametrize("lines", [0, 1, 40])
@pytest.mark.parametrize("torn", [0, 7])
def test_a_torn_line_is_cut_and_no_other_is_made_twice(
    tasks, sandbox, whole, tmp_path, monkeypatch, lines, torn
):
    monkeypatch.setattr(make, "_CHUNK", 16)
    folder, demos, report = whole
    for name, data in contents(folder).items():
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "demos.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[:lines]) + rows[lines][:torn])
    counting = Counting(sandbox)
    file = DemoFile(tmp_path, SETTINGS)
    assert make_demos(tasks, counting, CONFIG, file=file) == (demos, report)
    assert contents(tmp_path) == contents(folder)
    known = {demo.bug.faulty_code for demo in demos[:lines]}
    assert not known & set(counting.codes)
    assert {demo.bug.faulty_code for demo in demos[lines:]} <= set(counting.codes)


def test_a_finished_file_is_left_alone(tasks, sandbox, whole):
    folder, demos, report = whole
    stamp = os.stat(folder / "settings.json").st_mtime_ns
    made = make_demos(tasks, sandbox, CONFIG, file=DemoFile(folder, SETTINGS))
    assert made == (demos, report)
    assert os.stat(folder / "settings.json").st_mtime_ns == stamp
    assert len(read_demos(folder / "demos.jsonl")) == len(demos)


def test_other_settings_tasks_or_files_are_refused(tasks, sandbox, whole, tmp_path):
    folder = whole[0]
    with pytest.raises(UserError, match="seed: 5 there, 6 here"):
        DemoFile(folder, SETTINGS | {"seed": 6})
    with pytest.raises(UserError, match="tasks: 'absent' there, 'x' here"):
        DemoFile(folder, SETTINGS | {"tasks": "x"})
    before = contents(folder)
    with pytest.raises(UserError, match="is of another program than these tasks give"):
        make_demos(tasks[:5], sandbox, CONFIG, file=DemoFile(folder, SETTINGS))
    assert contents(folder) == before
    (tmp_path / "demos.jsonl").write_text("mine\n")
    with pytest.raises(UserError, match="was made from unknown settings"):
        DemoFile(tmp_path, SETTINGS)
    assert (tmp_path / "demos.jsonl").read_text() == "mine\n"


def test_a_run_that_fails_at_once_leaves_the_folder_free(sandbox, tmp_path):
    with pytest.raises(UserError, match="none of 1 tasks"):
        make_demos([BROKEN], sandbox, CONFIG, file=DemoFile(tmp_path, SETTINGS))
    assert not contents(tmp_path)


def test_an_unfinished_folder_is_refused_until_it_has_a_summary(whole, tmp_path):
    write_demos(tmp_path / "demos.jsonl", whole[1][:2])
    with pytest.raises(UserError, match="summary.json is missing.*same command"):
        read_demos(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    assert read_demos(tmp_path) == whole[1][:2]


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda row: row.pop("states"), "field 'states' is missing"),
        (lambda row: row.update(commands="### EXIT"), "'commands' is str, expected a"),
        (lambda row: row.update(corruptions="1"), "'corruptions' is str, expected an"),
        (lambda row: row.update(corruptions=True), "'corruptions' is bool"),
        (lambda row: row["states"].append(3), "'states[]' is int, expected a string"),
        (lambda row: row["states"].append("x"), "'states' holds 2 beside 1 'commands'"),
        (lambda row: row.pop("task"), "field 'task' is missing"),
        (lambda row: row["task"].pop("code"), "field 'task': field 'code' is missing"),
        (
            lambda row: row["task"].update(task_id=None),
            "field 'task': field 'task_id' is null",
        ),
    ],
)
def test_a_wrong_row_is_named_with_line_and_field(whole, tmp_path, change, says):
    row = json.loads(to_line(whole[1][0]))
    row["states"], row["commands"] = row["states"][:1], row["commands"][-1:]
    good = json.dumps(row)
    path = tmp_path / "demos.jsonl"
    path.write_text(good)
    assert read_demos(path)[0].commands == ("### EXIT",)
    change(row)
    path.write_text(f"{good}\n{json.dumps(row)}\n")
    with pytest.raises(UserError, match=f"demos.jsonl:2: .*{re.escape(says)}"):
        read_demos(path)

"""Demonstrations in a folder: the same bytes, however they came to be made."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from repair.demos.demo_folder import DemoFolder, make_demo_folder
from repair.demos.make import DemoSettings, make_demos
from repair.demos.records import to_line
from repair.demos.shards import ShardWriter
from repair.demos.statistics import Tally
from repair.env.environment import Environment
from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Task, load_tasks

BROKEN = Task("broken", "Fail.", "def f():\n    pass", ("assert False",))
SETTINGS = DemoSettings(per_task=4, seed=5)
SHARD = 30  # seven tasks of four candidates: three files


@pytest.fixture(scope="module")
def tasks():
    return [*load_tasks("generated/train", count=20), BROKEN]


@pytest.fixture(scope="module")
def whole(tasks, tmp_path_factory):
    """A folder that was made in one go by one worker."""
    folder = tmp_path_factory.mktemp("whole")
    with Sandbox(workers=1) as sandbox:
        make_demo_folder(folder, tasks, sandbox, SETTINGS, shard=SHARD)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_demonstration_of_twenty_tasks_replays(tasks, whole):
    demos = DemoFolder(whole)
    assert len(demos) > 70
    with Sandbox() as sandbox:
        for demo in demos:
            environment = Environment(sandbox)
            turn = environment.reset(demo.bug)
            for state, command in zip(demo.states, demo.commands, strict=True):
                assert turn.state_text == state and not turn.malformed
                assert turn.passed == (command == "### EXIT")
                turn = environment.step(command)
            assert turn.status == "solved"
            assert environment.code.strip()


def test_a_folder_holds_what_is_made_in_memory(tasks, whole):
    with Sandbox() as sandbox:
        demos, report = make_demos(tasks, sandbox, per_task=4, seed=5)
    folder, tally = DemoFolder(whole), Tally()
    assert list(folder) == demos and len(folder) == len(demos)
    for demo in folder:
        tally.add(demo)
    assert folder.report(tally) == report
    assert report.unrunnable == ("broken",)
    assert report.made + sum(report.dropped.values()) == 20 * 4
    assert [s["file"] for s in folder.index["shards"]] == [
        f"demos-0000{n}-of-00003.jsonl" for n in range(3)
    ]


@pytest.mark.parametrize("files", ["jsonl", "array_record"])
def test_four_workers_write_the_same_bytes(tasks, whole, tmp_path, files):
    if files == "array_record":
        pytest.importorskip("array_record")
    settings = {"files": files, "shard": SHARD}
    for name, workers in (("first", 4), ("second", 1)):
        with Sandbox(workers=workers) as sandbox:
            folder = tmp_path / name
            found = make_demo_folder(folder, tasks, sandbox, SETTINGS, **settings)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert list(found) == list(DemoFolder(whole))
    if files == "jsonl":
        assert contents(tmp_path / "first") == contents(whole)


KILLED = """
    import os, pathlib, signal, sys
    from repair.demos.demo_folder import make_demo_folder
    from repair.demos.make import DemoSettings
    from repair.sandbox import Sandbox
    from repair.tasks import Task, load_tasks

    broken = Task("broken", "Fail.", "def f():\\n    pass", ("assert False",))
    tasks = [*load_tasks("generated/train", count=20), broken]
    seen = []

    def progress(done):
        seen.append(done)
        if len(seen) == 4:  # in the midst of the second file
            os.kill(os.getpid(), signal.SIGKILL)

    with Sandbox(workers=1) as sandbox:
        settings = DemoSettings(per_task=4, seed=5)
        folder = pathlib.Path(sys.argv[1])
        make_demo_folder(
            folder, tasks, sandbox, settings, shard=30, progress=progress
        )
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tasks, whole, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    first = tmp_path / "demos-00000-of-00003.jsonl"
    stamp = os.stat(first).st_mtime_ns
    assert not (tmp_path / "demos-00001-of-00003.jsonl").exists()
    with pytest.raises(UserError, match="1 of 3 files"):
        DemoFolder(tmp_path)
    calls = []
    with Sandbox() as sandbox:
        make_demo_folder(
            tmp_path, tasks, sandbox, SETTINGS, shard=SHARD, progress=calls.append
        )
    assert contents(tmp_path) == contents(whole)
    assert os.stat(first).st_mtime_ns == stamp
    assert calls[0] == 7 * 4 and calls[-1] == 21 * 4 and calls == sorted(calls)


def test_references_are_judged_once_for_all(tasks, whole, tmp_path):
    class Verifier:
        """A sandbox that a second run should not ask about references."""

        def __init__(self, sandbox):
            self.sandbox, self.jobs = sandbox, []

        def map(self, jobs):
            self.jobs += jobs
            return self.sandbox.map(jobs)

        def allowances(self, references):
            return self.sandbox.allowances(references)

    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "demos-00002-of-00003.jsonl").unlink()
    with Sandbox() as sandbox:
        verifier = Verifier(sandbox)
        make_demo_folder(tmp_path, tasks, verifier, SETTINGS, shard=SHARD)
    assert contents(tmp_path) == contents(whole)
    known = {task.code for task in tasks[:14]}
    assert verifier.jobs and not any(job[0] in known for job in verifier.jobs)


def test_a_finished_folder_needs_no_sandbox(tasks, whole):
    before = contents(whole)
    demos = make_demo_folder(whole, tasks, None, SETTINGS, shard=SHARD)
    assert len(demos) > 70 and contents(whole) == before


def test_wrong_settings_leave_the_folder_free(tasks, tmp_path):
    wrong = DemoSettings(per_task=1, kinds=("swap",))
    with Sandbox() as sandbox:
        with pytest.raises(UserError, match="kinds"):
            make_demo_folder(tmp_path, tasks, sandbox, wrong)
        right = DemoSettings(per_task=1)
        assert len(make_demo_folder(tmp_path, tasks, sandbox, right)) > 15


def test_other_tasks_or_settings_are_refused(tasks, whole):
    other = DemoSettings(per_task=4, seed=6)
    with pytest.raises(UserError, match="seed: 5 there, 6 here"):
        make_demo_folder(whole, tasks, None, other, shard=SHARD)
    with pytest.raises(UserError, match="tasks_sha256"):
        make_demo_folder(whole, tasks[::-1], None, SETTINGS, shard=SHARD)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda row: row.pop("states"), "field 'states' is missing"),
        (lambda row: row.update(commands="### EXIT"), "'commands' is str, expected a"),
        (lambda row: row.update(corruptions="1"), "'corruptions' is str, expected int"),
        (lambda row: row.update(corruptions=True), "'corruptions' is bool"),
        (lambda row: row["states"].append(3), "'states' is list, expected a list of s"),
        (lambda row: row["states"].append("x"), "2 'states' and 1 'commands'"),
        (lambda row: row.pop("task"), "field 'task' is missing"),
        (lambda row: row["task"].pop("code"), "field 'task.code' is missing"),
        (lambda row: row["task"].update(task_id=None), "field 'task.task_id' is None"),
    ],
)
def test_a_wrong_row_is_named_with_file_row_and_field(whole, tmp_path, change, says):
    row = json.loads(to_line(DemoFolder(whole)[0]))
    row["states"], row["commands"] = row["states"][:1], row["commands"][-1:]
    good = json.dumps(row).encode()
    change(row)
    writer = ShardWriter(tmp_path, "demos", count=1, settings={})
    writer.write(0, [good, json.dumps(row).encode()], {})
    demos = DemoFolder(tmp_path)
    assert demos[0].commands == ("### EXIT",)
    with pytest.raises(UserError, match=f"demos-00000-of-00001.jsonl:2 .*{says}"):
        demos[1]

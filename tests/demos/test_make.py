"""Every demonstration starts failing, ends solved, and is what the seed says."""

import dataclasses

import pytest

from repair.demos.make import inverses, make_demos
from repair.demos.records import read_demos, write_demos
from repair.env import editor
from repair.env.environment import Environment
from repair.errors import UserError
from repair.sandbox import Limits, Result, Sandbox
from repair.tasks import Bug, Task, load_tasks
from repair.tasks.bugs import CorruptionConfig, make_bugs
from repair.tasks.corrupt import KINDS, Corruption

DOUBLE = Task(
    "double",
    "Write a function to double a number.",
    "def double(x):\n    y = x + x\n    return y",
    ("assert double(2) == 4", "assert double(-1) == -2"),
    hidden_test_list=("assert double(0) == 0",),
)
BROKEN = dataclasses.replace(DOUBLE, task_id="broken", test_list=("assert False",))


class Passes:
    """A sandbox that passes the given programs and counts its jobs."""

    def __init__(self, *codes):
        self.codes, self.jobs = codes, []

    @property
    def references(self):
        return self

    def steady(self, jobs):
        return self.map(jobs)

    def map(self, jobs):
        self.jobs += jobs
        return [
            Result(True, "passed", "", (), 0.0, "value")
            if code in self.codes
            else Result(False, "failed", "test 1: no", (0,), 0.0, "value")
            for code, *_ in jobs
        ]

    def allowances(self, references):
        return [1.0 for _ in references]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, limits=Limits(cpu_seconds=0.5)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def tasks():
    return [*load_tasks("generated/train", count=12), DOUBLE, BROKEN]


@pytest.mark.parametrize("order", ["reversed", "top_down"])
def test_demos_replay_to_solved(sandbox, tasks, order):
    calls = []
    demos, report = make_demos(
        tasks,
        sandbox,
        CorruptionConfig(per_task=3, max_corruptions=4, order=order),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert report.unrunnable == ("broken",)
    assert report.made == len(demos) == sum(report.by_edits.values()) > 25
    assert report.made + sum(report.dropped.values()) == 13 * 3
    assert report.verbs["EXIT"] == len(demos) and len(report.verbs) == 5
    assert calls[-1][0] == calls[-1][1]
    assert len({(d.bug.task.task_id, d.bug.faulty_code) for d in demos}) == len(demos)
    for demo in demos[::4]:
        environment = Environment(sandbox)
        turn = environment.reset(demo.bug)
        rewards = []
        for state, command in zip(demo.states, demo.commands, strict=True):
            # Trap 7; and only the EXIT is an answer to a passing program.
            assert not turn.malformed and turn.state_text == state
            assert turn.passed == (command == "### EXIT")
            turn = environment.step(command)
            rewards.append(turn.reward)
        assert turn.status == "solved"
        assert sum(rewards) == rewards[-2] == 1.0


def test_variants_of_a_program_are_demonstrated_once(sandbox, tasks):
    config = CorruptionConfig(per_task=3)
    rows = [
        dataclasses.replace(task, task_id=f"{task.task_id}/{n}", faulty_code=f"bad {n}")
        for task in tasks[:4]
        for n in range(5)
    ]
    demos, report = make_demos(rows, sandbox, config)
    assert report.made + sum(report.dropped.values()) == 4 * 3
    assert {demo.bug.task.task_id for demo in demos} == {
        f"{task.task_id}/0" for task in tasks[:4]
    }


def test_same_seed_same_bytes_in_any_order_of_tasks(sandbox, tasks, tmp_path):
    def lines(tasks, name, **settings):
        demos, _ = make_demos(tasks, sandbox, CorruptionConfig(per_task=2, **settings))
        write_demos(tmp_path / name, demos)
        assert read_demos(tmp_path / name) == demos
        return (tmp_path / name).read_bytes().split(b"\n")

    first = lines(tasks[:5], "a")
    assert lines(tasks[:5], "b") == first
    assert sorted(lines(tasks[4::-1], "c")) == sorted(first)
    assert lines(tasks[:5], "d", seed=1) != first


def test_inverses_restore_every_stage():
    lines = ["a b", "c"]
    made = (
        Corruption("add", 3, text="d"),
        Corruption("word", 1, old="a", new="b"),
        Corruption("replace", 2, text="e"),
        Corruption("delete", 1),
    )
    assert inverses(lines, made) == [
        editor.AddLine(1, "b b"),
        editor.ReplaceLine(2, "c"),
        editor.ReplaceLine(1, "a b"),
        editor.DeleteLine(3),
    ]


def test_exits_at_the_first_pass_and_drops_what_starts_passing():
    halfway = "def double(x):\n    return y"
    config = CorruptionConfig(30, 1, 2, order="top_down", kinds=("delete",))
    demos, report = make_demos([DOUBLE], Passes(DOUBLE.code, halfway), config)
    by_start = {demo.bug.faulty_code: demo for demo in demos}
    # Three programs lack one line and three lack two; halfway passes as it is.
    assert len(by_start) == 5 and report.dropped["starts passing"] == 1
    assert by_start["    return y"].commands == (
        "### ADDL 1 >>>def double(x):",
        "### EXIT",
    )
    assert len(by_start["    y = x + x"].commands) == 3


def test_drops_what_needs_too_many_turns():
    verifier = Passes(DOUBLE.code)
    config = CorruptionConfig(9, 2, 2, kinds=("delete",))
    demos, report = make_demos([DOUBLE], verifier, config, max_turns=2)
    assert demos == [] and report.dropped["needs too many turns"] == 3
    assert report.edits == 0


def test_corruption_counts_and_kinds_are_uniform():
    tasks = load_tasks("generated/train", count=40)
    verifier = Passes(*(task.code for task in tasks))
    demos, report = make_demos(tasks, verifier, CorruptionConfig(per_task=10))
    counts = [sum(d.bug.corruptions == n for d in demos) for n in range(1, 6)]
    assert min(counts) > 50 and sum(counts) == len(demos)
    assert all(report.by_edits[n] == counts[n - 1] for n in range(1, 6))
    total = sum(report.verbs.values()) - report.verbs["EXIT"]
    assert all(report.verbs[v] > 0.15 * total for v in ("ADDL", "DELL", "REPL", "REPW"))


def test_bugs_fail_and_differ(sandbox, tasks):
    known = dataclasses.replace(DOUBLE, task_id=7, faulty_code="double = abs")
    config = CorruptionConfig(per_task=2, max_corruptions=1)
    bugs = make_bugs([*tasks[:4], known, BROKEN], sandbox, config)
    ids = [f"{task.task_id}/{k}" for task in tasks[:4] for k in range(2)]
    assert [bug.bug_id for bug in bugs] == [*ids, "7/0"]
    assert bugs[-1] == Bug("7/0", known, "double = abs", 0)
    assert all(bug.corruptions == 1 for bug in bugs[:-1])
    assert len({bug.faulty_code for bug in bugs}) == len(bugs)
    for bug in bugs:
        assert not sandbox.run(bug.faulty_code, bug.task.test_list).passed
    again = make_bugs([known, *tasks[3::-1]], sandbox, config)
    assert sorted(again, key=str) == sorted(bugs, key=str)


def test_bugs_are_drawn_again_until_they_fail():
    one_line_less = ["    y = x + x\n    return y", "def double(x):\n    return y"]
    verifier = Passes(DOUBLE.code, *one_line_less)
    config = CorruptionConfig(per_task=2, max_corruptions=1, kinds=("delete",))
    bugs = make_bugs([DOUBLE], verifier, config)
    assert [bug.faulty_code for bug in bugs] == ["def double(x):\n    y = x + x"]


def test_user_errors(tmp_path):
    with pytest.raises(UserError, match="none of 1 tasks"):
        make_demos([BROKEN], Passes(), CorruptionConfig(per_task=1))
    passing = dataclasses.replace(DOUBLE, faulty_code="x")
    with pytest.raises(UserError, match="faulty program"):
        make_bugs([passing], Passes("x", DOUBLE.code), CorruptionConfig())
    with pytest.raises(UserError, match="cannot read"):
        read_demos(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="cannot write"):
        write_demos(tmp_path / "none" / "demos.jsonl", [])
    for torn in ("{", "{}", '{"states": [], "commands": [], "task": {}}'):
        (tmp_path / "torn.jsonl").write_text("\n" + torn)
        with pytest.raises(UserError, match="torn.jsonl:2"):
            read_demos(tmp_path / "torn.jsonl")


def test_file_keeps_any_text_that_a_tokenizer_takes(tmp_path):
    task = dataclasses.replace(DOUBLE, task_id=3, code="x = '\u2028é'", faulty_code="y")
    config = CorruptionConfig(per_task=4, kinds=KINDS[1:])
    demos, _ = make_demos([task], Passes(task.code), config)
    write_demos(tmp_path / "demos.jsonl", demos)
    assert demos and read_demos(tmp_path / "demos.jsonl") == demos
    assert [path.name for path in tmp_path.iterdir()] == ["demos.jsonl"]

"""Sources of bugs: fresh corruptions by epoch, and files that are kept apart."""

import dataclasses
import json

import pytest

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import load_tasks
from repair.training.bug_source import draw_bugs, rlvr_bugs
from repair.training.config import Config, DemosConfig, EvalConfig, TasksConfig
from repair.training.rlvr_config import RlvrConfig
from repair.training.task_set import RepairTaskSet, open_task_set


@pytest.fixture(scope="module")
def verifier():
    with Sandbox(workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def tasks():
    return load_tasks("generated/train", count=6)


def task_set(**rlvr):
    demos = DemosConfig(max_corruptions=2)
    return RepairTaskSet(Config(seed=3, demos=demos, rlvr=RlvrConfig(**rlvr)))


def write(path, tasks, **fields):
    rows = [json.dumps(dataclasses.asdict(task) | fields) for task in tasks]
    path.write_text("".join(row + "\n" for row in rows))
    return str(path)


def variants(tasks, count):
    """Return tasks with faulty programs that raise, several of each."""
    return [
        dataclasses.replace(t, task_id=f"{t.task_id}/{n}", faulty_code=f"1 / 0  # {n}")
        for t in tasks
        for n in range(count)
    ]


def test_each_epoch_has_fresh_corruptions_of_each_task(verifier, tasks):
    bugs = rlvr_bugs(task_set(bugs_per_task=2), (tasks, []), verifier)
    first, second = bugs(0), bugs(1)
    assert len(first) == len(second) == 12
    assert [b.task for b in first] == [b.task for b in second]
    assert {b.bug_id for b in first}.isdisjoint(b.bug_id for b in second)
    codes = {b.faulty_code for b in first}
    assert len(codes) == 12
    assert sum(b.faulty_code in codes for b in second) <= 2
    assert not any(
        result.passed
        for result in verifier.map(
            [(b.faulty_code, b.task.test_list, b.task.test_setup_code) for b in second]
        )
    )
    # A function of (seed, epoch): asked for again, by another, in another order.
    again = rlvr_bugs(task_set(bugs_per_task=2), (tasks, []), verifier)
    assert (again(1), again(0), bugs(0)) == (second, first, first)
    assert again(2) not in (first, second)


def test_a_files_bugs_are_the_same_in_all_epochs(verifier, tasks, tmp_path):
    rows = variants(tasks[:2], 3)
    path = write(tmp_path / "faulty.jsonl", rows)
    bugs = rlvr_bugs(task_set(bugs=path), (tasks[2:], tasks[3:]), verifier)
    assert bugs(0) == bugs(5)
    assert [b.faulty_code for b in bugs(0)] == [row.faulty_code for row in rows]
    held_out = (tasks[2:], [dataclasses.replace(tasks[1], task_id="other")])
    with pytest.raises(UserError, match="row 4 of .*which is held out"):
        rlvr_bugs(task_set(bugs=path), held_out, verifier)


def test_a_file_without_faulty_programs_is_refused(verifier, tasks, tmp_path):
    path = write(tmp_path / "tasks.jsonl", tasks)
    with pytest.raises(UserError, match="row 1, has no faulty_code; give a file of"):
        rlvr_bugs(task_set(bugs=path), (tasks, []), verifier)


def test_an_evaluation_has_bugs_of_its_own(verifier, tasks, tmp_path):
    path = write(tmp_path / "faulty.jsonl", variants(tasks[:2], 3))
    sizes = TasksConfig(train_count=6, eval_count=4)
    opened = RepairTaskSet(Config(tasks=sizes, eval=EvalConfig(bugs=path)))
    train, held_out = opened.tasks()
    assert len(held_out) == 6 and len(train) == 4
    assert {t.code for t in train}.isdisjoint(t.code for t in held_out)
    assert len(draw_bugs(opened, held_out, verifier, 0, 1)) == 6
    several = draw_bugs(RepairTaskSet(Config(tasks=sizes)), tasks[:2], verifier, 0, 3)
    assert [b.bug_id.split("/")[-1] for b in several] == ["0", "1", "2"] * 2
    everything = write(tmp_path / "all.jsonl", variants(tasks, 1))
    opened = RepairTaskSet(Config(tasks=sizes, eval=EvalConfig(bugs=everything)))
    with pytest.raises(UserError, match="leaves none; give other tasks.train"):
        opened.tasks()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"bugs_per_task": 0}, "bugs_per_task is 0, expected 1 to 10,000"),
        ({"bugs_per_task": 2, "bugs": "x"}, "is 2, expected 1 with bugs of a file"),
        ({"curriculum": 0.5, "bugs": "x"}, "is 0.5, expected 0 with bugs of a file"),
        ({"curriculum_by": "size"}, "expected one of '', 'solve_rate'"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(fields, says):
    with pytest.raises(UserError, match=says):
        RlvrConfig(**fields)


@pytest.mark.parametrize("section", ["rlvr", "eval"])
def test_another_task_set_is_told_what_it_cannot_do(section):
    class Other:
        name, make_tool = "other", None

        def __init__(self, config):
            self.config = config

    kinds = {"rlvr": RlvrConfig, "eval": EvalConfig}
    for fields in ({"bugs": "x"}, {"bugs_per_task": 2}):
        config = Config(task_set="other", **{section: kinds[section](**fields)})
        with pytest.raises(UserError, match=f"{section}.{next(iter(fields))} is for"):
            open_task_set(config, Other)

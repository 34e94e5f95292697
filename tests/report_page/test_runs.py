"""Workdirs read back: names, steps, groups, and the share of them on a page."""

import dataclasses
import json

import pytest

from repair.errors import UserError
from repair.report_page import runs as reading
from repair.report_page.runs import (
    find_steps,
    open_runs,
    parts,
    pick_group,
    read_groups,
)


def test_a_workdir_is_read(runs):
    run = runs[0]
    assert run.name == "first <b>" and run.config["seed"] == 0
    assert list(run.steps) == ["eval_sft", "rlvr_1", "rlvr_2"]
    assert list(run.results["stages"]) == ["sft"] and len(run.metrics) == 93
    assert [reading.title(step) for step in run.steps] == [
        "evaluation after SFT",
        "RLVR, step 1",
        "RLVR, step 2",
    ]


def test_steps_stand_in_the_order_of_the_run():
    names = ["rlvr_10", "eval_rlvr", "rlvr_9", "eval_sft", "other", "eval_init"]
    order = ["eval_init", "eval_sft", "rlvr_9", "rlvr_10", "eval_rlvr", "other"]
    assert sorted(names, key=reading._order) == order


def test_runs_are_named_apart(tmp_path):
    folders = [tmp_path / end for end in ("a/run", "b/run", "b/other")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert [run.name for run in open_runs(folders)] == ["a/run", "b/run", "b/other"]
    assert [run.name for run in open_runs(folders[1:])] == ["run", "other"]
    with pytest.raises(UserError, match="given twice"):
        open_runs([folders[0], tmp_path / "b" / ".." / "a" / "run"])


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        open_runs([tmp_path])
    (tmp_path / "results.json").write_text("{torn")
    with pytest.raises(UserError, match="results.json cannot be read"):
        open_runs([tmp_path])
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(UserError, match="no JSON object"):
        open_runs([tmp_path])
    for stages in (
        "3",
        '{"sft": 3}',
        '{"sft": {}}',
        '{"sft": {"pass@1": {"mean": "x"}}}',
    ):
        (tmp_path / "results.json").write_text(f'{{"stages": {stages}}}')
        with pytest.raises(UserError, match="no figures by stage"):
            open_runs([tmp_path])


def test_the_folder_of_an_evaluation_is_read(runs, tmp_path):
    """Its file of episodes stands beside results.json, its machine within."""
    results = {"stages": {}, "machine": {"jax": "1"}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    written = runs[0].steps["eval_sft"].read_text()
    (tmp_path / "trajectories.jsonl").write_text(written)
    (run,) = open_runs([tmp_path])
    assert list(run.steps) == ["trajectories"] and run.machine == {"jax": "1"}
    assert reading.title("trajectories") == "evaluation"
    assert reading.last_step(run) == "trajectories"
    assert len(parts(run, 0)[0].endings) == 6


def test_a_view_opens_at_the_last_stage(runs):
    def last(*names):
        steps = dict.fromkeys(names)
        return reading.last_step(dataclasses.replace(runs[0], steps=steps))

    assert last("eval_init", "rlvr_1", "eval_rlvr", "eval_rlvr_best") == "eval_rlvr"
    assert last("eval_init", "eval_sft_best", "rlvr_1") == "eval_init"
    assert last("rlvr_1", "rlvr_2") == "rlvr_2" and last() == ""


def test_a_step_is_found_by_name_or_number(runs):
    assert find_steps(runs[0], "2") == find_steps(runs[0], "rlvr_2") == ["rlvr_2"]
    assert find_steps(runs[0], "") == list(runs[0].steps)
    with pytest.raises(UserError, match="'7'; it has those of: eval_sft, rlvr_1"):
        find_steps(runs[0], "7")


def test_groups_hold_the_samples_of_a_bug(runs):
    groups = read_groups(runs[0].steps["eval_sft"])
    assert list(groups) == ["one/1", "one/2"]
    assert [r["label"] for r in groups["one/1"]] == ["greedy", "0", "1"]
    with pytest.raises(UserError, match="no group 'x'; it has 2: one/1, one/2"):
        pick_group(runs[0], "eval_sft", groups, "x")


def test_a_bug_that_a_step_took_twice_keeps_its_samples_apart(runs, tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text(runs[0].steps["rlvr_1"].read_text() * 2)
    labels = [record["label"] for record in read_groups(path)["one/1"]]
    assert labels == ["0", "1", "0.2", "1.2"]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"bug_id": 1}', b"\xff"])
def test_a_line_that_is_no_record_is_named(runs, tmp_path, line):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(runs[0].steps["rlvr_1"].read_bytes() + line + b"\n")
    with pytest.raises(UserError, match="line 5: expected the record"):
        read_groups(path)
    record = json.loads(runs[0].steps["rlvr_1"].read_text().splitlines()[0])
    for name in ("turns", "tests", "text", "code"):
        path.write_text(json.dumps(record | {name: 3}) + "\n")
        with pytest.raises(UserError, match="line 1: expected the record"):
            read_groups(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_groups(tmp_path)


def test_a_page_takes_whole_groups_up_to_its_room(runs):
    def sizes(*args):
        found = parts(runs[0], *args)
        return {part.step: (len(part.groups), part.of) for part in found}

    everything = {"eval_sft": (2, 2), "rlvr_1": (2, 2), "rlvr_2": (2, 2)}
    assert sizes(0) == sizes(1000) == everything
    assert sizes(1) == {"eval_sft": (1, 2)}
    # Two steps: half of the room for the evaluation, of six episodes.
    assert sizes(40) == {"eval_sft": (2, 2), "rlvr_1": (2, 2)}
    # Four episodes: of the evaluation two, which is less than its first group.
    assert sizes(4) == {"eval_sft": (1, 2)}
    assert sizes(1, "2") == {"rlvr_2": (1, 2)}
    assert sizes(1, "", "one/2") == dict.fromkeys(everything, (1, 2))
    # Of a single group all episodes of its step are counted too.
    assert [len(part.endings) for part in parts(runs[0], 1, "", "one/2")] == [6, 4, 4]
    with pytest.raises(UserError, match="no group 'x'"):
        parts(runs[0], 0, "", "x")


def test_steps_are_left_out_evenly():
    names = ["eval_init", *(f"rlvr_{n}" for n in range(1, 12)), "eval_rlvr"]
    kept = ["eval_init", "rlvr_1", "rlvr_6", "rlvr_11", "eval_rlvr"]
    assert reading._spread(names, 5) == kept
    assert reading._spread(names, 13) == names

"""The comparison with peers: turns, resuming, the table, and all of it in small."""

import json
import pathlib
import subprocess
import sys

import pytest

from benchmarks import peers
from benchmarks.peer_sides import table
from repair.tasks import load_tasks

ROOT = pathlib.Path(__file__).parent.parent


def record(part, side, repeat, **figures):
    figures = {"warm_up_seconds": 3.0, **figures}
    names = {"part": part, "side": side, "repeat": repeat}
    return names | {"figures": figures, "peak_mib": 100.0 + repeat}


def writer(folder, made, fails=(), ends_after=99):
    """Return a measurement that writes a record, fails, or is interrupted."""

    def start(where, part, side, repeat):
        assert where == folder
        if len(made) == ends_after:
            raise KeyboardInterrupt
        made.append((side, repeat))
        if side in fails:
            return False
        path = table.record_path(folder, part, side, repeat)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record(part, side, repeat)))
        return True

    return start


def none_absent(side):
    return []


SFT_ORDER = [
    *(("ours", 0), ("ours_shared", 0), ("trl", 0)),
    *(("ours", 1), ("ours_shared", 1), ("trl", 1)),
]


def test_sides_take_turns_and_a_killed_run_goes_on(tmp_path):
    made = []
    with pytest.raises(KeyboardInterrupt):
        start = writer(tmp_path, made, ends_after=4)
        peers.run(tmp_path, ["sft"], 2, none_absent, start)
    assert made == SFT_ORDER[:4]
    # A record that was not written whole is no record.
    torn = table.record_path(tmp_path, "sft", "ours_shared", 1)
    torn.with_suffix(".partial").write_text("{")
    start = writer(tmp_path, made)
    assert peers.run(tmp_path, ["sft"], 2, none_absent, start)
    assert made == SFT_ORDER
    assert len(table.read_records(tmp_path)) == 6
    assert peers.run(tmp_path, ["sft"], 2, none_absent, start)
    assert made == SFT_ORDER


def test_a_side_that_fails_or_is_absent_holds_up_no_other(tmp_path, capsys):
    made = []
    start = writer(tmp_path, made, fails={"ours_shared"})

    def absent(side):
        return ["package trl"] if side == "trl" else []

    assert not peers.run(tmp_path, ["sft"], 1, absent, start)
    assert made == [("ours", 0), ("ours_shared", 0)]
    assert "trl is left out: no package trl" in capsys.readouterr().out
    made.clear()
    assert peers.run(tmp_path, ["sft"], 1, none_absent, writer(tmp_path, made))
    assert made == [("ours_shared", 0), ("trl", 0)]


def test_a_folder_of_other_settings_is_refused(tmp_path, capsys):
    tasks = tmp_path / "rows.jsonl"
    tasks.touch()
    folder = tmp_path / "runs"
    assert peers.open_folder(folder, {"model": "tiny", "turns": 10}) == ""
    assert peers.open_folder(folder, {"model": "tiny", "turns": 10}) == ""
    arguments = [f"--tasks={tasks}", "--model=tiny", f"--folder={folder}"]
    with pytest.raises(SystemExit) as ended:
        peers.main([*arguments, "--quick"])
    assert ended.value.code == 2
    assert "give another --folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        peers.main([*arguments, "--part=sft,speed"])
    assert "--part=speed: give some of sft, decode_16" in capsys.readouterr().err


def test_the_table_and_its_bars(capsys):
    rates = {"ours": (10, 30, 20), "ours_shared": (50, 40, 45), "trl": (10, 15, 30)}
    records = [
        record("sft", side, repeat, tokens_per_second=rate, row_tokens=1000)
        for side, values in rates.items()
        for repeat, rate in enumerate(values)
    ]
    seconds = {"ours": 10.0, "trl": 40.0}
    records += [
        record("grpo", side, 0, seconds=value) for side, value in seconds.items()
    ]
    parts = ["sft", "grpo", "rollouts"]
    assert table.ratios(records, parts) == {
        "SFT, tokens/s": 3.0,  # 45 by 15
        "rollouts, environment steps/s": None,
        "GRPO step, seconds": 4.0,
    }
    assert table.bars_hold(records, ["sft"])
    assert not table.bars_hold(records, ["sft", "grpo"])  # 4 times, bar 5
    assert not table.bars_hold(records, ["rollouts"])
    told = capsys.readouterr().out
    assert "3.00 times ahead  bar 2  met" in told
    assert "4.00 times ahead  bar 5  MISSED" in told
    assert "not measured  bar 5  MISSED" in told
    table.print_table(records, parts)
    lines = capsys.readouterr().out.splitlines()
    shared = next(line for line in lines if "ours_shared" in line)
    assert "| 45.0 (40.0 to 50.0) | 101 | 3.00 | row_tokens 1,000.00 |" in shared
    assert "| rollouts, environment steps/s | ours | - | - | - | - |" in lines


def test_equal_is_not_ahead():
    even = [
        record("verdicts", s, 0, verdicts_per_second=5.0) for s in ("ours", "evalplus")
    ]
    assert not table.bars_hold(even, ["verdicts"])


def test_a_step_that_trains_on_nothing_is_no_comparison():
    def ratio(ours):
        records = [
            record("grpo", "ours", 0, seconds=1.0, trained_tokens=ours),
            record("grpo", "trl", 0, seconds=9.0, trained_tokens=700),
        ]
        return table.ratios(records, ["grpo"])["GRPO step, seconds"]

    assert ratio(500) == 9.0
    assert ratio(0) is None


def test_tokens_of_demonstrations_count_shared_prompts_for_each():
    import numpy as np

    from benchmarks.peer_sides.ours import demonstration_tokens
    from repair.text.branches import plan_branches, shared_prefixes
    from repair.text.episodes import PROMPT, Example
    from repair.text.packing import pack

    def example(*lengths):
        turns = [PROMPT] * lengths[0] + [-1] * lengths[1] + [0] * lengths[2]
        return Example(np.arange(len(turns)) % lengths[0], np.array(turns, np.int16))

    examples = [example(9, 3, 2), example(9, 3, 4), example(5, 1, 1)]
    weights = [(e.turns >= 0).astype(np.float32) for e in examples]
    plain = pack(examples, [[0, 2], [1]], 24, weights, scored=8)
    assert demonstration_tokens(plain) == 14 + 16 + 7
    prefixes = shared_prefixes(examples, ["a", "a", "b"], weights)
    rows = plan_branches([14, 16, 7], prefixes, 32)
    shared = pack(examples, rows, 32, weights, scored=8, prefixes=prefixes)
    assert (shared.segments > 0).sum() < 14 + 16 + 7
    assert demonstration_tokens(shared) == 14 + 16 + 7


@pytest.mark.slow
def test_all_parts_run_in_small(tmp_path):
    """Those of ours, of TRL and transformers, and of the judges if installed."""
    pytest.importorskip("trl", reason="needs pip install -e '.[peers]'")
    rows = [
        {
            "task_id": 601 + number,
            "text": task.text,
            "code": task.code,
            "test_list": list(task.test_list),
            "test_setup_code": "",
            "challenge_test_list": [],
        }
        for number, task in enumerate(load_tasks("generated/train", count=30))
    ]
    tasks, folder = tmp_path / "mbpp.jsonl", tmp_path / "runs"
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--repeats=1"]
    command += ["--model=tiny", f"--tasks={tasks}", f"--folder={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {(r["part"], r["side"]): r for r in table.read_records(folder)}
    expected = {
        (part, side)
        for part, sides in table.SIDES.items()
        for side in sides
        if not peers.find_absent(side, "tiny")
    }
    assert found.keys() == expected
    for part in ("rollouts", "grpo"):
        turns = {r["figures"]["turns"] for key, r in found.items() if key[0] == part}
        assert len(turns) == 1, "sides play the same commands"
        assert found[part, "ours"]["figures"]["same_commands"]
    for row in table.ROWS:
        for side in table.SIDES[row.part]:
            if (row.part, side) in found:
                assert found[row.part, side]["figures"][row.value] > 0
    assert all(record["peak_mib"] > 10 for record in found.values())
    # Nothing is measured twice.
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0 and "verdicts ours 0\n" in done.stdout
    assert "verdicts ours 0\n" not in again.stdout

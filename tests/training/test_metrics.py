"""metrics.jsonl over kills and resumes, progress on and off a terminal, the table."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from repair.errors import UserError
from repair.training.metrics import MetricsWriter, progress, read_metrics


def write(workdir, rows):
    writer = MetricsWriter(workdir)
    for stage, step in rows:
        writer.write(stage, step, loss=step / 2)
    writer.close()


def test_values_become_plain_json(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write(
        "sft", jnp.int32(3), a=jnp.float32(0.5), b=np.int64(2), c=np.nan, d={"e": 1.0}
    )
    # Read before closing: a line is on file as soon as it is written.
    line = (tmp_path / "metrics.jsonl").read_text()
    want = {"stage": "sft", "step": 3, "a": 0.5, "b": 2, "c": None, "d": {"e": 1.0}}
    assert json.loads(line) == want and line.endswith("}\n")
    writer.close()


def test_resumed_file_equals_the_uninterrupted_one(tmp_path):
    """Killed at rlvr step 5 in mid-line, with the last checkpoint at step 3."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    rows = [("sft", s) for s in range(1, 7)] + [("rlvr", s) for s in range(1, 8)]
    write(tmp_path / "whole", rows)
    write(tmp_path / "killed", rows[:11])
    path = tmp_path / "killed" / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    writer = MetricsWriter(tmp_path / "killed")
    assert [r["step"] for r in read_metrics(path)] == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4]
    writer.truncate_after("rlvr", 3)
    for stage, step in rows[9:]:
        writer.write(stage, step, loss=step / 2)
    writer.close()
    assert path.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("cut", range(1, 36))
def test_file_cut_anywhere_is_mended(tmp_path, cut):
    write(tmp_path, [("sft", 1), ("sft", 2)])
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    write(tmp_path, [("sft", 2)] if cut > 1 else [])
    assert path.read_bytes() == whole


def test_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "sft", "step": 1}\n{\n{}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: expected a JSON"):
        MetricsWriter(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


def test_workdir_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="choose a --workdir"):
        (tmp_path / "file").touch()
        MetricsWriter(tmp_path / "file" / "below")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_progress_without_a_terminal():
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=20)
    with progress(1000, "sft", initial=100, console=console, clock=clock) as bar:
        for step in range(101, 501):
            clock.now += 0.5
            bar.update(step, loss=jnp.float32(1.25), note="[a]")
    assert out.getvalue().splitlines() == [
        "sft 100/1000",
        "sft 220/1000 | 2/s, 0:06:30 left, 0:01:00 gone | loss 1.25 note [a]",
        "sft 340/1000 | 2/s, 0:05:30 left, 0:02:00 gone | loss 1.25 note [a]",
        "sft 460/1000 | 2/s, 0:04:30 left, 0:03:00 gone | loss 1.25 note [a]",
        "sft 500/1000 | 2/s, 0:04:10 left, 0:03:20 gone | loss 1.25 note [a]",
    ]


def test_progress_leaves_a_slow_first_step_out_of_the_rate():
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=20)
    with progress(10, "sft", first="compiling", console=console, clock=clock) as bar:
        for step, seconds in enumerate((100, 10, 20, 30, 40)):
            clock.now += seconds
            bar.update(step + 1)
    assert out.getvalue().splitlines() == [
        "sft 0/10 | compiling",
        "sft 1/10 | 0:01:40 gone",
        "sft 4/10 | 0.05/s, 0:02:00 left, 0:02:40 gone",
        "sft 5/10 | 0.04/s, 0:02:05 left, 0:03:20 gone",
    ]


def test_progress_on_a_terminal():
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    with progress(10, "rlvr", console=console, clock=clock) as bar:
        clock.now = 4000.0
        bar.update(5, reward=-0.5)
    for part in ("rlvr", "5/10", "0.00125/s", "1:06:40 left", "reward -0.5"):
        assert part in out.getvalue()

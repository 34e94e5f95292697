"""One interface to all loggers; what real packages keep of a run that was killed."""

import dataclasses
import importlib
import importlib.util
import json
import os
import struct

import jax.numpy as jnp
import pytest

from repair.errors import UserError
from repair.training import loggers
from repair.training import run as experiment
from repair.training.config import Config, LogConfig
from repair.training.loggers import Loggers, TensorBoard, WandB, evaluation_values
from repair.training.metrics import MetricsWriter, read_metrics


def needs(package):
    found = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not found, reason=f"the extra {package} is not installed")


def config(**log):
    return dataclasses.replace(Config(), log=LogConfig(**log))


FIGURES = {
    **{"pass@1": {"mean": 0.5, "low": 0.25, "high": 0.75}, "bugs": 2},
    **{"pass@4": {"mean": 0.75, "low": 0.5, "high": 1.0}},
    "by_status": {"solved": 1, "max_turns": 1},
    "sampled": {"by_status": {"solved": 6, "exited_unsolved": 2}, "turns": 1.5},
}
EPISODE = {
    **{"bug_id": "a/0", "sample": 0, "temperature": 0.0, "text": "Add."},
    **{"status": "solved", "passed": True, "return": 0.5, "last_state": "2 tests pass"},
    "turns": [{"state": "1 test fails", "command": ">>> DELL 2"}],
}


def evaluated_twice(workdir, config):
    """Evaluate after SFT; a run that was killed before it had noted this does again."""
    records = [EPISODE, EPISODE | {"sample": 2, "temperature": 0.8, "turns": []}]
    path = workdir / "eval_sft.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    for _ in range(2):
        run = Loggers(workdir, config)
        run.truncate_after("eval", 0)
        run.write_evaluation(1, FIGURES, path, of="sft")
        run.close()


def killed_and_resumed(workdir, config):
    """Three lives: killed at sft 5, resumed at 3 and killed at 4, resumed at 2."""
    for first, last in ((1, 5), (4, 4), (3, 6)):
        run = Loggers(workdir, config)
        run.truncate_after("sft", first - 1)
        for step in range(first, last + 1):
            run.write("sft", step, loss=jnp.float32(step / 2), rate={"low": -step})
        if last == 6:
            run.truncate_after("rlvr", 0)
            run.write("rlvr", 1, loss=0.25)
            run.truncate_after("eval", 0)
            run.write("eval", 1, of="sft", mean=float("nan"))
        run.close()


def test_off_by_default_and_nothing_else_in_the_workdir(tmp_path):
    assert Config().log == LogConfig(tensorboard=False, wandb=False)
    killed_and_resumed(tmp_path, config())
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in rows if r["stage"] == "sft"] == [1, 2, 3, 4, 5, 6]


def test_an_evaluation_has_all_rates_and_the_shares_of_its_statuses(tmp_path):
    assert evaluation_values(FIGURES) == {
        **{"mean": 0.5, "low": 0.25, "high": 0.75, "pass@1": 0.5, "pass@4": 0.75},
        "status": {"solved": 0.5, "max_turns": 0.5},
        "sampled_status": {"solved": 0.75, "exited_unsolved": 0.25},
    }
    evaluated_twice(tmp_path, config())
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert (row["of"], row["step"], row["pass@4"]) == ("sft", 1, 0.75)
    assert row["status"] == {"solved": 0.5, "max_turns": 0.5} and "episodes" not in row


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_refused_before_anything_starts(
    tmp_path, monkeypatch, name
):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    line = rf"pip install -e '\.\[{name}\]'"
    with pytest.raises(UserError, match=line):
        experiment.run(config(**{name: True}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    loggers.check_packages(LogConfig())


def test_what_was_opened_is_closed_where_the_next_cannot_be(tmp_path, monkeypatch):
    def refuses(workdir, config):
        raise UserError("no login")

    closed, close = [], MetricsWriter.close
    monkeypatch.setattr(loggers, "WandB", refuses)
    monkeypatch.setattr(
        MetricsWriter, "close", lambda self: (closed.append(self), close(self))
    )
    with pytest.raises(UserError, match="no login"):
        Loggers(tmp_path, config(wandb=True))
    assert len(closed) == 1


@needs("tensorboard")
def test_tensorboard_shows_each_step_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed_and_resumed(tmp_path, config(tensorboard=True))
    assert len(list((tmp_path / "tensorboard" / "sft").iterdir())) == 3

    def curve(stage, name):
        run = EventAccumulator(str(tmp_path / "tensorboard" / stage)).Reload()
        return [(point.step, point.value) for point in run.Scalars(name)]

    assert curve("sft", "loss") == [(n, n / 2) for n in range(1, 7)]
    assert curve("sft", "rate/low") == [(n, -n) for n in range(1, 7)]
    assert curve("rlvr", "loss") == [(1, 0.25)]
    assert [step for step, _ in curve("eval", "mean")] == [1]


@needs("tensorboard")
def test_tensorboard_has_the_rates_and_statuses_of_an_evaluation(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    evaluated_twice(tmp_path, config(tensorboard=True))
    run = EventAccumulator(str(tmp_path / "tensorboard" / "eval")).Reload()
    for name, value in (("pass@4", 0.75), ("sampled_status/exited_unsolved", 0.25)):
        points = [(point.step, point.value) for point in run.Scalars(name)]
        assert points == [(1, value)]


@needs("tensorboard")
def test_tensorboard_has_a_line_as_soon_as_it_is_written(tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    writer = TensorBoard(tmp_path)
    writer.write("sft", 7, loss=1.5)
    (path,) = (tmp_path / "tensorboard" / "sft").iterdir()
    assert [event.step for event in EventFileLoader(str(path)).Load()] == [0, 7]
    writer.close()


@pytest.fixture
def wandb_session(monkeypatch):
    """Tear wandb down: it reads its environment once in a process."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    yield monkeypatch
    importlib.import_module("wandb").teardown()


def wandb_records(data):
    """Return the records of a .wandb file: LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    place, parts = 7, b""  # past the header
    while place + 7 <= len(data):
        left = -place % 32768
        if left < 7:  # too few for a record's head: filled up with zeros
            place += left
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # the whole record, or its last part
            yield Record.FromString(parts)
            parts = b""


def wandb_lines(workdir):
    """Return the lines in the files of all lives, and the ids of their runs."""
    importlib.import_module("wandb").teardown()  # waits until files are written
    paths = sorted(
        workdir.glob("wandb/offline-run-*/run-*.wandb"), key=os.path.getmtime
    )
    records = [r for path in paths for r in wandb_records(path.read_bytes())]
    lines = [
        {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        for record in records
        if record.HasField("history")
    ]
    return lines, {r.run.run_id for r in records if r.HasField("run")}


@needs("wandb")
def test_wandb_gets_each_step_once_in_one_run(tmp_path, wandb_session):
    wandb_session.setenv("WANDB_MODE", "offline")
    killed_and_resumed(tmp_path, config(wandb=True, project="p"))
    lines, ids = wandb_lines(tmp_path)
    assert len(ids) == 1
    steps = [line["sft/step"] for line in lines if "sft/step" in line]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [line["sft/loss"] for line in lines[:6]] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert lines[0]["sft/rate/low"] == -1
    assert lines[6]["rlvr/loss"] == 0.25 and lines[7]["eval/of"] == "sft"
    assert [line["_step"] for line in lines] == list(range(1, 9))


@needs("wandb")
def test_wandb_has_the_episodes_of_an_evaluation_once(tmp_path, wandb_session):
    wandb_session.setenv("WANDB_MODE", "offline")
    evaluated_twice(tmp_path, config(wandb=True, project="p"))
    (line,), _ = wandb_lines(tmp_path)
    assert line["eval/pass@4"] == 0.75 and line["eval/status/max_turns"] == 0.5
    assert line["eval/episodes/nrows"] == 2
    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/table/eval/*.table.json")
    table = json.loads(path.read_text())
    names = ["bug", "sample", "status", "passed", "turns", "return", "text"]
    text = "Add.\n\n1 test fails\n>>> DELL 2\n\n2 tests pass"
    greedy = ["a/0", "greedy", "solved", True, 1, 0.5, text]
    sampled = ["a/0", "2", "solved", True, 0, 0.5, "Add.\n\n2 tests pass"]
    assert table["columns"] == names and table["data"] == [greedy, sampled]


@needs("wandb")
def test_wandb_without_a_login_is_a_users_mistake(tmp_path, wandb_session):
    wandb_session.delenv("WANDB_MODE", raising=False)
    wandb_session.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match="wandb login, or set WANDB_MODE=offline"):
        WandB(tmp_path, config(wandb=True))

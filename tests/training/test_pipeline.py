"""Batches from a folder: those that memory would give, wherever a run goes on."""

import dataclasses
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from repair.demos.demo_folder import DemoFolder, make_demo_folder
from repair.demos.make import DemoSettings, write_demos
from repair.demos.records import to_line
from repair.demos.shards import ShardWriter
from repair.errors import UserError
from repair.model.sharding import make_mesh
from repair.sandbox import Sandbox
from repair.tasks import load_tasks
from repair.text.episodes import encode_demos
from repair.text.tokenizer import Tokenizer, train_tokenizer
from repair.training import pipeline, sft
from repair.training import run as experiment
from repair.training.checkpoint import load_params
from repair.training.config import defaults, read
from repair.training.metrics import MetricsWriter, read_metrics
from repair.training.pipeline import Pipeline, measure

pytest.importorskip("grain")
ROOT = pathlib.Path(__file__).parents[2]
CONFIG = sft.SftConfig(steps=12, rows=4, row_length=2048, state_weight=0.25)
SETTINGS = DemoSettings(per_task=4, corruptions=(1, 2), seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demos")
    with Sandbox(workers=1) as sandbox:
        tasks = load_tasks("generated/train", count=60)
        make_demo_folder(folder, tasks, sandbox, SETTINGS, shard=100)
    return folder


@pytest.fixture(scope="module")
def demos(folder):
    return DemoFolder(folder)


@pytest.fixture(scope="module")
def tokenizer(demos):
    texts = [text for demo in demos for text in (demo.bug.task.text, *demo.states)]
    return Tokenizer(train_tokenizer(texts, 400), "short")


@pytest.fixture(scope="module")
def lengths(demos, tokenizer):
    return measure(demos, tokenizer, set())


@pytest.fixture
def open_pipeline(demos, lengths, tokenizer):
    mesh = make_mesh(devices=jax.devices()[:1])

    def open_one(demos=demos, **changes):
        config = dataclasses.replace(CONFIG, **changes)
        return Pipeline(demos, lengths, tokenizer, config, 7, mesh)

    return open_one


def assert_same(one, other):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)


def test_batches_are_those_of_the_plan_in_memory(
    open_pipeline, demos, tokenizer, lengths
):
    episodes = encode_demos(tokenizer, list(demos))
    assert lengths.tolist() == [len(episode) for episode in episodes]
    in_memory = sft.InMemory(episodes, CONFIG, 7)
    data = open_pipeline()
    assert (data.rows, data.left_out) == (in_memory.rows, in_memory.left_out)
    assert 8 < data.rows < 48  # 12 steps of 4 rows: more than one epoch
    shares = []
    for step in range(CONFIG.steps):
        batch, share = data.batch(step)
        batch.check()
        expected, expected_share = in_memory.batch(step)
        assert_same(batch, expected)
        assert share == expected_share
        shares.append(share)
    assert np.mean(shares) > 0.95


def test_long_demonstrations_are_left_out(open_pipeline, lengths):
    limit = int(np.median(lengths))
    data = open_pipeline(row_length=limit, rows=2)
    assert data.left_out == (lengths > limit).sum() > 20
    batch, _ = data.batch(0)
    batch.check()


def test_a_state_goes_on_with_the_same_bits(open_pipeline):
    whole = open_pipeline()
    batches = [whole.batch(step)[0] for step in range(CONFIG.steps)]
    data = open_pipeline()
    for step in range(5):
        data.batch(step)
    state = data.state()
    later = open_pipeline()
    later.restore(state)
    for step in range(5, CONFIG.steps):
        assert_same(later.batch(step)[0], batches[step])
    with pytest.raises(ValueError, match="that of step 5, not of 6"):
        data.batch(6)


def test_other_demonstrations_are_not_gone_on_with(open_pipeline, demos, tmp_path):
    writer = ShardWriter(tmp_path, "demos", count=1, settings={})
    writer.write(0, [to_line(demo).encode() for demo in demos], {})
    state = open_pipeline().state()
    same = open_pipeline(DemoFolder(tmp_path))
    with pytest.raises(UserError, match="other demonstrations than when this run"):
        same.restore(state)


def test_a_process_fills_its_own_rows_only(open_pipeline, monkeypatch):
    whole = open_pipeline()
    monkeypatch.setattr(pipeline, "own_rows", lambda mesh, rows: [1, 2])
    data = open_pipeline()
    for step in range(3):
        (expected, share), (found, same) = whole.batch(step), data.batch(step)
        assert share == same
        for field in ("tokens", "segments", "positions", "mask"):
            a, b = getattr(expected, field), getattr(found, field)
            np.testing.assert_array_equal(a[1:3], b[1:3])
            assert not b[[0, 3]].any()


def test_what_is_held_out_is_refused(demos, tokenizer):
    held = demos[9].bug.task
    first = next(i for i, demo in enumerate(demos) if demo.bug.task == held)
    with pytest.raises(UserError, match=f"jsonl:{first + 1} repairs .*held out"):
        measure(demos, tokenizer, {held.code})


def test_a_wrong_row_is_named(tokenizer, demos, tmp_path):
    writer = ShardWriter(tmp_path, "demos", count=1, settings={})
    writer.write(0, [to_line(demos[0]).encode(), b'{"task": 3}'], {})
    with pytest.raises(UserError, match=r"00001.jsonl:2 .*found int"):
        measure(DemoFolder(tmp_path), tokenizer, set())


def test_a_missing_grain_names_its_extra(open_pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[data\]'"):
        open_pipeline()


def small(path=""):
    c = defaults()
    c.stages = ("sft",)
    c.checkpoint_every = 2
    c.tasks.train_count = 60
    c.demos.path = str(path)
    c.text.prompt = "short"
    c.model.vocab_size, c.model.width, c.model.mlp_width = 400, 16, 32
    c.model.layers, c.model.heads, c.model.kv_heads, c.model.head_size = 1, 2, 1, 8
    c.sft.steps, c.sft.rows, c.sft.row_length = 6, 2, 600
    return read(c)


class Killed(BaseException):
    """Stands for a kill: no handler in the package catches it."""


@pytest.mark.slow
def test_a_run_from_a_folder_is_that_from_memory_and_can_be_killed(
    folder, demos, tmp_path, monkeypatch
):
    quiet = {"report": lambda line: None}
    (tmp_path / "memory").mkdir()
    write_demos(tmp_path / "memory" / "demos.jsonl", demos)
    experiment.run(small(), tmp_path / "memory", **quiet)
    write = MetricsWriter.write

    def killing(self, stage, step, **values):
        write(self, stage, step, **values)
        if step == 5:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MetricsWriter, "write", killing)
        with pytest.raises(Killed):
            experiment.run(small(folder), tmp_path / "folder", **quiet)
    assert (tmp_path / "folder" / "checkpoints" / "sft" / "4").is_dir()
    monkeypatch.delattr(pipeline, "measure")  # lengths are not measured again
    experiment.run(small(folder), tmp_path / "folder", **quiet)
    params = [load_params(tmp_path / n / "checkpoints" / "sft")[0] for n in RUNS]
    jax.tree.map(np.testing.assert_array_equal, *params)
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in RUNS]
    for row in (*rows[0], *rows[1]):
        del row["seconds_step"]
    assert rows[0] == rows[1] and len(rows[0]) == 6


RUNS = ("memory", "folder")
ONE_OF_TWO = """
import sys, jax, numpy as np
from jax.experimental import multihost_utils
from repair.demos.demo_folder import DemoFolder
from repair.training import pipeline, sft
from repair.model import multihost
from repair.model.sharding import make_mesh, place_batch
from repair.text.episodes import encode_demos
from repair.text.tokenizer import load_tokenizer

multihost.start(sys.argv[3], 2, int(sys.argv[4]))
mesh = make_mesh(data=-1)
demos, tokenizer = DemoFolder(sys.argv[1]), load_tokenizer(sys.argv[2], "short")
config = sft.SftConfig(steps=3, rows=4, row_length=600)
own = pipeline.own_rows(mesh, 4)
assert len(own) == 2, own
lengths = pipeline.measure(demos, tokenizer, set())
data = pipeline.Pipeline(demos, lengths, tokenizer, config, 7, mesh)
expected = sft.InMemory(encode_demos(tokenizer, list(demos)), config, 7)
for step in range(3):
    batch, share = data.batch(step)
    assert (batch.segments.any(axis=1).nonzero()[0] == own).all()
    tokens = place_batch(mesh, batch).tokens
    whole = multihost_utils.process_allgather(tokens, tiled=True)
    wanted, wanted_share = expected.batch(step)
    np.testing.assert_array_equal(whole, wanted.tokens)
    assert share == wanted_share
print("own", own)
"""


@pytest.mark.slow
def test_two_processes_feed_the_rows_of_one(folder, tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    arguments = [sys.executable, "-c", ONE_OF_TWO, str(folder), str(tmp_path), address]
    two = [
        subprocess.Popen(
            [*arguments, str(i)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    assert "own [0, 1]" in said[0] and "own [2, 3]" in said[1]

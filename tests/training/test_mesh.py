"""The same run on any mesh, and in any number of processes, but for rounding."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from repair.training.metrics import read_metrics

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
MESH = (2, 2, 2)
# Small enough to compile quickly; a context that is full after few commands ends the
# episodes of random models at different turns, so that groups have signal.
SETTINGS = """
import sys, jax
from configs import tiny
from repair.training import config, run as experiment
from repair.model import multihost

def settings(sizes=(1, 1, 1), **changes):
    c = tiny.get_config()
    c.mesh.data, c.mesh.fsdp, c.mesh.tensor = sizes
    c.checkpoint_every = 3
    c.tasks.train_count, c.tasks.eval_count = 20, 4
    c.demos.per_task, c.demos.max_corruptions = 2, 1
    c.text.max_turns, c.text.max_length = 9, 512
    c.model.vocab_size, c.model.width, c.model.mlp_width = 400, 16, 32
    c.model.layers, c.model.heads, c.model.kv_heads, c.model.head_size = 2, 4, 2, 8
    c.sampler.slots, c.sampler.cohorts, c.sampler.block = 8, 2, 64
    c.sampler.lengths = (512,)
    # Each place compiles for itself, which is most of the time that this takes.
    c.sampler.places = 2 if sizes[2] > 1 else 1
    c.sft.steps, c.sft.rows, c.sft.row_length = 4, 8, 512
    c.rlvr.steps, c.rlvr.rows, c.rlvr.row_length = 3, 8, 512
    c.rlvr.problems, c.rlvr.samples = 4, 8
    c.rlvr.optimizer.learning_rate = 0.003
    c.eval.samples = 0
    with c.unlocked():
        c.update(changes)
    return config.read(c)
"""
IN_ONE_PROCESS = """
out = sys.argv[1]
stages = {"stages": ("sft", "rlvr")}
experiment.run(settings(**stages), out + "/one", devices=jax.devices()[:1])
experiment.run(settings(MESH, **stages), out + "/all")
lora = stages | {"model": {"lora_rank": 2, "scan_layers": True}, "train": "lora"}
adamw = {"name": "adamw", "adam_learning_rate": 0.001}
lora |= {"loss_chunk": 128, "sft": {"optimizer": adamw}}
experiment.run(settings(**lora), out + "/lora_one", devices=jax.devices()[:1])
lora["sft"] = {"optimizer": adamw, "accumulate": 2}
experiment.run(settings(MESH, **lora), out + "/lora_all")
"""
ONE_OF_TWO = """
multihost.connect(sys.argv[2], 2, int(sys.argv[3]))
assert jax.process_count() == 2 and jax.device_count() == 8
experiment.run(settings(MESH), sys.argv[1] + "/two")
"""


def start(code, devices, *args):
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    code = f"{SETTINGS}\nMESH = {MESH}\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said[-3000:]
    return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the folder of runs on one device and on a mesh with all axes."""
    out = tmp_path_factory.mktemp("meshes")
    finish(start(IN_ONE_PROCESS, 8, out))
    return out


def assert_same(one, other):
    rows = [
        [
            row
            for row in read_metrics(path / "metrics.jsonl")
            if row["stage"] in ("sft", "rlvr")
        ]
        for path in (one, other)
    ]
    assert [len(r) for r in rows] == [7, 7]
    names = [n for n in rows[0][-1] if not n.startswith(("seconds", "idle", "sandbox"))]
    assert {"policy_loss", "kl", "gradient_norm", "reward"} <= set(names)
    assert {row["reward"] for row in rows[0][4:]} != {rows[0][4]["reward"]}
    for mine, theirs in zip(*rows, strict=True):
        assert mine.keys() == theirs.keys()
        for name in set(names) | {"loss"} & mine.keys():
            if isinstance(mine.get(name), float):
                np.testing.assert_allclose(
                    theirs[name], mine[name], rtol=1e-3, atol=1e-5, err_msg=name
                )


def test_loss_curves_do_not_depend_on_the_mesh(runs):
    assert_same(runs / "one", runs / "all")


def test_nor_with_adapters_chunks_a_scan_and_accumulated_gradients(runs):
    assert_same(runs / "lora_one", runs / "lora_all")


def test_two_processes_do_what_one_does(runs, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    two = [start(ONE_OF_TWO, 4, tmp_path, address, i) for i in (1, 0)]
    silent, said = [finish(process) for process in two]
    assert "rlvr: pass@1" in said and "rlvr: pass@1" not in silent
    assert_same(runs / "one", tmp_path / "two")
    results = (tmp_path / "two" / "results.json").read_text()
    assert '"rlvr"' in results
    files = {path.stem for path in (tmp_path / "two" / "trajectories").iterdir()}
    stages = {"eval_init", "eval_sft", "eval_rlvr"}
    assert files == stages | {"rlvr_1", "rlvr_3"}  # the first and the last step

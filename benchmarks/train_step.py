"""Speed of the SFT step of configs/tiny.py, with and without our allocator settings.

python -m benchmarks.train_step [--repeats=3] [--out=FILE.json] [--model=FILE.gguf]

Each measurement is a process of its own, since the settings are read when a process
starts; the two kinds take turns. The matmul rate is that of one 2048 x 2048 float32
product, and the share counts 6 operations a parameter and token plus attention's.
Exits 1 if the settings do not make the step faster.

With --model: the LoRA step (rank 16) of that model on 2 rows of 1,024 tokens, every
eighth with a loss, in each of the ways in _WAYS, which take turns in one process.
Processor seconds are those of all threads: on a loaded machine they say more than the
wall's. Has no bar.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from configs import tiny
from repair.cli import MALLOC, tune_malloc
from repair.model.api import Model, count_params
from repair.model.hf.folder import load_hf
from repair.model.lora import init_adapters, split
from repair.model.sharding import make_mesh
from repair.text.packing import Batch
from repair.training import sft
from repair.training.config import read
from repair.training.optimizer import OptimizerConfig, init_state, make_optimizer

_STEPS = 10
# Fields of the model, and True to put only the tokens with a loss through the head.
_CPU = {"scan_layers": False, "remat": "none"}
_FLOAT32 = {"dtype": "float32", "param_dtype": "float32"}
_WAYS = {
    "accelerator's settings, all logits": ({}, False),
    "accelerator's settings": ({}, True),
    "unrolled, no remat": (_CPU, True),
    "unrolled, no remat, float32": (_CPU | _FLOAT32, True),
}


def measure() -> dict:
    """Return tokens a second of the step and operations a second of a matmul."""
    config = read(tiny.get_config())
    model, c = Model(config.model), config.sft
    optimizer = make_optimizer(c.optimizer)
    state = init_state(jax.jit(model.init_params)(jax.random.key(0)), optimizer)
    batch = _random_batch(c.rows, c.row_length, config.model.vocab_size)
    seconds = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        state, metrics = sft.update(model, state, {}, batch, optimizer)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - started)
    tokens = c.rows * c.row_length
    # Scores and their product with the values, forward and backward, causal half.
    attention = 6 * config.model.layers * c.row_length * model.config.width
    step_rate = tokens / statistics.median(seconds[2:])
    operations = 6 * count_params(state.trainable) + attention
    return {
        "tokens_per_second": step_rate,
        "matmul_rate": _matmul_rate(),
        "step_rate": step_rate * operations,
    }


def measure_lora(source: str, repeats: int) -> dict[str, list[dict]]:
    """Return wall and processor seconds of the steps of each way."""
    mesh = make_mesh(devices=jax.devices()[:1])
    steps = {}
    for name, (way, gathered) in _WAYS.items():
        given = {"dtype": "bfloat16", "param_dtype": "bfloat16", "remat": "full"}
        given |= {"scan_layers": True, "lora_rank": 16, "query_block": 512} | way
        shape, params = load_hf(source, mesh, **given)
        params |= jax.jit(functools.partial(init_adapters, shape))(jax.random.key(0))
        trainable, frozen = split(params, "lora")
        optimizer = make_optimizer(OptimizerConfig())
        batch = _random_batch(2, 1024, shape.vocab_size)
        mask = batch.mask * (batch.positions % 8 == 0)
        batch = dataclasses.replace(batch, mask=mask)
        if gathered:
            at = np.stack([np.flatnonzero(row) for row in mask]).astype(np.int32)
            batch = dataclasses.replace(batch, scored=at, sources=at - 1)
        step = functools.partial(
            _lora_step, Model(shape, mesh), frozen, batch, optimizer
        )
        steps[name] = step, init_state(trainable, optimizer)
    found: dict[str, list[dict]] = {name: [] for name in _WAYS}
    for turn in range(repeats + 1):
        for name, (step, state) in steps.items():
            wall, processor = time.perf_counter(), time.process_time()
            state = step(state)
            steps[name] = step, state
            if turn:  # the first compiles
                seconds = {"wall": time.perf_counter() - wall}
                seconds["processor"] = time.process_time() - processor
                found[name].append(seconds)
    return found


def _lora_step(model, frozen, batch, optimizer, state):
    state, _ = sft.update(model, state, frozen, batch, optimizer, 1.0, 1, 128)
    return jax.block_until_ready(state)


def _print_lora(found: dict[str, list[dict]]) -> None:
    """Print the table; ratios are of the processor seconds of the first row."""
    print(f"{'way':36} {'wall s':>8} {'processor s: least':>20} {'median':>8} ratio")
    base = 0.0
    for name, steps in found.items():
        wall, middle = (
            statistics.median(step[kind] for step in steps)
            for kind in ("wall", "processor")
        )
        least, base = min(step["processor"] for step in steps), base or middle
        ratio = base / middle
        print(f"{name:36} {wall:8.1f} {least:20.1f} {middle:8.1f} {ratio:5.2f}")


def _random_batch(rows: int, length: int, vocabulary: int) -> Batch:
    rng = np.random.default_rng(0)
    positions = np.tile(np.arange(length, dtype=np.int32) % (length // 2), (rows, 1))
    segments = np.tile(
        1 + np.arange(length, dtype=np.int32) // (length // 2), (rows, 1)
    )
    ones = np.where(positions > 0, np.float32(1), np.float32(0))
    tokens = rng.integers(0, vocabulary, (rows, length), dtype=np.int32)
    return Batch(tokens, segments, positions, ones, 0 * ones, 0 * ones)


def _matmul_rate() -> float:
    size, repeats = 2048, 5
    matrix = jnp.ones((size, size))
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    started = time.perf_counter()
    for _ in range(repeats):
        product(matrix, matrix).block_until_ready()
    return repeats * 2 * size**3 / (time.perf_counter() - started)


def main() -> int:
    """Measure in child processes, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", default="")
    parser.add_argument("--model", default="", help="measure LoRA on this model")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure()))
        return 0
    if args.model:
        tune_malloc()
        found = measure_lora(args.model, args.repeats)
        _print_lora(found)
        if args.out:
            pathlib.Path(args.out).write_text(json.dumps(found, indent=2))
        return 0
    runs: dict[str, list[dict]] = {"default": [], "tuned": []}
    for _ in range(args.repeats):
        for name, found in runs.items():
            environment = dict(os.environ)
            environment.pop("GLIBC_TUNABLES", None)
            if name == "tuned":
                environment["GLIBC_TUNABLES"] = MALLOC
            command = [sys.executable, "-m", "benchmarks.train_step", "--child"]
            output = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout
            found.append(json.loads(output.splitlines()[-1]))
    print(
        f"{'allocator':10} {'tokens/s: min':>14} {'median':>8} {'max':>8} {'share':>7}"
    )
    for name, found in runs.items():
        rates = sorted(run["tokens_per_second"] for run in found)
        share = statistics.median(r["step_rate"] / r["matmul_rate"] for r in found)
        middle = statistics.median(rates)
        print(f"{name:10} {rates[0]:14.0f} {middle:8.0f} {rates[-1]:8.0f} {share:7.1%}")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(runs, file, indent=2)
    default, tuned = (
        statistics.median(run["tokens_per_second"] for run in found)
        for found in runs.values()
    )
    return 0 if tuned > default else 1


if __name__ == "__main__":
    sys.exit(main())

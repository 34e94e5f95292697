"""Speed of the SFT step of configs/tiny.py, with and without our allocator settings.

python -m benchmarks.train_step [--repeats=3] [--out=FILE.json]

Each measurement is a process of its own, since the settings are read when a process
starts; the two kinds take turns. The matmul rate is that of one 2048 x 2048 float32
product, and the share counts 6 operations a parameter and token plus attention's.
Exits 1 if the settings do not make the step faster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from configs import tiny
from repair.cli import MALLOC
from repair.model.api import Model, count_params
from repair.text.packing import Batch
from repair.training import sft
from repair.training.config import read
from repair.training.optimizer import init_state, make_optimizer

_STEPS = 10


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
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure()))
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

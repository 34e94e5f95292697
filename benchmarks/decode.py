"""Speed of decoding against the memory bandwidth: one model, all rows, one device.

python -m benchmarks.decode [--config=tiny] [--rows=64] [--length=512] [--slots=64]

Random weights of a config's shape (configs/NAME.py; llama32_1b on a GPU). A token of
every row reads all weights once and the filled part of the cache, so the memory's
bandwidth sets a limit, measured here by a program that only reads and writes.

  decode     tokens a second of all rows, and the share of the limit that they reach
  attention  of one such token, ours and jax.nn.dot_product_attention
  play       device idle share while these weights play bugs in the real sandbox
"""

import argparse
import dataclasses
import importlib
import json
import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from repair.cli import tune_malloc
from repair.model import kv_cache as kv
from repair.model.api import Model
from repair.model.sharding import build, make_mesh
from repair.rollout.clock import Clock
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.sampler import Sampler, SamplerShapes
from repair.rollout.sampling import Sampling
from repair.sandbox import Sandbox
from repair.tasks import load_tasks
from repair.text.prompts import render_prompt
from repair.text.tokenizer import Tokenizer, train_tokenizer
from repair.training.config import read
from repair.training.policy import make_policy
from repair.training.task_set import RepairTaskSet

REPEATS = 5
NEW = 32  # tokens of a decode


def seconds(function, *args) -> list[float]:
    """Return the seconds of each of REPEATS calls, after one that compiles."""
    jax.block_until_ready(function(*args))
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(function(*args))
        found.append(time.perf_counter() - started)
    return found


def bandwidth() -> float:
    """Return the bytes a second that a program can read and write."""
    size = 2**30 if jax.default_backend() != "cpu" else 2**28
    x = jnp.ones(size // 4, jnp.float32)
    return 2 * size / min(seconds(jax.jit(lambda x: x + 1), x))


def decode(model: Model, params, rows: int, length: int, prompts=None) -> dict:
    """Measure tokens a second, and the bytes that they must read.

    Args:
      model: The decoder.
      params: Its parameters.
      rows: Rows that are decoded at once.
      length: Tokens of a row, prompt and NEW others.
      prompts: Token ids of each row's prompt; any by default.
    """
    shapes = SamplerShapes(
        max_new=NEW,
        max_length=length,
        block=1024 if jax.default_backend() != "cpu" else 128,
        row_buckets=(rows,),
        length_buckets=(),
    )
    sampler = Sampler(model, np.zeros(model.config.vocab_size, bool), shapes)
    here, filled = sampler.place(params), length - NEW
    prompts = prompts or [[1] * filled] * rows
    prefills = []
    for _ in range(2):  # the first compiles
        started = time.perf_counter()
        state = sampler.extend(here, sampler.start(rows), prompts)
        jax.block_until_ready(state.cache)
        prefills.append(time.perf_counter() - started)
    keys = jax.random.split(jax.random.key(0), rows)
    took = []
    for _ in range(REPEATS + 1):
        jax.block_until_ready(state.cache)
        started = time.perf_counter()
        state = sampler.decode(here, state, keys, Sampling())
        state, sampled = sampler.collect(state)
        took.append(time.perf_counter() - started)
        assert sampled.counts.sum() == rows * NEW
        # Back to the start: later slots are overwritten.
        length_B = np.full(rows, filled, np.int32)
        state = dataclasses.replace(state, length_B=length_B)
    c = model.config
    entry = sum(x.nbytes for x in jax.tree.leaves(state.cache)) / (rows * state.slots)
    weights = sum(x.nbytes for x in jax.tree.leaves(here))
    if not c.tie_embeddings:  # only the rows of some ids are read
        weights -= here["params"]["embed"]["embedding"].nbytes
    step = statistics.median(took[1:]) / NEW
    return {
        "tokens_per_second": rows / step,
        "step_seconds": step,
        "prefill_seconds": prefills[1],
        "warm_up_seconds": prefills[0] + took[0],
        "bytes": weights + entry * rows * (filled + NEW / 2),
    }


def attention(c, rows: int, length: int) -> dict:
    """Measure one layer's attention for a token of every row, in two ways."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), c.dtype)

    q_BTNH = draw(rows, 1, c.heads, c.head_size)
    k_BSKH, v_BSKH = (draw(rows, length, c.kv_heads, c.head_size) for _ in range(2))
    cache = {"k": k_BSKH.transpose(0, 2, 3, 1), "v": v_BSKH.transpose(0, 2, 1, 3)}
    positions_BT = jnp.full((rows, 1), length - 1)

    def theirs(q_BTNH, k_BSKH, v_BSKH, positions_BT):
        seen = positions_BT[:, :, None] >= jnp.arange(k_BSKH.shape[1])
        out = jax.nn.dot_product_attention(q_BTNH, k_BSKH, v_BSKH, mask=seen[:, None])
        return out.reshape(*out.shape[:2], -1)

    ours = jax.jit(kv.attend), (q_BTNH, cache, positions_BT)
    other = jax.jit(theirs), (q_BTNH, k_BSKH, v_BSKH, positions_BT)
    outs = [np.asarray(f(*args), np.float32) for f, args in (ours, other)]
    np.testing.assert_allclose(*outs, atol=2e-2 if c.dtype == "bfloat16" else 1e-4)
    names = ("ours", "dot_product_attention")
    return {
        name: statistics.median(seconds(f, *args))
        for name, (f, args) in zip(names, (ours, other), strict=True)
    }


def play(config, model: Model, params, slots: int) -> dict:
    """Measure idle share and steps a second, with four episodes for each slot."""
    tasks = load_tasks("generated/test", count=max(slots // 4, 8))
    texts = [render_prompt(task, "short") + task.code for task in tasks]
    tokenizer = Tokenizer(
        train_tokenizer(texts, min(model.config.vocab_size, 1024)), "short"
    )
    sampler = dataclasses.replace(config.sampler, slots=slots)
    text = dataclasses.replace(config.text, max_command=NEW)
    config = dataclasses.replace(config, sampler=sampler, text=text)
    with Sandbox(limits=config.sandbox, cache=False) as sandbox:
        task_set = RepairTaskSet(config)
        bugs = task_set.bugs(tasks, sandbox, config.seed)
        engine = make_policy(task_set, model, tokenizer, sandbox, params).engine
        engine.warm_up(params, Sampling())
        clock, seed = Clock(), RolloutSeed(config.seed)
        collect_rollouts(
            engine, params, bugs, 16, Sampling(), seed, Observer(clock=clock)
        )
    return {"idle": clock.idle_share, "steps_per_second": clock.turns / clock.total}


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="tiny")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--slots", type=int, default=64, help="of play; 0 for none")
    parser.add_argument("--out", default="", help="JSON file")
    args = parser.parse_args()
    tune_malloc()
    config = read(importlib.import_module(f"configs.{args.config}").get_config())
    model = Model(dataclasses.replace(config.model, lora_rank=0))
    mesh = make_mesh(devices=jax.local_devices()[:1])
    params = build(mesh, model.init_params, jax.random.key(0))
    rate, found = bandwidth(), decode(model, params, args.rows, args.length)
    found |= {"bandwidth": rate, "share": found["bytes"] / rate / found["step_seconds"]}
    found["attention"] = attention(model.config, args.rows, args.length)
    if args.slots:
        found["play"] = play(config, model, params, args.slots)
    print(
        f"{jax.devices()[0].device_kind}, {args.config}, {args.rows} rows of"
        f" {args.length} tokens, {model.config.dtype}"
    )
    print(json.dumps(found, indent=2))
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

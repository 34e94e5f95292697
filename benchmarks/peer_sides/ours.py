"""Our sides of `benchmarks.peers`: trainer, sampler, rollout engine, GRPO step."""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import decode
from benchmarks.peer_sides.inputs import Player, load
from repair.model.api import Model
from repair.model.lora import split
from repair.text.episodes import Example
from repair.text.packing import Batch
from repair.training import rlvr, sft
from repair.training.batches import make_batches
from repair.training.optimizer import init_state, make_optimizer


def measure(
    folder: pathlib.Path, settings: dict, inputs: dict, part: str, side: str
) -> dict:
    """Return the figures of a side of a part."""
    if part == "sft":
        return train(folder, settings, inputs, share=side == "ours_shared")
    if part.startswith("decode"):
        return decode_rows(folder, settings, inputs, int(part.split("_")[1]))
    player = Player(folder, settings)
    with player.sandbox:
        if part == "rollouts":
            return play(player, inputs)
        return step(player, inputs)


def train(folder: pathlib.Path, settings: dict, inputs: dict, share: bool) -> dict:
    """Measure steps of SFT."""
    config, model, params = load(folder, settings)
    c = sft.SftConfig(
        steps=settings["sft_steps"],
        rows=1,
        row_length=settings["row_length"],
        share_prompts=share,
        optimizer=config.sft.optimizer,
    )
    examples = [
        Example(np.array(each["ids"], np.int32), np.array(each["turns"], np.int16))
        for each in inputs["episodes"]
    ]
    trainable, frozen = split(params, "lora")
    optimizer, layout = make_optimizer(c.optimizer), sft.lay_out(examples, c)
    state = init_state(trainable, optimizer)
    seconds, tokens, row_tokens = [], 0, 0
    for index in range(c.steps + 1):
        started = time.perf_counter()
        batch = sft.batch_at(layout, c, config.seed, index)
        state, metrics = sft.update(model, state, frozen, batch, optimizer)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - started)
        if index:
            tokens += demonstration_tokens(batch)
            row_tokens += int((batch.segments > 0).sum())
    return {
        "tokens_per_second": tokens / sum(seconds[1:]),
        "row_tokens": row_tokens / c.steps,
        "step_seconds": seconds[1:],
        "warm_up_seconds": seconds[0],
        "loss": float(metrics["loss"]),
    }


def demonstration_tokens(batch: Batch) -> int:
    """Return the tokens of a batch's demonstrations, each with its own prompt.

    A demonstration ends with a segment that no branch starts from.
    """
    total = 0
    parents = batch.segments if batch.parents is None else batch.parents
    for segments, others, positions in zip(
        batch.segments, parents, batch.positions, strict=True
    ):
        shared = set(others[others != segments].tolist())
        for segment in set(segments.tolist()) - shared - {0}:
            total += int(positions[segments == segment].max()) + 1
    return total


def decode_rows(folder: pathlib.Path, settings: dict, inputs: dict, rows: int) -> dict:
    """Measure decoding after the prompts, without adapters."""
    _, model, params = load(folder, settings)
    model = Model(dataclasses.replace(model.config, lora_rank=0))
    params, prompts = {"params": params["params"]}, inputs["prompts"][:rows]
    found = decode.decode(model, params, rows, len(prompts[0]) + decode.NEW, prompts)
    names = ("tokens_per_second", "prefill_seconds", "warm_up_seconds")
    return {name: found[name] for name in names}


def play(player: Player, inputs: dict) -> dict:
    """Measure rollouts after all programs are compiled."""
    started = time.perf_counter()
    player.warm_up()
    player.play()
    warm = time.perf_counter() - started
    rollouts, clock = player.play()
    return {
        "steps_per_second": clock.turns / clock.total,
        "idle": clock.idle_share,
        "turns": clock.turns,
        "sampled_tokens": clock.sampled_tokens,
        "warm_up_seconds": warm,
        "same_commands": [r.commands for r in rollouts] == inputs["commands"],
    }


def step(player: Player, inputs: dict) -> dict:
    """Measure a whole step of RLVR: rollouts and update."""
    c = player.config.rlvr
    optimizer = make_optimizer(c.optimizer)
    setup = rlvr.Setup(player.model, c, optimizer, seed=player.config.seed)
    seconds, updates, began = [], [], time.perf_counter()
    player.warm_up()
    compiled = time.perf_counter() - began
    for _ in range(2):  # the first compiles; both begin with the same weights
        trainable, frozen = split(player.params, "lora")
        # A copy: the update donates its state.
        state = init_state(jax.tree.map(jnp.copy, trainable), optimizer)
        started = time.perf_counter()
        rollouts, clock = player.play()
        state, metrics = rlvr.update(setup, state, frozen, player.params, rollouts)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - started)
        updates.append(seconds[-1] - clock.total)
    batches, _ = make_batches(rollouts, c)
    return {
        "seconds": seconds[1],
        "warm_up_seconds": compiled + seconds[0],
        "update_seconds": updates[1],
        "trained_tokens": int(sum(batch.mask.sum() for batch in batches)),
        "sampled_tokens": clock.sampled_tokens,
        "turns": clock.turns,
        "idle": clock.idle_share,
        "same_commands": [r.commands for r in rollouts] == inputs["commands"],
    }

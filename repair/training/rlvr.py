"""Stage two: reinforcement learning with verifiable rewards. Loop and step on one page.

The life of the data through one step:

1. The curriculum picks P bugs; the engine plays C rollouts of each.
2. Rewards of each turn become advantages against the group's living peers; groups
   without signal leave the batch (`batches.make_batches`).
3. The other episodes are packed into rows, where the common beginning of a bug's
   samples stands once (`text.branches`), and these shuffled by (seed, step) into
   micro-batches of one fixed shape. Only sampled tokens go through the head.
4. Gradients of the clipped policy loss, with a KL to the policy that the stage began
   with, are summed over the micro-batches; the denominator is the number of sampled
   tokens of the whole batch. One update, or several over the same batch (`update`).

Departures from GRPO as in the paper: leave-one-out baselines instead of a division
by the standard deviation (`advantages`), and return-to-go instead of per-turn
rewards, both because the published form is biased.
"""

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from repair.env import Verifier
from repair.model import multihost
from repair.model.api import Model
from repair.model.lora import join
from repair.model.sharding import constrain, place_batch
from repair.rollout.clock import Clock
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.engine import RolloutEngine
from repair.rollout.rollout import Rollout
from repair.rollout.sampling import Sampling
from repair.sandbox import sandbox_shares
from repair.tasks import Bug
from repair.text.packing import Batch
from repair.training import losses
from repair.training.alarms import new_alarms
from repair.training.batches import make_batches
from repair.training.curriculum import Curriculum
from repair.training.loop import Loop
from repair.training.losses import LossInputs
from repair.training.optimizer import TrainState, apply_gradients
from repair.training.rlvr_config import RlvrConfig
from repair.training.rollout_metrics import rollout_metrics
from repair.training.trajectories import keep_step


@dataclasses.dataclass(frozen=True)
class Setup:
    """Constants of all updates, static for jit.

    Attributes:
      model: The decoder.
      config: The section `rlvr`.
      optimizer: As from `make_optimizer`.
      chunk: Tokens of each row whose logits exist at once; 0 for all.
      seed: Seed of the order of rows.
    """

    model: Model
    config: RlvrConfig
    optimizer: optax.GradientTransformation
    chunk: int = 0
    seed: int = 0


class Scores(NamedTuple):
    """Log-probs of a micro-batch by policies that it does not train, each BT or None.

    Attributes:
      reference: By the reference policy, for the KL; None where the KL has no weight,
        which spares a forward pass.
      before: By the policy that sampled as the trainer computes them, for importance
        weights; None to trust the sampler's.
    """

    reference: jax.Array | None = None
    before: jax.Array | None = None


def train(
    loop: Loop,
    engine: RolloutEngine,
    verifier: Verifier,
    bugs: Callable[[int], Sequence[Bug]],
    evaluate: Callable[[dict], dict],
) -> dict:
    """Train to the end of the stage: the parameters.

    Args:
      loop: The stage's loop; its initial parameters are the reference policy.
      engine: The inference engine.
      verifier: That of the engine's environments, which counts their outcomes.
      bugs: Returns the bugs of an epoch.
      evaluate: Returns figures of parameters; called every `eval_every` steps.
    """
    c, context = loop.settings, loop.context
    chunk, seed = context.config.loss_chunk, context.config.seed
    setup = Setup(context.model, c, loop.optimizer, chunk, seed)
    rule = c.curriculum, c.curriculum_steps, c.curriculum_by
    curriculum = Curriculum(bugs, c.problems, seed, *rule)
    curriculum.restore(loop.progress.memory)
    for step in loop:
        clock, before = Clock(), verifier.counts.copy()
        most = curriculum.most
        rollouts = collect_rollouts(
            engine,
            loop.params,
            curriculum.pick(step),
            c.samples,
            Sampling(c.temperature),
            # Evaluation samples at step 0; training must not draw its samples.
            RolloutSeed(seed, step + 1),
            Observer(clock=clock),
        )
        loop.state, metrics = update(
            setup,
            loop.state,
            loop.frozen,
            loop.initial,
            rollouts,
            loop.learning_rate_scale,
        )
        commands = sum(len(rollout.commands) for rollout in rollouts)
        curriculum.record(rollouts)
        loop.progress.memory = curriculum.state()
        counts = multihost.gather_values(verifier.counts - before)
        loop.log(
            metrics
            | {
                "corruptions": most,
                "seconds_per_command": clock.total / max(commands, 1),
                "seconds_rollouts": clock.total,
                "seconds_sampling": clock.sampling,
                "seconds_sandbox": clock.sandbox,
                "idle_share": clock.idle_share,
            }
            | sandbox_shares(sum(counts, collections.Counter()))
        )
        keep_step(
            context.workdir, rollouts, engine.tokenizer, c, loop.step, last=loop.over
        )
        if raised := new_alarms(loop.history):
            loop.history[-1]["alarms"] = raised  # for metrics.jsonl
        for line in raised.values():
            context.report(f"rlvr, step {loop.step}: {line}")
        if loop.evaluation_due:
            loop.log_evaluation(evaluate(loop.params))
    return loop.params


def update(
    setup: Setup,
    state: TrainState,
    frozen,
    reference,
    rollouts: Sequence[Rollout],
    scale=1.0,
) -> tuple[TrainState, dict]:
    """Train on the rollouts of one step: (state, metrics).

    Each update is made at `scale`, a share of the peak learning rate.

    Where no group has signal the parameters stay as they are; only the step is counted.
    """
    started = time.perf_counter()
    model, c = setup.model, setup.config
    step = int(state.step)  # read before an update donates it
    batches, metrics = make_batches(rollouts, c, (setup.seed, step))
    metrics |= rollout_metrics(rollouts)
    if not batches:
        state = skip(state, model.mesh)
        return state, metrics | {"seconds_update": time.perf_counter() - started}
    metrics["real_share"] = float(np.mean([b.real_share for b in batches]))
    weights = [float(batch.mask.sum()) for batch in batches]
    if model.mesh is not None:
        batches = [place_batch(model.mesh, batch) for batch in batches]
    # By the policies as they are before the first update.
    params = join(state.trainable, frozen)
    scores = [_score(setup, batch, reference, params) for batch in batches]
    micro_batches = list(zip(batches, scores, weights, strict=True))
    measured, after = [], np.int32(step + 1)
    for parts in _minibatches(micro_batches, c):
        # Each update divides by its own sampled tokens.
        count = sum(weight for _, _, weight in parts)
        total = None
        for batch, score, _ in parts:
            args = (state.trainable, frozen, batch, score, count, c.temperature)
            part = gradients(setup, *args)
            total = part if total is None else _add(total, part)
        grads, found = total
        state, norm = apply_update(
            state, grads, setup.optimizer, scale, after, model.mesh
        )
        loss = found.pop("policy_loss")
        means = {name: value / count for name, value in found.items()}
        measured.append({"policy_loss": loss, "gradient_norm": norm, **means})
    measured = jax.device_get(measured)
    metrics |= {n: float(np.mean([m[n] for m in measured])) for n in measured[0]}
    # The distance between sampler and trainer shows before the first update only.
    metrics["log_prob_gap"] = float(measured[0]["log_prob_gap"])
    return state, metrics | {"seconds_update": time.perf_counter() - started}


@functools.partial(jax.jit, static_argnames="setup")
def gradients(
    setup: Setup,
    trainable,
    frozen,
    batch: Batch,
    scores: Scores,
    denominator,
    temperature,
):
    """Return one micro-batch's share of (gradients, metrics).

    The metrics are its share of "policy_loss", and sums over its mask. The denominator
    is the number of sampled tokens of the whole update.
    """
    config = setup.config.loss
    old_BT, importance_BT = batch.log_probs, None
    if scores.before is not None:
        old_BT = scores.before
        importance_BT = losses.importance_weights(
            scores.before, batch.log_probs, config.importance_cap
        )
    given = LossInputs(
        old=old_BT,
        advantages=batch.advantages,
        mask=batch.mask,
        reference=scores.reference,
        importance=importance_BT,
        segments=batch.segments,
    )

    def of(trainable):
        params = join(trainable, frozen)
        stats = losses.batch_stats(setup.model, params, batch, temperature, setup.chunk)
        loss, sums = losses.policy_loss(stats, given, denominator, config)
        gap_BT = jnp.abs(stats.log_probs - batch.log_probs)
        return loss, sums | {"log_prob_gap": losses.masked_sum(gap_BT, batch.mask)}

    (loss, sums), grads = jax.value_and_grad(of, has_aux=True)(trainable)
    return constrain(setup.model.mesh, grads), {"policy_loss": loss, **sums}


@functools.partial(jax.jit, static_argnames=("model", "chunk"))
def log_probs(model: Model, params, batch: Batch, temperature, chunk: int = 0):
    """Return the log-probs of a batch's tokens, BT."""
    return losses.batch_stats(model, params, batch, temperature, chunk).log_probs


def _score(setup: Setup, batch: Batch, reference, params) -> Scores:
    """Return the log-probs that the loss needs besides those of the sampler."""
    loss, args = setup.config.loss, (batch, setup.config.temperature, setup.chunk)
    return Scores(
        log_probs(setup.model, reference, *args) if loss.kl_coef else None,
        log_probs(setup.model, params, *args) if loss.importance_cap else None,
    )


@functools.partial(jax.jit, static_argnames=("optimizer", "mesh"), donate_argnums=0)
def apply_update(state: TrainState, grads, optimizer, scale, step, mesh=None):
    """Apply gradients and set the step: (state, gradient norm)."""
    norm = optax.tree.norm(grads)
    state = apply_gradients(state, grads, optimizer, scale)
    state = dataclasses.replace(state, step=step)
    return constrain(mesh, state), norm


@functools.partial(jax.jit, static_argnames="mesh", donate_argnums=0)
def skip(state: TrainState, mesh=None):
    """Count a step in which nothing was learnt."""
    return constrain(mesh, dataclasses.replace(state, step=state.step + 1))


_add = jax.jit(functools.partial(jax.tree.map, jnp.add), donate_argnums=0)


def _minibatches(micro_batches: list, config: RlvrConfig) -> list[list]:
    """Return the micro-batches of each update: all of them once in each epoch."""
    size = min(config.minibatches, len(micro_batches))
    return [micro_batches[i::size] for i in range(size)] * config.epochs

"""Stage two: reinforcement learning with verifiable per-turn rewards.

The life of the data through one step:

1. P bugs are drawn by (seed, step); the policy plays C episodes of each.
2. Rewards of each turn become advantages against the group's living peers; groups
   without signal leave the batch.
3. The other episodes are packed into rows, in micro-batches of one fixed shape.
4. Gradients of the clipped policy loss, with a KL to the policy that stage one
   ended with, are summed over the micro-batches; the denominator is the number of
   sampled tokens of the whole batch. One update, or several over the same batch.

Departures from GRPO as in the paper: leave-one-out baselines instead of a division
by the standard deviation (`advantages`), and return-to-go instead of per-turn
rewards, both because the published form is biased.
"""

import dataclasses
import functools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from repair.errors import expect
from repair.model.api import Model
from repair.model.lora import join
from repair.model.sharding import constrain, place_batch
from repair.rollout.rollout import Rollout
from repair.text.episodes import Episode
from repair.text.packing import Batch, pack, plan_rows
from repair.training import losses
from repair.training.advantages import AdvantageConfig, turn_advantages
from repair.training.losses import PolicyLossConfig
from repair.training.optimizer import OptimizerConfig, TrainState, apply_gradients


@dataclasses.dataclass(frozen=True)
class RlvrConfig:
    """Reinforcement learning.

    Attributes:
      steps: Batches of experience, at most.
      sampled_tokens: The stage ends after the step in which so many tokens have been
        sampled, for comparisons at equal cost; 0 for after all steps.
      problems: P, bugs of a step.
      samples: C, episodes of each bug.
      epochs: Passes over each batch of experience.
      minibatches: Updates in each pass, each on a part of the batch.
      resample: Times that programs whose group had no signal are replaced by others
        within a step (Yu et al. 2025, arXiv 2503.14476); 0 for never.
      curriculum: Share of solved episodes, over `curriculum_steps` steps, from which on
        programs with one more corruption come; 0 for all of them from the start.
      curriculum_steps: As above.
      temperature: Of sampling, above 0; the policy that is trained and held to the
        reference is the one at this temperature.
      rows: Rows of a micro-batch.
      row_length: Tokens of a row; no episode may be longer.
      loss: The policy loss.
      advantages: The estimator.
      optimizer: Optimizer and schedule.
      trajectories_every: Steps between those whose episodes are written to the workdir
        whole; the first and the last are too. 0 for none at all.
    """

    steps: int = 200
    sampled_tokens: int = 0
    problems: int = 16
    samples: int = 4
    epochs: int = 1
    minibatches: int = 1
    resample: int = 0
    curriculum: float = 0.0
    curriculum_steps: int = 10
    temperature: float = 1.0
    rows: int = 16
    row_length: int = 2048
    loss: PolicyLossConfig = PolicyLossConfig()
    advantages: AdvantageConfig = AdvantageConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    trajectories_every: int = 10

    def __post_init__(self):
        ones = ("steps", "problems", "samples", "epochs", "minibatches", "rows")
        for name in (*ones, "row_length", "curriculum_steps"):
            expect(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("resample", "sampled_tokens", "trajectories_every"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        expect(self.temperature > 0, "temperature", self.temperature, "above 0")
        share = self.curriculum
        expect(0 <= share <= 1, "curriculum", share, "a share from 0 to 1")


def silent_groups(rollouts: Sequence[Rollout], config: RlvrConfig) -> set[str]:
    """Ids of the bugs whose episodes teach nothing."""
    kept = trainable(rollouts)
    _, active, _ = advantages_of(kept, config)
    pairs = zip(kept, active, strict=True)
    taught = {r.bug.bug_id for r, is_active in pairs if is_active}
    return {r.bug.bug_id for r in rollouts} - taught


def advantages_of(rollouts: Sequence[Rollout], config: RlvrConfig):
    """What an update makes of `trainable` rollouts; see `turn_advantages`."""
    return turn_advantages(
        [r.rewards for r in rollouts],
        [r.bug.bug_id for r in rollouts],
        config.advantages,
    )


def trainable(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Without those that broke, or had no room for a command."""
    return [r for r in rollouts if r.status != "fault" and r.steps]


def make_batches(
    rollouts: list[Rollout], config: RlvrConfig
) -> tuple[list[Batch], float, dict]:
    """Rollouts as micro-batches: (batches, denominator, metrics).

    Only groups with signal are in. The mask weighs tokens as `loss.aggregate` says, and
    the denominator is the number of what counts alike there.
    """
    rollouts = trainable(rollouts)
    advantages, active, metrics = advantages_of(rollouts, config)
    kept = [i for i, is_active in enumerate(active) if is_active]
    episodes = [rollouts[i].episode for i in kept]
    weights = [_weights(episode, config.loss.aggregate) for episode in episodes]
    denominator = config.loss.denominator or float(sum(w.sum() for w in weights))
    rows = plan_rows([len(e) for e in episodes], config.row_length)
    rows += [[]] * (-len(rows) % config.rows)
    batches = []
    for start in range(0, len(rows), config.rows):
        batch = pack(
            episodes,
            rows[start : start + config.rows],
            config.row_length,
            weights=weights,
            advantages=[advantages[i] for i in kept],
        )
        batches.append(batch)
    return batches, denominator, metrics


def _weights(episode: Episode, aggregate: str) -> np.ndarray:
    """What each token counts: 1, or its share of its turn or of its episode."""
    mask = np.array(episode.mask, np.float32)
    if aggregate == "turn":
        turns = np.array(episode.turns)
        sizes = np.bincount(turns[turns >= 0])
        return mask / np.where(turns >= 0, sizes[np.maximum(turns, 0)], 1)
    return mask / mask.sum() if aggregate == "sequence" else mask


def _stats(model: Model, params, batch: Batch, temperature, chunk: int):
    """Of the policy that samples: its logits are the model's over the temperature."""
    hidden_BTD, _ = model.hidden(
        params, batch.tokens, None, batch.positions, batch.segments
    )
    return losses.token_stats(
        model.head(params),
        hidden_BTD,
        batch.tokens,
        temperature,
        chunk,
    )


@functools.partial(jax.jit, static_argnames=("model", "chunk"))
def log_probs(model: Model, params, batch: Batch, temperature, chunk: int = 0):
    """Log-probs of a batch's tokens, BT, as the reference policy sees them."""
    return _stats(model, params, batch, temperature, chunk).log_probs


@functools.partial(jax.jit, static_argnames=("model", "config", "chunk"))
def gradients(
    model: Model,
    trainable,
    frozen,
    batch: Batch,
    reference_BT,
    denominator,
    temperature,
    config: PolicyLossConfig,
    chunk: int = 0,
    before_BT=None,
):
    """One micro-batch's share of the gradients: (gradients, metrics).

    The metrics are its share of "policy_loss", and sums over its mask.

    Args:
      model: The decoder.
      trainable: What gets the gradients.
      frozen: The rest of the parameters.
      batch: The micro-batch.
      reference_BT: Log-probs of the reference policy, or None.
      denominator: As from `make_batches`.
      temperature: Of the policy that sampled.
      config: The loss.
      chunk: As in `losses.token_stats`.
      before_BT: Log-probs of the sampling policy as the trainer computes them, for
        importance weights; None to take the sampler's.
    """
    units = {"turn": batch.turns, "sequence": batch.segments}.get(config.ratio)
    old_BT, importance_BT = batch.log_probs, None
    if before_BT is not None:
        old_BT = before_BT
        importance_BT = losses.importance_weights(
            before_BT, batch.log_probs, config.importance_cap
        )

    def of(trainable):
        params = join(trainable, frozen)
        stats = _stats(model, params, batch, temperature, chunk)
        loss, sums = losses.policy_loss(
            stats.log_probs,
            old_BT,
            reference_BT,
            stats.entropy,
            batch.advantages,
            batch.mask,
            denominator,
            config,
            units,
            importance_BT,
        )
        gap_BT = jnp.abs(stats.log_probs - batch.log_probs)
        return loss, sums | {"log_prob_gap": losses.masked_sum(gap_BT, batch.mask)}

    (loss, sums), grads = jax.value_and_grad(of, has_aux=True)(trainable)
    return constrain(model.mesh, grads), {"policy_loss": loss, **sums}


@functools.partial(jax.jit, static_argnames=("optimizer", "mesh"), donate_argnums=0)
def apply(state: TrainState, grads, optimizer, step, mesh=None):
    """The update, with the step set to what it is then: (state, gradient norm)."""
    norm = optax.tree.norm(grads)
    state = dataclasses.replace(apply_gradients(state, grads, optimizer), step=step)
    return constrain(mesh, state), norm


@functools.partial(jax.jit, static_argnames="mesh", donate_argnums=0)
def skip(state: TrainState, mesh=None):
    """Counts a step in which nothing was learnt."""
    return constrain(mesh, dataclasses.replace(state, step=state.step + 1))


_add = jax.jit(functools.partial(jax.tree.map, jnp.add), donate_argnums=0)


def update(
    model: Model,
    state: TrainState,
    frozen,
    reference,
    rollouts: list[Rollout],
    config: RlvrConfig,
    optimizer,
    chunk: int = 0,
) -> tuple[TrainState, dict]:
    """Trains on one batch of experience: (state, metrics).

    A batch in which no group has signal leaves the parameters as they are; only
    the step is counted.
    """
    started = time.perf_counter()
    batches, denominator, metrics = make_batches(rollouts, config)
    metrics |= describe(rollouts)
    if not batches:
        state = skip(state, model.mesh)
        return state, metrics | {"seconds_update": time.perf_counter() - started}
    metrics["real_share"] = float(np.mean([b.real_share for b in batches]))
    weights = [float(batch.mask.sum()) for batch in batches]
    if model.mesh is not None:
        batches = [place_batch(model.mesh, batch) for batch in batches]

    def scored(params, wanted) -> list:
        if not wanted:
            return [None] * len(batches)
        return [
            log_probs(model, params, batch, config.temperature, chunk)
            for batch in batches
        ]

    references = scored(reference, config.loss.kl_coef)
    params = join(state.trainable, frozen)
    befores = scored(params, config.loss.importance_cap)
    parts = list(zip(batches, references, befores, strict=True))
    step = np.int32(state.step) + 1  # read before the update donates it
    measured = []
    for places in _minibatches(len(parts), config):
        # What a part divides by is its own share of the whole.
        weight = sum(weights[i] for i in places)
        share = weight / sum(weights)
        grads, found = _accumulate(
            model,
            state.trainable,
            frozen,
            [parts[i] for i in places],
            denominator * share,
            config,
            chunk,
        )
        state, norm = apply(state, grads, optimizer, step, model.mesh)
        loss = found.pop("policy_loss")
        means = {name: value / weight for name, value in found.items()}
        measured.append({"policy_loss": loss, "gradient_norm": norm, **means})
    measured = jax.device_get(measured)
    metrics |= {n: float(np.mean([m[n] for m in measured])) for n in measured[0]}
    # How far sampler and trainer are apart shows before the first update only.
    metrics["log_prob_gap"] = float(measured[0]["log_prob_gap"])
    return state, metrics | {"seconds_update": time.perf_counter() - started}


def _minibatches(count: int, config: RlvrConfig) -> list[list[int]]:
    """The micro-batches of each update: all of them once in each epoch."""
    size = min(config.minibatches, count)
    return [list(range(i, count, size)) for i in range(size)] * config.epochs


def _accumulate(model, trainable, frozen, parts, denominator, config, chunk):
    """Gradients and metrics of a few micro-batches together."""
    total = None
    for batch, reference_BT, before_BT in parts:
        part = gradients(
            model,
            trainable,
            frozen,
            batch,
            reference_BT,
            denominator,
            config.temperature,
            config.loss,
            chunk,
            before_BT,
        )
        total = part if total is None else _add(total, part)
    return total


def describe(rollouts: list[Rollout]) -> dict[str, float]:
    """What the episodes were like: rewards, outcomes, malformed commands, turns."""
    steps = [step for r in rollouts for step in r.steps]
    sampled = sum(sum(r.episode.mask) for r in rollouts)
    return {
        "reward": float(np.mean([r.rewards.sum() for r in rollouts])),
        "solved": float(np.mean([r.status == "solved" for r in rollouts])),
        "passed": float(np.mean([r.passed for r in rollouts])),
        "malformed": float(np.mean([step.malformed for step in steps] or [0.0])),
        "turns": len(steps) / len(rollouts),
        "faults": float(np.mean([r.status == "fault" for r in rollouts])),
        "episodes": len(rollouts),
        "sampled_tokens": sampled,
    }

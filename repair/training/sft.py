"""Stage one: supervised finetuning on demonstrations.

The life of the data through one step: `plan` has laid the episodes out in rows, the
row order of an epoch is a permutation drawn from (seed, epoch), the batch of a step
is the next rows of that order, and the loss counts the commands' tokens only. The
states' may count a little by `state_weight`, which teaches a model that starts from
nothing to read and copy; the prompt's never do, since nobody can predict a test.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from repair.errors import UserError
from repair.model.api import Model
from repair.model.lora import join
from repair.model.sharding import constrain
from repair.text.episodes import ENVIRONMENT, Episode
from repair.text.packing import Batch, pack, plan_rows
from repair.training import losses
from repair.training.optimizer import OptimizerConfig, TrainState, apply_gradients


@dataclasses.dataclass(frozen=True)
class SftConfig:
    """Supervised finetuning.

    Attributes:
      steps: Updates.
      rows: Rows of a batch.
      row_length: Tokens of a row; longer demonstrations are left out and counted.
      accumulate: Parts of a batch whose gradients are computed one after the other and
        summed: less memory, the same update.
      state_weight: Loss weight of the states' tokens, from 0 (as in the paper) to
        below 1, which marks a command's.
      optimizer: Optimizer and schedule.
    """

    steps: int = 1000
    rows: int = 16
    row_length: int = 2048
    accumulate: int = 1
    state_weight: float = 0.0
    optimizer: OptimizerConfig = OptimizerConfig()

    def __post_init__(self):
        if not 0 <= self.state_weight < 1:
            raise ValueError(
                f"state_weight={self.state_weight} must be from 0 to below 1"
            )
        if self.accumulate < 1 or self.rows % self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate} must be 1 or more and divide"
                f" rows={self.rows}"
            )


@dataclasses.dataclass(frozen=True)
class Plan:
    """Episodes, the rows they lie in, and how many were too long for a row.

    `weights` are the loss weights of each episode's tokens.
    """

    episodes: list[Episode]
    weights: list[np.ndarray]
    rows: list[list[int]]
    left_out: int


def plan(episodes: list[Episode], config: SftConfig) -> Plan:
    """Lays out the episodes that fit a row.

    Raises:
      UserError: Not even one batch of rows comes together.
    """
    fitting, rows = lay_out([len(e) for e in episodes], config)
    episodes, left_out = [episodes[i] for i in fitting], len(episodes) - len(fitting)
    weights = [loss_weights(e, config.state_weight) for e in episodes]
    return Plan(episodes, weights, rows, left_out)


class InMemory:
    """The batches of episodes that are held in memory.

    Attributes:
      rows: Rows of an epoch.
      left_out: Episodes that are too long for a row.

    Raises:
      UserError: As for `plan`.
    """

    def __init__(self, episodes: list[Episode], config: SftConfig, seed: int):
        self._plan = plan(episodes, config)
        self._config, self._seed = config, seed
        self.rows, self.left_out = len(self._plan.rows), self._plan.left_out

    def batch(self, step: int) -> tuple[Batch, float]:
        """The batch of a step, and its share of real tokens."""
        batch = batch_at(self._plan, self._config, self._seed, step)
        return batch, batch.real_share


def lay_out(lengths: Sequence[int], config: SftConfig) -> tuple[list[int], list]:
    """Which episodes fit a row, and for each row which of these, from 0, lie in it.

    Raises:
      UserError: Not even one batch of rows comes together.
    """
    fitting = [i for i, n in enumerate(lengths) if n <= config.row_length]
    rows = plan_rows([int(lengths[i]) for i in fitting], config.row_length)
    if len(rows) < config.rows:
        raise UserError(
            f"{len(fitting)} demonstrations that fit row_length={config.row_length}"
            f" give {len(rows)} rows, fewer than a batch of {config.rows}; make more"
            " demonstrations or lower sft.rows"
        )
    return fitting, rows


def batch_at(plan: Plan, config: SftConfig, seed: int, step: int) -> Batch:
    """The batch of a step: a function of (seed, step), so resuming needs no more."""
    rows = rows_at(plan.rows, config, seed, step)
    return pack(plan.episodes, rows, config.row_length, weights=plan.weights)


def rows_at(rows: list, config: SftConfig, seed: int, step: int) -> list:
    """The rows of a step's batch: the next ones of the order of its epoch."""
    per_epoch = len(rows) // config.rows
    epoch, index = divmod(step, per_epoch)
    order = np.random.default_rng((seed, epoch)).permutation(len(rows))
    chosen = order[index * config.rows : (index + 1) * config.rows]
    return [rows[i] for i in chosen]


def loss_weights(episode: Episode, state_weight: float) -> np.ndarray:
    """Of each token: 1 in commands, state_weight in states, 0 in the prompt."""
    turns = np.array(episode.turns)
    state = np.float32(state_weight) * (turns == ENVIRONMENT)
    return np.where(turns >= 0, np.float32(1), state)


def loss(model: Model, params, batch: Batch, count, chunk: int = 0):
    """Loss per command token, and metrics over the command tokens.

    Args:
      model: The decoder.
      params: As from `Model.init_params`.
      batch: Rows, all of a batch or some.
      count: Command tokens of the whole batch: what sums are divided by.
      chunk: As in `losses.token_stats`.
    """
    hidden_BTD, _ = model.hidden(
        params, batch.tokens, None, batch.positions, batch.segments
    )
    stats = losses.token_stats(
        model.head(params), hidden_BTD, batch.tokens, chunk=chunk
    )
    commands = (batch.mask == 1.0).astype(jnp.float32)
    value = -losses.masked_sum(stats.log_probs, batch.mask) / count
    metrics = {
        "loss": value,
        "command_loss": -losses.masked_sum(stats.log_probs, commands) / count,
        "command_accuracy": losses.masked_sum(stats.hits, commands) / count,
    }
    return value, metrics


@functools.partial(
    jax.jit,
    static_argnames=("model", "optimizer", "accumulate", "chunk"),
    donate_argnums=1,
)
def update(
    model: Model,
    state: TrainState,
    frozen,
    batch: Batch,
    optimizer,
    accumulate: int = 1,
    chunk: int = 0,
):
    """One step: (state, metrics)."""
    count = jnp.maximum(jnp.sum(batch.mask == 1.0), 1).astype(jnp.float32)

    def gradients(rows):
        def of(trainable):
            return loss(model, join(trainable, frozen), rows, count, chunk)

        grads, metrics = jax.grad(of, has_aux=True)(state.trainable)
        return constrain(model.mesh, grads), metrics

    if accumulate == 1:
        grads, metrics = gradients(batch)
    else:

        def split(x):  # every n-th row: each device goes on with rows of its own
            parts = x.reshape(x.shape[0] // accumulate, accumulate, *x.shape[1:])
            return parts.swapaxes(0, 1)

        parts = jax.tree.map(split, batch)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(gradients, jax.tree.map(lambda x: x[0], parts)),
        )
        (grads, metrics), _ = jax.lax.scan(
            lambda total, rows: (jax.tree.map(jnp.add, total, gradients(rows)), None),
            zeros,
            parts,
        )
    metrics["gradient_norm"] = optax.tree.norm(grads)
    state = apply_gradients(state, grads, optimizer)
    return constrain(model.mesh, state), metrics

"""Stage one: supervised finetuning on demonstrations. Loop and step on one page.

The life of the data through one step:

1. `lay_out` puts all episodes into rows, best fit first, once for the stage.
2. `batch_at` takes the next rows of the epoch, whose order is a permutation drawn from
   (seed, epoch), and packs them: tokens, segments and loss weights, each BT.
3. `update` computes the loss over the commands' tokens, its gradients in `accumulate`
   parts, and applies the optimizer.

The states' tokens may count a little by `state_weight`, which teaches a model that
starts from random weights to read and copy. The prompt's never count, since nobody can
predict a test.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from repair.errors import MOST, UserError, expect, expect_between
from repair.model.api import Model
from repair.model.lora import join
from repair.model.sharding import constrain, place_batch
from repair.text.branches import Prefixes, plan_branches, shared_prefixes
from repair.text.episodes import ENVIRONMENT, PROMPT, Example
from repair.text.packing import Batch, capacity, pack, plan_rows
from repair.training import losses
from repair.training.loop import Loop
from repair.training.optimizer import (
    OptimizerConfig,
    TrainState,
    apply_gradients,
)


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
      share_prompts: Put all demonstrations of a task into as few rows as possible, with
        its prompt once in a row. The same loss with fewer tokens, in other batches.
      optimizer: Optimizer and schedule.
      eval_every: Steps between evaluations on some held-out bugs and demonstrations;
        0 for never.
      patience: The stage ends after so many evaluations without a better one; 0 for
        no such end.
    """

    steps: int = 1000
    rows: int = 16
    row_length: int = 2048
    accumulate: int = 1
    state_weight: float = 0.0
    share_prompts: bool = False
    optimizer: OptimizerConfig = OptimizerConfig()
    eval_every: int = 0
    patience: int = 0

    def __post_init__(self):
        expect_between(self, 1, MOST, "steps", "rows", "row_length", "accumulate")
        expect_between(self, 0, 1, "state_weight", below=True)
        expect_between(self, 0, MOST, "eval_every", "patience")
        parts = self.accumulate
        divides = self.rows % parts == 0
        expect(divides, "accumulate", parts, f"a divisor of rows={self.rows}")


def train(
    loop: Loop, episodes: list[Example], evaluate: Callable[[dict], dict]
) -> dict:
    """Train to the end of the stage: the parameters.

    Args:
      loop: The stage's loop.
      episodes: Demonstrations as tokens.
      evaluate: Returns figures of parameters; called every `eval_every` steps.

    Raises:
      UserError: Not even one batch of rows comes together, or the run has diverged.
    """
    c, context = loop.settings, loop.context
    layout = lay_out(episodes, c)
    epochs = c.steps * c.rows / len(layout.rows)
    context.report(
        f"sft: {len(layout.episodes)} demonstrations in {len(layout.rows)} rows,"
        f" {epochs:.1f} epochs; {layout.left_out} too long for a row"
    )
    for step in loop:
        batch = batch_at(layout, c, context.config.seed, step)
        loop.state, metrics = update(
            context.model,
            loop.state,
            loop.frozen,
            place_batch(context.model.mesh, batch),
            loop.optimizer,
            loop.learning_rate_scale,
            c.accumulate,
            context.config.loss_chunk,
        )
        loop.log(metrics | {"real_share": batch.real_share})
        if loop.evaluation_due:
            loop.log_evaluation(evaluate(loop.params))
    return loop.params


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
    scale=1.0,
    accumulate: int = 1,
    chunk: int = 0,
):
    """Make one step at a share of the peak learning rate: (state, metrics)."""
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
    state = apply_gradients(state, grads, optimizer, scale)
    return constrain(model.mesh, state), metrics


def loss(model: Model, params, batch: Batch, count, chunk: int = 0):
    """Return the loss per command token, and metrics over the command tokens.

    Args:
      model: The decoder.
      params: Parameters of the model.
      batch: Rows, all of a batch or some.
      count: Command tokens of the whole batch, which sums are divided by.
      chunk: Tokens of each row whose logits exist at once; 0 for all.
    """
    stats = losses.batch_stats(model, params, batch, chunk=chunk)
    commands = (batch.mask == 1.0).astype(jnp.float32)
    value = -losses.masked_sum(stats.log_probs, batch.mask) / count
    metrics = {
        "loss": value,
        "command_loss": -losses.masked_sum(stats.log_probs, commands) / count,
        "command_accuracy": losses.masked_sum(stats.hits, commands) / count,
    }
    return value, metrics


@dataclasses.dataclass(frozen=True)
class Layout:
    """Episodes in rows.

    Attributes:
      episodes: Episodes that fit a row.
      rows: For each row the indices of its episodes.
      left_out: Number of episodes that are too long for a row.
      scored: Room for the tokens of a row that have a loss.
      prefixes: Beginnings that a row holds once; None for none.
    """

    episodes: list[Example]
    rows: list[list[int]]
    left_out: int
    scored: int
    prefixes: Prefixes | None = None


def lay_out(episodes: list[Example], config: SftConfig) -> Layout:
    """Lay out the episodes that fit a row.

    Raises:
      UserError: Not even one batch of rows comes together.
    """
    fitting = [e for e in episodes if len(e) <= config.row_length]
    lengths = [len(e) for e in fitting]
    weights = [loss_weights(episode, config.state_weight) for episode in fitting]
    prefixes = None
    if config.share_prompts:
        prompts = [np.asarray(e.ids)[np.asarray(e.turns) == PROMPT] for e in fitting]
        keys = [prompt.tobytes() for prompt in prompts]
        prefixes = shared_prefixes(fitting, keys, weights)
        rows = plan_branches(lengths, prefixes, config.row_length)
    else:
        rows = plan_rows(lengths, config.row_length)
    if len(rows) < config.rows:
        raise UserError(
            f"{len(fitting)} demonstrations that fit row_length={config.row_length}"
            f" give {len(rows)} rows, fewer than a batch of {config.rows}; make more"
            " demonstrations or lower sft.rows"
        )
    scored = capacity(rows, weights, config.row_length)
    return Layout(fitting, rows, len(episodes) - len(fitting), scored, prefixes)


def batch_at(layout: Layout, config: SftConfig, seed: int, step: int) -> Batch:
    """Return the batch of a step, a function of (seed, step): the epoch's next rows."""
    per_epoch = len(layout.rows) // config.rows
    epoch, index = divmod(step, per_epoch)
    order = np.random.default_rng((seed, epoch)).permutation(len(layout.rows))
    chosen = order[index * config.rows : (index + 1) * config.rows]
    rows = [layout.rows[i] for i in chosen]
    weights = {
        i: loss_weights(layout.episodes[i], config.state_weight)
        for r in rows
        for i in r
    }
    return pack(
        layout.episodes,
        rows,
        config.row_length,
        weights,
        scored=layout.scored,
        prefixes=layout.prefixes,
    )


def loss_weights(episode: Example, state_weight: float) -> np.ndarray:
    """Return the weights of tokens, T: `state_weight` in states, 0 in the prompt."""
    turns = np.asarray(episode.turns)
    state = np.float32(state_weight) * (turns == ENVIRONMENT)
    return np.where(turns >= 0, np.float32(1), state)

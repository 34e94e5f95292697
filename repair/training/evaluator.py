"""Evaluation of a policy while it trains: always the same bugs and demonstrations."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from repair.model.api import Model
from repair.model.sharding import place_batch
from repair.rollout.collect import RolloutSeed, collect_rollouts
from repair.tasks import Bug, Task
from repair.text.episodes import Example
from repair.text.packing import Batch, capacity, pack, plan_rows
from repair.training import sft
from repair.training.evaluation import verify_groups
from repair.training.policy import Policy


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Measures parameters on some held-out bugs and demonstrations.

    Attributes:
      policy: The policy, whose own parameters are not used; its verifier is open.
      bugs: Held-out bugs.
      batches: Demonstrations of held-out programs, in rows.
    """

    policy: Policy
    bugs: Sequence[Bug]
    batches: Sequence[Batch] = ()

    def figures(self, params) -> dict[str, float]:
        """Return greedy "pass@1" and "shown_pass@1", and the loss on the batches.

        With batches also "command_loss", in nats a command token, and
        "command_accuracy".
        """
        policy = self.policy
        greedy, seed = policy.config.sampler.sampling(0.0), policy.config.seed
        rollouts = collect_rollouts(
            policy.engine, params, self.bugs, 1, greedy, RolloutSeed(seed)
        )
        rollouts, passed, _ = verify_groups(rollouts, 1, policy.verifier)
        figures = {
            "pass@1": float(np.mean(passed)) if len(passed) else 0.0,
            "shown_pass@1": float(np.mean([r.passed for r in rollouts] or [0.0])),
        }
        if self.batches:
            chunk = policy.config.loss_chunk
            sums = [_sums(policy.model, params, b, chunk) for b in self.batches]
            loss, hits, count = np.sum(jax.device_get(sums), axis=0)
            figures["command_loss"] = float(loss / count)
            figures["command_accuracy"] = float(hits / count)
        return figures


def choose_tasks(tasks: Sequence[Task], count: int) -> list[Task]:
    """Return so many tasks, the same for every run with these tasks."""
    order = np.random.default_rng(0).permutation(len(tasks))
    return [tasks[i] for i in sorted(order[:count])]


def pack_examples(episodes: Sequence[Example], config, mesh) -> list[Batch]:
    """Pack episodes that fit a row in batches of the section `sft`, the last filled."""
    fitting = [e for e in episodes if len(e) <= config.row_length]
    rows = plan_rows([len(e) for e in fitting], config.row_length)
    rows += [[]] * (-len(rows) % config.rows)
    starts = range(0, len(rows), config.rows)
    parts = [rows[start : start + config.rows] for start in starts]
    room = capacity(rows, [episode.mask for episode in fitting], config.row_length)
    packed = (pack(fitting, part, config.row_length, scored=room) for part in parts)
    return [place_batch(mesh, batch) for batch in packed]


@functools.partial(jax.jit, static_argnames=("model", "chunk"))
def _sums(model: Model, params, batch: Batch, chunk: int):
    """Return (loss, hits, count), sums over the command tokens of a batch."""
    _, metrics = sft.loss(model, params, batch, jnp.float32(1), chunk)
    count = jnp.sum(batch.mask == 1.0).astype(jnp.float32)
    return metrics["command_loss"], metrics["command_accuracy"], count

"""Rollouts as training data: groups with signal, their advantages, micro-batches."""

from collections.abc import Sequence

import numpy as np

from repair.rollout.rollout import Rollout
from repair.text.branches import plan_branches, shared_prefixes
from repair.text.packing import Batch, capacity, pack
from repair.training.advantages import AdvantageConfig, turn_advantages


def trainable(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return the rollouts that have a command and did not break."""
    return [r for r in rollouts if r.status != "fault" and r.steps]


def advantages_of(rollouts: Sequence[Rollout], config: AdvantageConfig):
    """Return the advantages of `trainable` rollouts; see `turn_advantages`."""
    rewards = [rollout.rewards for rollout in rollouts]
    groups = [rollout.bug.bug_id for rollout in rollouts]
    return turn_advantages(rewards, groups, config)


def make_batches(
    rollouts: Sequence[Rollout], config, order: tuple[int, int] = (0, 0)
) -> tuple[list[Batch], dict]:
    """Pack the groups with signal in micro-batches: (batches, metrics).

    Args:
      rollouts: Those of one step.
      config: The section `rlvr`.
      order: Seed and step, which the order of the rows is a function of.
    """
    rollouts = trainable(rollouts)
    advantages, active, metrics = advantages_of(rollouts, config.advantages)
    kept = [i for i, is_active in enumerate(active) if is_active]
    episodes = [rollouts[i].episode for i in kept]
    # Put the common beginning of a bug's samples once in a row.
    weights = [episode.mask for episode in episodes]
    prefixes = shared_prefixes(
        episodes, [rollouts[i].bug.bug_id for i in kept], weights
    )
    rows = plan_branches([len(e) for e in episodes], prefixes, config.row_length)
    rows += [[]] * (-len(rows) % config.rows)
    # Planned rows go by length, and long episodes are those that failed: unshuffled,
    # each small update would have nearly one sign.
    shuffled = np.random.default_rng(order).permutation(len(rows))
    rows = [rows[i] for i in shuffled]
    room = capacity(rows, weights, config.row_length)
    batches = [
        pack(
            episodes,
            rows[start : start + config.rows],
            config.row_length,
            advantages=[advantages[i] for i in kept],
            scored=room,
            prefixes=prefixes,
        )
        for start in range(0, len(rows), config.rows)
    ]
    return batches, metrics

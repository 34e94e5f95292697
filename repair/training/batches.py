"""Rollouts as training data: groups with signal, their advantages, micro-batches."""

from collections.abc import Sequence

import numpy as np

from repair.rollout.rollout import Rollout
from repair.text.episodes import Episode
from repair.text.packing import Batch, pack, plan_rows
from repair.training.advantages import AdvantageConfig, turn_advantages


def trainable(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return the rollouts that have a command and did not break."""
    return [r for r in rollouts if r.status != "fault" and r.steps]


def advantages_of(rollouts: Sequence[Rollout], config: AdvantageConfig):
    """Return the advantages of `trainable` rollouts; see `turn_advantages`."""
    rewards = [rollout.rewards for rollout in rollouts]
    groups = [rollout.bug.bug_id for rollout in rollouts]
    return turn_advantages(rewards, groups, config)


def silent_groups(rollouts: Sequence[Rollout], config: AdvantageConfig) -> set[str]:
    """Return the ids of the bugs whose rollouts have no advantages."""
    kept = trainable(rollouts)
    _, active, _ = advantages_of(kept, config)
    pairs = zip(kept, active, strict=True)
    loud = {r.bug.bug_id for r, is_active in pairs if is_active}
    return {r.bug.bug_id for r in rollouts} - loud


def make_batches(
    rollouts: Sequence[Rollout], config
) -> tuple[list[Batch], float, dict]:
    """Pack the groups with signal in micro-batches: (batches, denominator, metrics).

    The mask weighs tokens as `loss.aggregate` says, and the denominator is the number
    of units (tokens, turns or sequences) that it weighs alike.

    Args:
      rollouts: Rollouts of whole groups.
      config: The section `rlvr`.
    """
    rollouts = trainable(rollouts)
    advantages, active, metrics = advantages_of(rollouts, config.advantages)
    kept = [i for i, is_active in enumerate(active) if is_active]
    episodes = [rollouts[i].episode for i in kept]
    weights = [_weights(episode, config.loss.aggregate) for episode in episodes]
    denominator = config.loss.denominator or float(sum(w.sum() for w in weights))
    rows = plan_rows([len(e) for e in episodes], config.row_length)
    rows += [[]] * (-len(rows) % config.rows)
    batches = [
        pack(
            episodes,
            rows[start : start + config.rows],
            config.row_length,
            weights=weights,
            advantages=[advantages[i] for i in kept],
        )
        for start in range(0, len(rows), config.rows)
    ]
    return batches, denominator, metrics


def _weights(episode: Episode, aggregate: str) -> np.ndarray:
    """Return the weights of tokens, T: 1, or a share of the turn or of the episode."""
    mask = np.array(episode.mask, np.float32)
    if aggregate == "turn":
        turns = np.array(episode.turns)
        sizes = np.bincount(turns[turns >= 0])
        return mask / np.where(turns >= 0, sizes[np.maximum(turns, 0)], 1)
    return mask / mask.sum() if aggregate == "sequence" else mask


def rollout_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return metrics of rollouts: rewards, outcomes, malformed commands, turns."""
    steps = [step for r in rollouts for step in r.steps]
    return {
        "reward": float(np.mean([r.rewards.sum() for r in rollouts])),
        "solved": float(np.mean([r.status == "solved" for r in rollouts])),
        "passed": float(np.mean([r.passed for r in rollouts])),
        "malformed": float(np.mean([step.malformed for step in steps] or [0.0])),
        "turns": len(steps) / len(rollouts),
        "faults": float(np.mean([r.status == "fault" for r in rollouts])),
        "episodes": len(rollouts),
        "sampled_tokens": sum(sum(r.episode.mask) for r in rollouts),
    }

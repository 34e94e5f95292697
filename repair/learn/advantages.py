"""Per-turn advantages for groups of episodes that start from one faulty program.

All estimators start from the return-to-go of turn e, G_e = r_e + gamma G_{e+1}, and
compare it with *peers*: other samples of the same faulty program. A baseline keeps
the policy gradient unbiased if it does not depend on the action it is subtracted
from, so what a sample did, and when it stopped, must not choose its own baseline:

- `turn`: the peers at turn e are the other samples still living at that turn, with
  their G_e; for a sample that has outlived all others they are all others with
  their whole return G_0. Either set depends on the others alone. The advantage is
  G_e minus the peers' mean (leave-one-out). Unbiased.
- `grpo`: one number a sample, (G_0 - mean) / std over the whole group, the sample
  itself included, repeated on each of its turns (Shao et al. 2024,
  arXiv 2402.03300). Biased, by the division and by the sample's own share.

Normalising the *rewards* of each turn first and summing them over later turns is not
offered: every later turn then sums to zero over the living samples, so that going on
looks worth nothing whatever it earns.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from repair.errors import UserError

# Differences of returns below this are rounding, not signal.
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class AdvantageConfig:
    """How returns become advantages.

    Attributes:
      estimator: A name in `ESTIMATORS`.
      normalise_std: For `turn`: also divide by the standard deviation of the peers
        and the sample. This blows the small penalties of a group in which
        everything failed up to full size. `grpo` always divides, by definition.
      outcome_gate: Drop the groups in which no turn of any sample was rewarded with
        more than zero, so that format penalties alone move nothing. A gate depends
        on the sample's own success and so is a (useful) bias.
      gamma: Discount of one turn.
    """

    estimator: str = "turn"
    normalise_std: bool = False
    outcome_gate: bool = False
    gamma: float = 1.0

    def __post_init__(self):
        if self.estimator not in ESTIMATORS:
            raise UserError(
                f"advantage estimator {self.estimator!r} is unknown: "
                f"use one of {', '.join(sorted(ESTIMATORS))}"
            )
        if not 0.0 <= self.gamma <= 1.0:
            raise UserError(f"gamma is {self.gamma}: set it between 0 and 1")


def turn_advantages(
    rewards: Sequence[np.ndarray], groups: Sequence, config: AdvantageConfig
) -> tuple[list[np.ndarray], np.ndarray, dict[str, float]]:
    """Advantages of every turn of every rollout.

    Args:
      rewards: For each rollout its rewards, one a turn; lengths differ, none is 0.
      groups: For each rollout the id of its group: samples of one faulty program,
        never of different ones. In any order.
      config: The estimator and its options.

    Returns:
      (advantages, active, stats): per rollout a float64 array with one number a
      turn; a bool per rollout, False where the whole group carries no signal (no
      difference in returns, a lone sample, or stopped by the gate): leave such
      rollouts out of the loss, its denominator and the KL; and the figures
      "return" (mean over rollouts), "return_std" and "zero_variance_groups" (share
      of groups without signal, before the gate), and "gated_groups" (share).

    Raises:
      ValueError: When a rollout has no turn or the two lists differ in length.
    """
    returns = [_returns_to_go(r, config.gamma) for r in rewards]
    advantages: list[np.ndarray] = [np.zeros_like(g) for g in returns]
    active = np.zeros(len(returns), bool)
    members: dict = {}
    for index, group in zip(range(len(returns)), groups, strict=True):
        members.setdefault(group, []).append(index)
    silent = gated = 0
    for group in members.values():
        values = ESTIMATORS[config.estimator]([returns[i] for i in group], config)
        if all(np.all(np.abs(v) < _EPSILON) for v in values):
            silent += 1
        elif config.outcome_gate and all(np.max(rewards[i]) <= 0 for i in group):
            gated += 1
        else:
            active[group] = True
            for index, value in zip(group, values, strict=True):
                advantages[index] = value
    total = np.array([g[0] for g in returns])
    stats = {
        "return": float(total.mean()) if len(total) else 0.0,
        "return_std": float(total.std()) if len(total) else 0.0,
        "zero_variance_groups": silent / max(len(members), 1),
        "gated_groups": gated / max(len(members), 1),
    }
    return advantages, active, stats


def _returns_to_go(rewards, gamma: float) -> np.ndarray:
    returns = np.array(rewards, np.float64)
    if returns.ndim != 1 or not len(returns):
        raise ValueError(f"a rollout needs one reward a turn, got {rewards!r}")
    for turn in range(len(returns) - 2, -1, -1):
        returns[turn] += gamma * returns[turn + 1]
    return returns


def _turn(returns: list[np.ndarray], config: AdvantageConfig) -> list[np.ndarray]:
    advantages = [np.zeros_like(g) for g in returns]
    if len(returns) < 2:
        return advantages
    for index, own in enumerate(returns):
        others = returns[:index] + returns[index + 1 :]
        for turn, value in enumerate(own):
            living = [g[turn] for g in others if len(g) > turn]
            peers = living or [g[0] for g in others]
            advantage = value - np.mean(peers)
            if config.normalise_std:
                advantage /= np.std([value, *peers]) + _EPSILON
            advantages[index][turn] = advantage
    return advantages


def _grpo(returns: list[np.ndarray], config: AdvantageConfig) -> list[np.ndarray]:
    del config  # GRPO as published has no options here.
    total = np.array([g[0] for g in returns])
    outcome = (total - total.mean()) / (total.std() + _EPSILON)
    return [np.full_like(g, a) for g, a in zip(returns, outcome, strict=True)]


# (returns-to-go of the samples of one group, config) -> their advantages.
ESTIMATORS = {"turn": _turn, "grpo": _grpo}

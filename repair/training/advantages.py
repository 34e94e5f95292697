"""Per-turn advantages for groups of episodes that start from one faulty program.

All estimators start from the return-to-go of turn e, G_e = r_e + gamma G_{e+1}, and
compare it with *peers*: other samples of the same faulty program. A baseline keeps the
policy gradient unbiased if it does not depend on the action that it is subtracted from,
so a sample's own actions, and its last turn, must not choose its baseline:

  turn       G_e minus the mean G_e of the other samples that still live at that turn;
             for a sample that has outlived all others, minus the mean of their whole
             returns G_0. Either set depends on the others alone. Unbiased.
  rloo       One number a sample: G_0 minus the mean of the others' (Ahmadian et al.
             2024, arXiv 2402.14740), repeated on each of its turns. Unbiased. A turn is
             also credited with what came before it, which is noise; but late turns are
             compared with more peers, which is less.
  dr_grpo    G_0 minus the mean over the whole group (Liu et al. 2025, arXiv
             2503.20783): rloo times (C - 1) / C. Unbiased but for that factor.
  reinforce  G_e minus the mean G_0 of all other samples of the batch, of whatever
             program (Williams 1992; the baseline is the batch's). Unbiased.

and three that are known to be biased, to see the difference:

  grpo       (G_0 - mean) / std over the whole group, repeated on each turn (Shao et al.
             2024, arXiv 2402.03300): biased by the division.
  per_turn   (r_e - mean) / std of the rewards of each turn over the living, own sample
             included, as "GRPO normalised per turn" reads literally: a turn gets no
             credit for what it leads to.
  turn_sum   The same, summed over later turns: each later turn sums to zero over the
             living, so that going on looks worth nothing whatever it earns.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from repair.errors import expect

# Differences of returns below this are rounding, not signal.
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class AdvantageConfig:
    """The estimator of advantages.

    Attributes:
      estimator: "turn", "rloo", "dr_grpo", "reinforce", "grpo", "per_turn" or
        "turn_sum"; see `repair.training.advantages`.
      normalise_std: With "turn", also divide by the standard deviation of the peers and
        the sample, which blows the small penalties of a group in which everything
        failed up to full size. The biased estimators always divide.
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
        name, known = self.estimator, ", ".join(sorted(ESTIMATORS))
        expect(name in ESTIMATORS, "estimator", name, f"one of {known}")
        expect(0.0 <= self.gamma <= 1.0, "gamma", self.gamma, "0 to 1")


def turn_advantages(
    rewards: Sequence[np.ndarray], groups: Sequence, config: AdvantageConfig
) -> tuple[list[np.ndarray], np.ndarray, dict[str, float]]:
    """Return (advantages, active, stats) of rollouts.

    Args:
      rewards: For each rollout its rewards, one a turn, at least one.
      groups: For each rollout the id of its group: samples of one faulty program,
        never of different ones. In any order.
      config: The estimator and its options.

    Returns:
      advantages: For each rollout a float64 array with one number a turn.
      active: For each rollout a bool, False where the whole group carries no signal (no
        difference in returns, a lone sample, or stopped by the gate): leave such
        rollouts out of the loss, its denominator and the KL.
      stats: Mean and deviation of "return", and the shares of groups without signal,
        "zero_variance_groups" (before the gate) and "gated_groups".

    Raises:
      ValueError: A rollout has no turn or the two lists differ in length.
    """
    returns = [returns_to_go(r, config.gamma) for r in rewards]
    advantages: list[np.ndarray] = [np.zeros_like(g) for g in returns]
    active = np.zeros(len(returns), bool)
    members: dict = {}
    for index, group in zip(range(len(returns)), groups, strict=True):
        members.setdefault(group, []).append(index)
    silent = gated = 0
    estimate = ESTIMATORS[config.estimator]
    everyone = estimate(returns, config) if config.estimator in _OF_BATCH else None
    for group in members.values():
        if everyone is not None:
            values = [everyone[i] for i in group]
        else:
            values = estimate([returns[i] for i in group], config)
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


def returns_to_go(rewards, gamma: float) -> np.ndarray:
    """Return G_e of each turn, float64; ValueError if there is no turn."""
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


def _rloo(returns: list[np.ndarray], config: AdvantageConfig) -> list[np.ndarray]:
    size = len(returns)
    if size < 2:
        return [np.zeros_like(g) for g in returns]
    return [g * (size / (size - 1)) for g in _dr_grpo(returns, None)]


def _dr_grpo(returns: list[np.ndarray], config) -> list[np.ndarray]:
    total = np.array([g[0] for g in returns])
    centred = total - total.mean()
    return [np.full_like(g, a) for g, a in zip(returns, centred, strict=True)]


def _reinforce(returns: list[np.ndarray], config: AdvantageConfig) -> list[np.ndarray]:
    total = np.array([g[0] for g in returns])
    others = (total.sum() - total) / max(len(total) - 1, 1)
    return [g - b for g, b in zip(returns, others, strict=True)]


def _grpo(returns: list[np.ndarray], config: AdvantageConfig) -> list[np.ndarray]:
    spread = np.std([g[0] for g in returns]) + _EPSILON
    return [g / spread for g in _dr_grpo(returns, None)]


def _per_turn(returns: list[np.ndarray], config: AdvantageConfig) -> list[np.ndarray]:
    """Return the rewards, recovered from returns, normalised turn by turn."""
    rewards = [g - config.gamma * np.append(g[1:], 0.0) for g in returns]
    out = [np.zeros_like(r) for r in rewards]
    for turn in range(max(map(len, rewards))):
        living = [i for i, r in enumerate(rewards) if len(r) > turn]
        values = np.array([rewards[i][turn] for i in living])
        normal = (values - values.mean()) / (values.std() + _EPSILON)
        for i, value in zip(living, normal, strict=True):
            out[i][turn] = value
    return out


def _turn_sum(returns: list[np.ndarray], config: AdvantageConfig) -> list[np.ndarray]:
    return [returns_to_go(r, config.gamma) for r in _per_turn(returns, config)]


# (returns-to-go of the samples of one group, config) -> their advantages.
ESTIMATORS = {
    "turn": _turn,
    "rloo": _rloo,
    "dr_grpo": _dr_grpo,
    "reinforce": _reinforce,
    "grpo": _grpo,
    "per_turn": _per_turn,
    "turn_sum": _turn_sum,
}
# Those that look at the whole batch, not at one group.
_OF_BATCH = ("reinforce",)

"""Per-turn advantages for groups of episodes that start from one faulty program.

All estimators start from the return-to-go of turn e, G_e = r_e + G_{e+1}, and
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
  reinforce  G_e minus the mean G_0 of all other samples of the batch, of whatever
             program (Williams 1992; the baseline is the batch's). Unbiased.

and two that are known to be biased, to see the difference:

  grpo       (G_0 - mean) / std over the whole group, repeated on each turn (Shao et al.
             2024, arXiv 2402.03300): biased by the division.
  per_turn   (r_e - mean) / std of the rewards of each turn over the living, own sample
             included, as "GRPO normalised per turn" reads literally: a turn gets no
             credit for what it leads to.
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
      estimator: "turn", "rloo", "reinforce", "grpo" or "per_turn"; see
        `repair.training.advantages`.
      outcome_gate: Drop the groups in which no turn of any sample was rewarded with
        more than zero, so that format penalties alone move nothing. A gate depends
        on the sample's own success and so is a (useful) bias.
    """

    estimator: str = "turn"
    outcome_gate: bool = False

    def __post_init__(self):
        name, known = self.estimator, ", ".join(sorted(ESTIMATORS))
        expect(name in ESTIMATORS, "estimator", name, f"one of {known}")


def turn_advantages(
    rewards: Sequence[np.ndarray],
    groups: Sequence,
    config: AdvantageConfig,
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
      stats: The shares of groups without signal, "zero_variance_groups" (before the
        gate) and "gated_groups".

    Raises:
      ValueError: A rollout has no turn or the lists differ in length.
    """
    returns = [returns_to_go(r) for r in rewards]
    advantages: list[np.ndarray] = [np.zeros_like(g) for g in returns]
    active = np.zeros(len(returns), bool)
    members: dict = {}
    for index, group in zip(range(len(returns)), groups, strict=True):
        members.setdefault(group, []).append(index)
    silent = gated = 0
    estimate = ESTIMATORS[config.estimator]
    everyone = estimate(returns) if config.estimator in _OF_BATCH else None
    for group in members.values():
        if everyone is not None:
            values = [everyone[i] for i in group]
        else:
            values = estimate([returns[i] for i in group])
        if all(np.all(np.abs(v) < _EPSILON) for v in values):
            silent += 1
        elif config.outcome_gate and all(np.max(rewards[i]) <= 0 for i in group):
            gated += 1
        else:
            active[group] = True
            for index, value in zip(group, values, strict=True):
                advantages[index] = value
    stats = {
        "zero_variance_groups": silent / max(len(members), 1),
        "gated_groups": gated / max(len(members), 1),
    }
    return advantages, active, stats


def returns_to_go(rewards) -> np.ndarray:
    """Return G_e of each turn, float64; ValueError if there is no turn."""
    rewards = np.array(rewards, np.float64)
    if rewards.ndim != 1 or not len(rewards):
        raise ValueError(f"a rollout needs one reward a turn, got {rewards!r}")
    return np.cumsum(rewards[::-1])[::-1]


def _turn(returns: list[np.ndarray]) -> list[np.ndarray]:
    advantages = [np.zeros_like(g) for g in returns]
    if len(returns) < 2:
        return advantages
    for index, own in enumerate(returns):
        others = [i for i in range(len(returns)) if i != index]
        first = [returns[i][0] for i in others]
        for turn, value in enumerate(own):
            living = [returns[i][turn] for i in others if len(returns[i]) > turn]
            advantages[index][turn] = value - np.mean(living or first)
    return advantages


def _centred(returns: list[np.ndarray]) -> list[np.ndarray]:
    """Return G_0 minus its mean over the group, on each turn."""
    total = np.array([g[0] for g in returns])
    centred = total - total.mean()
    return [np.full_like(g, a) for g, a in zip(returns, centred, strict=True)]


def _rloo(returns: list[np.ndarray]) -> list[np.ndarray]:
    size = len(returns)
    return [a * (size / max(size - 1, 1)) for a in _centred(returns)]


def _reinforce(returns: list[np.ndarray]) -> list[np.ndarray]:
    total = np.array([g[0] for g in returns])
    others = (total.sum() - total) / max(len(total) - 1, 1)
    return [g - b for g, b in zip(returns, others, strict=True)]


def _grpo(returns: list[np.ndarray]) -> list[np.ndarray]:
    spread = np.std([g[0] for g in returns]) + _EPSILON
    return [a / spread for a in _centred(returns)]


def _per_turn(returns: list[np.ndarray]) -> list[np.ndarray]:
    """Return the rewards, recovered from returns, normalised turn by turn."""
    rewards = [g - np.append(g[1:], 0.0) for g in returns]
    out = [np.zeros_like(r) for r in rewards]
    for turn in range(max(map(len, rewards))):
        living = [i for i, r in enumerate(rewards) if len(r) > turn]
        values = np.array([rewards[i][turn] for i in living])
        normal = (values - values.mean()) / (values.std() + _EPSILON)
        for i, value in zip(living, normal, strict=True):
            out[i][turn] = value
    return out


# Returns-to-go of the samples of one group -> their advantages.
ESTIMATORS = {
    "turn": _turn,
    "rloo": _rloo,
    "reinforce": _reinforce,
    "grpo": _grpo,
    "per_turn": _per_turn,
}
# Those that look at the whole batch, not at one group.
_OF_BATCH = ("reinforce",)

"""The faulty programs of each step of RLVR: functions of (seed, step, history)."""

from collections.abc import Callable, Sequence

import numpy as np

from repair.rollout.rollout import Rollout
from repair.tasks import Bug

# Values of `rlvr.curriculum_by`.
RULES = ("", "solve_rate")
# Weight of bugs that some and not all of their last episodes solved; of others: 1.
_MIXED_WEIGHT = 4.0


class Curriculum:
    """Picks the bugs of a step; a resumed run picks the same.

    Its memory is a small state for the checkpoint: `state` after each step, `restore`
    before the first.

    Attributes:
      most: Most corruptions of a bug that the next step may have.
    """

    def __init__(
        self,
        source: Callable[[int], Sequence[Bug]],
        problems: int,
        seed: int,
        share: float = 0.0,
        window: int = 10,
        by: str = "",
    ):
        """Begin with the easiest bugs, or with all.

        Args:
          source: From an epoch to its bugs, equally many in each. With a share or a
            rule only those of epoch 0 come, since the history is theirs.
          problems: P, bugs of a step.
          seed: Seed of the run.
          share: Share of solved episodes from which on bugs with one more corruption
            come; 0 for all of them from the start.
          window: Steps that the share is averaged over.
          by: "solve_rate" for bugs that were solved by some and not by all of their
            last episodes four times as often; "" for all in turn.
        """
        self._source, self._problems, self._seed = source, problems, seed
        self._share, self._window, self._by = share, window, by
        counts = [bug.corruptions for bug in source(0)]
        self._high = max(counts)
        self.most = min(counts) if share else self._high
        self._solved: list[float] = []  # of the steps since `most` rose
        self._outcomes: dict[str, list[int]] = {}  # bug -> [solved, episodes]

    def pick(self, step: int) -> list[Bug]:
        """Return the bugs of a step, from 0; without a rule, all before one repeats."""
        if self._by:
            return self._pick_by_rate(step)
        first = step * self._problems
        count, orders, chosen = len(self._bugs(0)), {}, []
        for index in range(first, first + self._problems):
            epoch, place = divmod(index, count)
            if epoch not in orders:
                rng = np.random.default_rng((self._seed, epoch))
                orders[epoch] = rng.permutation(count)
            chosen.append(self._bugs(epoch)[orders[epoch][place]])
        return chosen

    def record(self, rollouts: Sequence[Rollout]) -> None:
        """Take in the episodes of a step; broken ones tell nothing about a bug."""
        if self._share:
            solved = float(np.mean([r.status == "solved" for r in rollouts]))
            self._solved = [*self._solved, solved][-self._window :]
            full = len(self._solved) == self._window
            if full and float(np.mean(self._solved)) >= self._share:
                self.most, self._solved = min(self.most + 1, self._high), []
        if self._by:
            last: dict[str, list[int]] = {}
            for rollout in rollouts:
                if rollout.status != "fault":
                    counts = last.setdefault(rollout.bug.bug_id, [0, 0])
                    counts[0] += rollout.status == "solved"
                    counts[1] += 1
            self._outcomes |= last

    def state(self) -> dict:
        """Return all that the history has changed, as JSON."""
        return {
            "most": self.most,
            "solved": list(self._solved),
            "outcomes": {name: list(pair) for name, pair in self._outcomes.items()},
        }

    def restore(self, state: dict) -> None:
        """Go on from a `state`; from {} as from the start."""
        self.most = state.get("most", self.most)
        self._solved = list(state.get("solved", []))
        self._outcomes = dict(state.get("outcomes", {}))

    def _pick_by_rate(self, step: int) -> list[Bug]:
        bugs = self._bugs(0)
        weights = np.ones(len(bugs))
        for place, bug in enumerate(bugs):
            solved, episodes = self._outcomes.get(bug.bug_id, (0, 0))
            if 0 < solved < episodes:
                weights[place] = _MIXED_WEIGHT
        rng, few = np.random.default_rng((self._seed, step)), len(bugs) < self._problems
        places = rng.choice(
            len(bugs), self._problems, replace=few, p=weights / weights.sum()
        )
        return [bugs[place] for place in places]

    def _bugs(self, epoch: int) -> list[Bug]:
        """Return the bugs that may come."""
        bugs = self._source(0 if self._share or self._by else epoch)
        return [bug for bug in bugs if bug.corruptions <= self.most]

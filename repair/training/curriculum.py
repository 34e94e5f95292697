"""The faulty programs of each step of RLVR: functions of (seed, step, history)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from repair.tasks import Bug


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Picks the bugs of a step; a resumed run picks the same.

    Attributes:
      bugs: All bugs that there are.
      problems: P, bugs of a step.
      seed: Seed of the run.
      share: Share of solved episodes from which on bugs with one more corruption come;
        0 for all of them from the start.
      window: Steps that the share is averaged over.
    """

    bugs: Sequence[Bug]
    problems: int
    seed: int
    share: float = 0.0
    window: int = 10

    def pick(self, step: int, most: int) -> list[Bug]:
        """Return the bugs of a step: no repeats until all were seen.

        Args:
          step: From 0.
          most: Most corruptions of a bug, from `most_corruptions`.
        """
        bugs, chosen = self._up_to(most), []
        for index in range(step * self.problems, (step + 1) * self.problems):
            epoch, place = divmod(index, len(bugs))
            order = np.random.default_rng((self.seed, epoch)).permutation(len(bugs))
            chosen.append(bugs[order[place]])
        return chosen

    def most_corruptions(self, solved: Sequence[float]) -> int:
        """Return the most corruptions that a bug of the next step may have.

        Each window of steps that reaches the share opens the next number.

        Args:
          solved: Share of solved episodes of each step so far.
        """
        counts = [bug.corruptions for bug in self.bugs]
        low, high = min(counts), max(counts)
        if not self.share:
            return high
        most, since = low, 0
        for step in range(1, len(solved) + 1):
            window = solved[max(since, step - self.window) : step]
            enough = len(window) == self.window
            if enough and float(np.mean(window)) >= self.share:
                most, since = min(most + 1, high), step
        return most

    def _up_to(self, most: int) -> list[Bug]:
        return [bug for bug in self.bugs if bug.corruptions <= most]

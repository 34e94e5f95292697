"""What each step of stage two plays: which faulty programs, and their episodes."""

from collections.abc import Sequence

import numpy as np

from repair.rollout.clock import Clock
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.engine import RolloutEngine
from repair.rollout.rollout import Rollout
from repair.rollout.sampling import Sampling
from repair.tasks import Bug
from repair.training.rlvr import RlvrConfig, silent_groups


class Practice:
    """The experience of any step, from (seed, step) and what was solved before."""

    def __init__(
        self, engine: RolloutEngine, bugs: Sequence[Bug], config: RlvrConfig, seed: int
    ):
        """Takes what may be played.

        Args:
          engine: Collects the rollouts.
          bugs: The faulty programs that there are.
          config: How many, and by what curriculum.
          seed: Of the run.
        """
        self._engine, self._bugs = engine, bugs
        self._config, self._seed = config, seed
        corruptions = [bug.corruptions for bug in bugs]
        self._bounds = min(corruptions), max(corruptions)

    def collect(
        self, params, step: int, solved: Sequence[float], clock: Clock
    ) -> tuple[list[Rollout], int]:
        """The episodes of a step, and the most corruptions that its programs may have.

        Args:
          params: The policy's parameters.
          step: From 0.
          solved: As in `most_corruptions`.
          clock: Gets the time that it takes.
        """
        most = most_corruptions(solved, self._bounds, self._config)
        bugs = [bug for bug in self._bugs if bug.corruptions <= most]
        chosen = choose(bugs, self._config, self._seed, step)
        rollouts = self._episodes(params, chosen, step, clock)
        # Those of earlier rounds that stayed silent were replaced already.
        silent: set[str] = set()
        for again in range(self._config.resample):
            fresh = silent_groups(rollouts, self._config) - silent
            more = substitutes(bugs, chosen, len(fresh), self._seed, (step, again))
            if not more:
                break
            rollouts += self._episodes(params, more, step, clock, len(chosen))
            chosen += more
            silent |= fresh
        return rollouts, most

    def _episodes(self, params, bugs, step, clock, first=0) -> list[Rollout]:
        c = self._config
        return collect_rollouts(
            self._engine,
            params,
            bugs,
            c.samples,
            Sampling(c.temperature),
            # Evaluation samples at step 0; training must not draw its samples.
            RolloutSeed(self._seed, step + 1, first),
            Observer(clock=clock),
        )


def most_corruptions(
    solved: Sequence[float], bounds: tuple[int, int], config: RlvrConfig
) -> int:
    """The most corruptions that programs of the next step may have.

    A function of what has been solved, so that a resumed run goes on alike: each
    window of steps that reaches the share opens the next number.

    Args:
      solved: Of each step so far, the share of episodes that were solved.
      bounds: Fewest and most corruptions that there are.
      config: The share, and how many steps are looked at.
    """
    low, high = bounds
    if not config.curriculum:
        return high
    most, since = low, 0
    for step in range(1, len(solved) + 1):
        window = solved[max(since, step - config.curriculum_steps) : step]
        enough = len(window) == config.curriculum_steps
        if enough and float(np.mean(window)) >= config.curriculum:
            most, since = min(most + 1, high), step
    return most


def choose(bugs: Sequence[Bug], config: RlvrConfig, seed: int, step: int) -> list[Bug]:
    """The bugs of a step: without repeats until all were seen, by (seed, step)."""
    chosen = []
    for index in range(step * config.problems, (step + 1) * config.problems):
        epoch, place = divmod(index, len(bugs))
        order = np.random.default_rng((seed, epoch)).permutation(len(bugs))
        chosen.append(bugs[order[place]])
    return chosen


def substitutes(
    bugs: Sequence[Bug], chosen: Sequence[Bug], count: int, seed: int, place: tuple
) -> list[Bug]:
    """Other bugs than those chosen, drawn by (seed, place); fewer if there are few."""
    taken = {bug.bug_id for bug in chosen}
    others = [bug for bug in bugs if bug.bug_id not in taken]
    order = np.random.default_rng((seed, *place)).permutation(len(others))
    return [others[i] for i in order[:count]]

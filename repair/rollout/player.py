"""What it takes to play episodes, whatever the parameters and the bugs."""

import concurrent.futures
import dataclasses
from collections.abc import Callable

from repair.env.environment import Environment
from repair.rollout.sampler import Sampler, spread
from repair.rollout.sampling import Sampling
from repair.rollout.warm_up import warm_up
from repair.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Player:
    """A sampler for each place, the tokenizer, environments, and how many play at once.

    Attributes:
      samplers: One for each place that cohorts play in, in turn; all of one model.
      tokenizer: The tokenizer and prompt.
      make_environment: A fresh environment; all share one sandbox.
      slots: Episodes at once on each place.
      cohorts: Parts of them that take turns there; 1 for no overlap.
      prefill: Prompts processed at once.
      stragglers: Share of a cohort that may be left in the midst of a command, to go on
        when the others have had their answers, so that not all wait for the longest.
    """

    samplers: tuple[Sampler, ...]
    tokenizer: Tokenizer
    make_environment: Callable[[], Environment]
    slots: int
    cohorts: int
    prefill: int
    stragglers: float = 0.0

    def cohort_size(self, episodes: int) -> tuple[int, int]:
        """How many cohorts, and slots of each, for so many episodes."""
        places = len(self.samplers)
        count = max(min(self.cohorts * places, episodes), 1)
        return count, -(-min(self.slots * places, episodes) // count)

    def warm_up(self, params, sampling: Sampling) -> None:
        """Compiles all that episodes can ask for, whatever is sampled."""
        _, size = self.cohort_size(self.slots * len(self.samplers))
        params = spread(params)

        def one(sampler: Sampler) -> None:
            warm_up(sampler, sampler.place(params), size, self.prefill, sampling)

        if len(self.samplers) == 1:  # a thread would not see jax's settings here
            one(self.samplers[0])
            return
        # Each place compiles for itself, which takes no interpreter.
        with concurrent.futures.ThreadPoolExecutor(len(self.samplers)) as pool:
            list(pool.map(one, self.samplers))

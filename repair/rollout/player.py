"""What it takes to play episodes, whatever the parameters and the bugs."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence

from repair.env.editor import split_program
from repair.env.environment import Environment
from repair.model.grammar import Constraint
from repair.rollout.sampler import Sampler, spread
from repair.rollout.sampling import Sampling
from repair.rollout.warm_up import warm_up
from repair.tasks import Bug
from repair.text.grammar import Grammar
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
      grammar: Allows no command but those that the editor can carry out; None allows
        any text.
    """

    samplers: tuple[Sampler, ...]
    tokenizer: Tokenizer
    make_environment: Callable[[], Environment]
    slots: int
    cohorts: int
    prefill: int
    stragglers: float = 0.0
    grammar: Grammar | None = None

    def cohort_size(self, episodes: int) -> tuple[int, int]:
        """How many cohorts, and slots of each, for so many episodes."""
        places = len(self.samplers)
        count = max(min(self.cohorts * places, episodes), 1)
        return count, -(-min(self.slots * places, episodes) // count)

    def warm_up(self, params, sampling: Sampling, bugs: Sequence[Bug]) -> None:
        """Compiles all that episodes of these bugs can ask for, whatever is sampled.

        Under a grammar, all but programs that have grown to twice their size.
        """
        _, size = self.cohort_size(self.slots * len(self.samplers))
        params = spread(params)
        if self.grammar:
            self.grammar.reserve([split_program(bug.faulty_code) for bug in bugs])

        def one(sampler: Sampler) -> None:
            constrain = None
            if self.grammar:
                tables = sampler.replicate(self.grammar.tables)

                def constrain(B):
                    return Constraint(tables, self.grammar.rows([[]] * B))

            here = sampler.place(params)
            warm_up(sampler, here, size, self.prefill, sampling, constrain)

        if len(self.samplers) == 1:  # a thread would not see jax's settings here
            one(self.samplers[0])
            return
        # Each place compiles for itself, which takes no interpreter.
        with concurrent.futures.ThreadPoolExecutor(len(self.samplers)) as pool:
            list(pool.map(one, self.samplers))

"""Episodes: token ids of one context, with the turn and log-prob of each token."""

import dataclasses

from repair.demos.make import Demo
from repair.demos.traces import Trace
from repair.text.tokenizer import Tokenizer

# Turn index of tokens that the policy did not write.
ENVIRONMENT = -1  # states
PROMPT = -2  # task and tests, before the first state


@dataclasses.dataclass
class Episode:
    """One context, token by token; the lists grow together, through `append` only.

    Attributes:
      ids: Token ids, as encoded or as sampled; never re-tokenised.
      mask: 1 for the policy's tokens, 0 for the environment's.
      log_probs: The sampler's log-probs of the policy's tokens, else 0.
      turns: Index of the turn whose command holds the token; `ENVIRONMENT` in states,
        `PROMPT` before the first state.
    """

    ids: list[int] = dataclasses.field(default_factory=list)
    mask: list[int] = dataclasses.field(default_factory=list)
    log_probs: list[float] = dataclasses.field(default_factory=list)
    turns: list[int] = dataclasses.field(default_factory=list)

    def append(self, ids, turn: int = ENVIRONMENT, log_probs=None) -> None:
        """Add tokens of a state, or those of the prompt or of a turn's command."""
        ids = [int(i) for i in ids]
        policy = turn >= 0
        if log_probs is None:
            log_probs = [0.0] * len(ids)
        if len(log_probs) != len(ids):
            raise ValueError(f"{len(ids)} ids but {len(log_probs)} log-probs")
        self.ids += ids
        self.mask += [int(policy)] * len(ids)
        self.log_probs += [float(x) for x in log_probs]
        self.turns += [turn] * len(ids)

    def __len__(self):
        return len(self.ids)


def encode_demos(tokenizer: Tokenizer, demos: list[Demo]) -> list[Episode]:
    """Encode demonstrations segment by segment, as a rollout builds its context."""
    states = sorted({text for demo in demos for text in demo.states})
    commands = sorted({text for demo in demos for text in demo.commands})
    state_ids = dict(zip(states, tokenizer.encode_batch(states), strict=True))
    command_ids = dict(zip(commands, tokenizer.command_ids(commands), strict=True))
    episodes = []
    for demo in demos:
        episode = Episode()
        episode.append(tokenizer.prompt_ids(demo.bug.task), PROMPT)
        pairs = zip(demo.states, demo.commands, strict=True)
        for turn, (state, command) in enumerate(pairs):
            episode.append(state_ids[state])
            episode.append(command_ids[command], turn)
        episodes.append(episode)
    return episodes


def encode_traces(tokenizer: Tokenizer, traces: list[Trace]) -> list[Episode]:
    """Encode questions and answers as episodes of one turn, without any state."""
    episodes = []
    answers = tokenizer.command_ids([trace.answer for trace in traces])
    for trace, answer in zip(traces, answers, strict=True):
        episode = Episode()
        question = tokenizer.encode(f"{trace.question}\n")
        episode.append(tokenizer.bos_ids + question, PROMPT)
        episode.append(answer, 0)
        episodes.append(episode)
    return episodes

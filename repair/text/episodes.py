"""Episodes: token ids of one context, with the turn and log-prob of each token."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from repair.demos.make import Demo
from repair.demos.traces import Trace
from repair.text.tokenizer import Tokenizer

# Turn index of tokens that the policy did not write.
ENVIRONMENT = -1  # states
PROMPT = -2  # task and tests, before the first state
_AT_ONCE = 1024  # demonstrations whose ids are lists while they are encoded


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


@dataclasses.dataclass(frozen=True)
class Example:
    """A finished episode of SFT in 6 bytes a token; packed like an `Episode`.

    Attributes:
      ids: Token ids, T int32.
      turns: As in `Episode`, T int16.
    """

    ids: np.ndarray
    turns: np.ndarray
    log_probs = 0.0  # nobody sampled the tokens

    @property
    def mask(self) -> np.ndarray:
        """Ones on the policy's tokens, T."""
        return self.turns >= 0

    def __len__(self):
        return len(self.ids)


def _example(segments: Iterable[tuple[Sequence[int], int]]) -> Example:
    """Return an example from the ids and the turn of each of its segments."""
    ids: list[int] = []
    turns: list[int] = []
    for segment, turn in segments:
        ids += segment
        turns += [turn] * len(segment)
    return Example(np.array(ids, np.int32), np.array(turns, np.int16))


def encode_demos(tokenizer: Tokenizer, demos: Sequence[Demo]) -> list[Example]:
    """Encode demonstrations segment by segment, as a rollout builds its context."""
    examples = []
    for start in range(0, len(demos), _AT_ONCE):
        some = demos[start : start + _AT_ONCE]
        states = sorted(
            {(text, i == 0) for demo in some for i, text in enumerate(demo.states)}
        )
        commands = sorted({text for demo in some for text in demo.commands})
        state_ids = dict(zip(states, tokenizer.state_ids_of(states), strict=True))
        command_ids = dict(zip(commands, tokenizer.command_ids(commands), strict=True))
        for demo in some:
            segments = [(tokenizer.prompt_ids(demo.bug.task), PROMPT)]
            pairs = zip(demo.states, demo.commands, strict=True)
            for turn, (state, command) in enumerate(pairs):
                segments.append((state_ids[state, turn == 0], ENVIRONMENT))
                segments.append((command_ids[command], turn))
            examples.append(_example(segments))
    return examples


def encode_traces(tokenizer: Tokenizer, traces: Sequence[Trace]) -> list[Example]:
    """Encode questions and answers as episodes of one turn, without any state."""
    answers = tokenizer.command_ids([trace.answer for trace in traces])
    examples = []
    for trace, answer in zip(traces, answers, strict=True):
        question = tokenizer.bos_ids + tokenizer.encode(f"{trace.question}\n")
        examples.append(_example([(question, PROMPT), (answer, 0)]))
    return examples

"""Episodes: tokens of one context, and batches of fixed shape packed from them."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
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
    """One context as token ids, with what training must know of each token.

    The lists grow only through `append`, so they cannot fall out of step.

    Attributes:
      ids: Token ids, as encoded or as sampled; never re-tokenised.
      mask: 1 for the policy's tokens, 0 for the environment's.
      log_probs: What the sampler reported for the policy's tokens, else 0.
      turns: StepResult that wrote the token, `ENVIRONMENT` in states, `PROMPT` before.
    """

    ids: list[int] = dataclasses.field(default_factory=list)
    mask: list[int] = dataclasses.field(default_factory=list)
    log_probs: list[float] = dataclasses.field(default_factory=list)
    turns: list[int] = dataclasses.field(default_factory=list)

    def append(self, ids, turn: int = ENVIRONMENT, log_probs=None) -> None:
        """Adds tokens: a state's by default, else the prompt's or those of a turn."""
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
    ids, turns = [], []
    for segment, turn in segments:
        ids += segment
        turns += [turn] * len(segment)
    return Example(np.array(ids, np.int32), np.array(turns, np.int16))


def encode_demos(tokenizer: Tokenizer, demos: Sequence[Demo]) -> list[Example]:
    """Encode demonstrations segment by segment, as a rollout builds its context."""
    examples = []
    for start in range(0, len(demos), _AT_ONCE):
        some = demos[start : start + _AT_ONCE]
        states = sorted({text for demo in some for text in demo.states})
        commands = sorted({text for demo in some for text in demo.commands})
        state_ids = dict(zip(states, tokenizer.encode_batch(states), strict=True))
        command_ids = dict(zip(commands, tokenizer.command_ids(commands), strict=True))
        for demo in some:
            segments = [(tokenizer.prompt_ids(demo.bug.task), PROMPT)]
            pairs = zip(demo.states, demo.commands, strict=True)
            for turn, (state, command) in enumerate(pairs):
                segments.append((state_ids[state], ENVIRONMENT))
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Packed episodes at fixed shapes: R rows of T tokens.

    Per-token fields describe the token itself; what predicts token t is the
    output at t - 1; the shift is in one place, `repair.training.losses`.

    Attributes:
      tokens: RT int32.
      segments: RT int32; 1, 2, ... per episode in a row, 0 for padding.
      positions: RT int32; restarts at 0 with every segment.
      mask: RT float32; weight of the token's loss, 0 for environment and padding.
      log_probs: RT float32; the sampler's log-prob of the token.
      advantages: RT float32; advantage of the token's turn.
      turns: RT int32; on the policy's tokens 1, 2, ... for the turns of a row, through
        all its episodes; 0 elsewhere.
    """

    tokens: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    log_probs: np.ndarray
    advantages: np.ndarray
    turns: np.ndarray

    def check(self) -> None:
        """Raises ValueError naming the first field of wrong shape, type or content."""
        shape = self.tokens.shape
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            ints = field.name in ("tokens", "segments", "positions", "turns")
            if value.shape != shape:
                raise ValueError(f"{field.name} is {value.shape}, tokens are {shape}")
            if value.dtype != (np.int32 if ints else np.float32):
                raise ValueError(f"{field.name} has type {value.dtype}")
        if (self.mask[self.segments == 0] != 0).any():
            raise ValueError("mask: padding carries loss")
        if (self.mask[self.positions == 0] != 0).any():
            raise ValueError("mask: a first token, which nothing predicts, has loss")

    @property
    def real_share(self) -> float:
        """Share of positions that hold real tokens."""
        return float((self.segments > 0).mean())


def plan_rows(lengths: list[int], row_length: int) -> list[list[int]]:
    """Best-fit decreasing: indices of episodes for each row, none of them cut.

    Longest first, each into the fullest row that still has room: within a few
    percent of full rows for our lengths. Ties keep the order of the input.

    Raises:
      ValueError: An episode is longer than a row.
    """
    rows: list[list[int]] = []
    # Rows by the room left in them: with few distinct rooms, a scan over rooms is
    # cheap however many rows there are.
    by_room: list[list[int]] = [[] for _ in range(row_length + 1)]
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > row_length:
            raise ValueError(f"episode {index} has {length} tokens, a row {row_length}")
        room = next((r for r in range(length, row_length + 1) if by_room[r]), None)
        if room is None:
            rows.append([])
            row, room = len(rows) - 1, row_length
        else:
            row = by_room[room].pop()
        rows[row].append(index)
        by_room[room - length].append(row)
    return rows


def pack(episodes, rows, row_length: int, weights=None, advantages=None) -> Batch:
    """Lays planned rows out as one batch.

    Args:
      episodes: All episodes, `Episode` or `Example`.
      rows: For each row the indices of its episodes, as from `plan_rows`.
      row_length: T.
      weights: Per episode a float array over its tokens that takes the place of
        its mask, or None.
      advantages: Per episode a float array with one advantage a turn, or None.
    """
    shape = (len(rows), row_length)
    names = ("tokens", "segments", "positions", "turns")
    ints = {n: np.zeros(shape, np.int32) for n in names}
    floats = {
        n: np.zeros(shape, np.float32) for n in ("mask", "log_probs", "advantages")
    }
    for r, members in enumerate(rows):
        start = before = 0
        for segment, index in enumerate(members, 1):
            episode = episodes[index]
            turns = np.asarray(episode.turns, np.int32)
            span = slice(start, start + len(episode))
            start = span.stop
            ints["tokens"][r, span] = episode.ids
            ints["segments"][r, span] = segment
            ints["positions"][r, span] = np.arange(len(episode))
            weight = episode.mask if weights is None else weights[index]
            floats["mask"][r, span] = weight
            floats["log_probs"][r, span] = episode.log_probs
            ints["turns"][r, span] = np.where(turns >= 0, before + turns + 1, 0)
            before += max(turns.max(initial=-1) + 1, 0)
            if advantages is not None:
                per_token = np.asarray(advantages[index])[np.maximum(turns, 0)]
                floats["advantages"][r, span] = np.where(turns >= 0, per_token, 0.0)
    return Batch(**ints, **floats)

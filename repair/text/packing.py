"""Packing of whole episodes into batches of fixed shape."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

_INTS = ("tokens", "segments", "positions")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Packed episodes: B rows of T tokens, in arrays of shape BT.

    Each field describes the token itself. The output at t - 1 predicts token t; the
    shift happens in one place, `repair.training.losses`.

    Attributes:
      tokens: int32.
      segments: int32; 1, 2, ... per episode in a row, 0 for padding.
      positions: int32; restarts at 0 with every segment.
      mask: float32; weight of the token's loss, 0 for environment and padding.
      log_probs: float32; the sampler's log-prob of the token.
      advantages: float32; advantage of the token's turn.
    """

    tokens: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    log_probs: np.ndarray
    advantages: np.ndarray

    @property
    def real_share(self) -> float:
        """Share of positions that hold real tokens."""
        return float((self.segments > 0).mean())


def plan_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Assign episodes to rows by best fit, longest first; none is cut.

    Ties keep the order of the input.

    Returns:
      For each row the indices of its episodes.

    Raises:
      ValueError: An episode is longer than a row.
    """
    rows: list[list[int]] = []
    # Rows by the room left in them: a scan over rooms is cheap however many rows.
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
    """Lay planned rows out as one batch.

    Args:
      episodes: All episodes.
      rows: For each row the indices of its episodes, as from `plan_rows`.
      row_length: T.
      weights: Per episode a float array over its tokens in place of its mask, or None.
      advantages: Per episode a float array with one advantage a turn, or None.
    """
    shape = (len(rows), row_length)
    fields = {
        field.name: np.zeros(shape, np.int32 if field.name in _INTS else np.float32)
        for field in dataclasses.fields(Batch)
    }
    for r, members in enumerate(rows):
        start = 0
        for segment, index in enumerate(members, 1):
            episode = episodes[index]
            span = r, slice(start, start + len(episode))
            start += len(episode)
            fields["tokens"][span] = episode.ids
            fields["segments"][span] = segment
            fields["positions"][span] = np.arange(len(episode))
            fields["mask"][span] = episode.mask if weights is None else weights[index]
            fields["log_probs"][span] = episode.log_probs
            if advantages is not None:
                turns = np.asarray(episode.turns, np.int32)
                per_token = np.asarray(advantages[index])[np.maximum(turns, 0)]
                fields["advantages"][span] = np.where(turns >= 0, per_token, 0.0)
    return Batch(**fields)

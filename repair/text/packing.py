"""Packing of whole episodes into batches of fixed shape."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from repair.text.branches import Prefixes, pieces

_FLOATS = ("mask", "log_probs", "advantages")
_SIZES = 4  # of `capacity`, each compiled once


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Packed episodes: B rows of T tokens, in arrays of shape BT.

    Each field describes the token itself. The output at t - 1 predicts token t, or that
    at the end of its prefix; the shift happens in one place, `repair.training.losses`.

    Attributes:
      tokens: int32.
      segments: int32; 1, 2, ... per episode, prefix or branch in a row, 0 for padding.
      positions: int32; restarts at 0 with every episode, and goes on in a branch.
      mask: float32; weight of the token's loss, 0 for environment and padding.
      log_probs: float32; the sampler's log-prob of the token.
      advantages: float32; advantage of the token's turn.
      parents: int32; segment of a branch's prefix, which it attends to as well, and the
        token's own otherwise. None without branches.
      scored: int32, B rows of some A: indices t of the tokens with a weight, then T as
        filling. None for all tokens.
      sources: int32, as `scored`: indices of the outputs that predict them.
    """

    tokens: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    log_probs: np.ndarray
    advantages: np.ndarray
    parents: np.ndarray | None = None
    scored: np.ndarray | None = None
    sources: np.ndarray | None = None

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


def capacity(rows: list[list[int]], weights: Sequence, row_length: int) -> int:
    """Return the most tokens with a weight in any of the rows, rounded up.

    There are at most four such sizes, so that few shapes are compiled.

    Args:
      rows: For each row the indices of its episodes.
      weights: Per episode the weights of its tokens, as for `pack`.
      row_length: T.
    """
    counts = [int(np.count_nonzero(each)) for each in weights]
    most = max((sum(counts[i] for i in row) for row in rows), default=0)
    size = -(-row_length // _SIZES)
    return min(max(-(-most // size), 1) * size, row_length)


def pack(
    episodes,
    rows,
    row_length: int,
    weights=None,
    advantages=None,
    scored: int = 0,
    prefixes: Prefixes | None = None,
) -> Batch:
    """Lay planned rows out as one batch.

    Args:
      episodes: All episodes.
      rows: For each row the indices of its episodes, as from `plan_rows`, or from
        `plan_branches` with prefixes.
      row_length: T.
      weights: Per episode a float array over its tokens in place of its mask, or None.
      advantages: Per episode a float array with one advantage a turn, or None.
      scored: Size of `Batch.scored`, as from `capacity`; 0 for none, which prefixes
        do not allow.
      prefixes: Beginnings that are laid out once in a row; None for none.
    """
    if prefixes and not scored:
        raise ValueError("branches need `scored`: the token before may be another's")
    shape = (len(rows), row_length)
    tokens, segments, positions = (np.zeros(shape, np.int32) for _ in range(3))
    floats = {name: np.zeros(shape, np.float32) for name in _FLOATS}
    parents = np.zeros(shape, np.int32)
    sources = np.tile(np.arange(-1, row_length - 1, dtype=np.int32), (len(rows), 1))
    for r, members in enumerate(rows):
        start, segment = 0, 0
        ends: dict[int, tuple[int, int]] = {}  # of prefixes: segment and last index
        for index, begin, end, group in pieces(episodes, members, prefixes):
            episode, segment = episodes[index], segment + 1
            part, span = slice(begin, end), (r, slice(start, start + end - begin))
            tokens[span] = episode.ids[part]
            segments[span] = segment
            positions[span] = np.arange(begin, end)
            parents[span], sources[r, start] = ends.get(group, (segment, start - 1))
            weight = episode.mask if weights is None else weights[index]
            floats["mask"][span] = weight[part]
            floats["log_probs"][span] = np.broadcast_to(
                episode.log_probs, len(episode)
            )[part]
            if advantages is not None:
                turns = np.asarray(episode.turns, np.int32)[part]
                per_token = np.asarray(advantages[index])[np.maximum(turns, 0)]
                floats["advantages"][span] = np.where(turns >= 0, per_token, 0.0)
            start += end - begin
            ends.setdefault(group, (segment, start - 1))
    batch = Batch(tokens, segments, positions, **floats)
    if not scored:
        return batch
    return dataclasses.replace(
        batch,
        parents=parents if prefixes else None,
        **_scored(batch.mask, sources, scored),
    )


def _scored(mask_BT, sources_BT, size: int) -> dict[str, np.ndarray]:
    """Return `scored` and `sources` of a batch; nothing predicts the token at 0."""
    rows, length = mask_BT.shape
    scored = np.full((rows, size), length, np.int32)
    sources = np.zeros((rows, size), np.int32)
    for r in range(rows):
        found = np.flatnonzero(mask_BT[r, 1:]) + 1
        scored[r, : len(found)] = found
        sources[r, : len(found)] = sources_BT[r, found]
    return {"scored": scored, "sources": sources}

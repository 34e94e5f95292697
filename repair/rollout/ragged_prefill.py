"""Known tokens of many rows in blocks of fixed size, with little padding."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

ITEMS = 8  # pieces of a block, each of one row
MOST = 32  # blocks of one call


class Blocks(NamedTuple):
    """M blocks of T tokens in I pieces each; the first `count` hold tokens.

    Attributes:
      tokens_MT: int32.
      positions_MT: int32, each token's place in its row; -1 for padding.
      rows_MI: int32, the row of each piece; B for none.
      ends_MT: int32, the row whose last token this is; B for none.
      count: int32.
    """

    tokens_MT: np.ndarray
    positions_MT: np.ndarray
    rows_MI: np.ndarray
    ends_MT: np.ndarray
    count: np.ndarray


def lay_out_pieces(
    pieces: Sequence[np.ndarray], length_B, size: int
) -> Iterator[Blocks]:
    """Yield the new tokens of rows, in as many calls as they need.

    Args:
      pieces: For each of B rows its new tokens, int32.
      length_B: Tokens that the rows hold already.
      size: T, tokens of a block; a row's tokens fill whole pieces of T / ITEMS.
    """
    B, piece = len(pieces), size // ITEMS
    counts = [-(-len(ids) // piece) for ids in pieces]
    rows = np.repeat(np.arange(B, dtype=np.int32), counts)
    shape = (len(rows), piece)
    tokens, positions = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    ends = np.full(shape, B, np.int32)
    last = 0
    for row, (ids, count) in enumerate(zip(pieces, counts, strict=True)):
        if count:
            mine, last = slice(last, last + count), last + count
            steps = length_B[row] + np.arange(len(ids), dtype=np.int32)
            tokens[mine].reshape(-1)[: len(ids)] = ids
            positions[mine].reshape(-1)[: len(ids)] = steps
            ends[mine].reshape(-1)[len(ids) - 1] = row
    for start in range(0, len(rows), MOST * ITEMS):
        part = slice(start, start + MOST * ITEMS)

        def whole(x, fill, part=part):
            full = np.full((MOST * ITEMS, *x.shape[1:]), fill, np.int32)
            full[: len(x[part])] = x[part]
            return full.reshape(MOST, -1)

        yield Blocks(
            whole(tokens, 0),
            whole(positions, -1),
            whole(rows, B),
            whole(ends, B),
            np.int32(-(-len(rows[part]) // ITEMS)),
        )

"""Blocks hold every new token once, at its row's next places, and nothing else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from repair.rollout.ragged_prefill import ITEMS, MOST, lay_out_pieces


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 90), min_size=1, max_size=40),
    st.sampled_from([8, 16, 64]),
    st.randoms(),
)
def test_every_token_stands_once_where_it_belongs(counts, size, random):
    pieces = [np.array(random.choices(range(1, 99), k=n), np.int32) for n in counts]
    lengths = np.array(random.choices(range(50), k=len(counts)), np.int32)
    B, seen, ended = len(counts), {row: [] for row in range(len(counts))}, []
    calls = list(lay_out_pieces(pieces, lengths, size))
    for blocks in calls:
        assert blocks.tokens_MT.shape == blocks.positions_MT.shape == (MOST, size)
        assert blocks.rows_MI.shape == (MOST, ITEMS) and blocks.count <= MOST
        rows = np.repeat(blocks.rows_MI, size // ITEMS, axis=1)
        real = blocks.positions_MT >= 0
        assert not real[blocks.count :].any() and (rows[real] < B).all()
        for token, position, row, end in zip(
            blocks.tokens_MT[real],
            blocks.positions_MT[real],
            rows[real],
            blocks.ends_MT[real],
            strict=True,
        ):
            seen[row].append((position - lengths[row], token))
            if end < B:
                assert end == row and len(seen[row]) == counts[row]
                ended.append(row)
        assert (blocks.ends_MT[~real] == B).all()
    for row, ids in enumerate(pieces):
        assert seen[row] == list(enumerate(ids))
    assert sorted(ended) == [row for row, n in enumerate(counts) if n]
    # Padding: less than a piece a row, and what is left of each call's last block.
    places = sum(int(blocks.count) for blocks in calls) * size
    assert places < sum(counts) + (size // ITEMS) * B + size * max(len(calls), 1)

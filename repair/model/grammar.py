"""Which tokens a command may go on with: `repair.text.grammar` on the device."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from repair.text.grammar import MAX_CHARS, Rows, Tables


class Place(NamedTuple):
    """Where each row is in its command.

    Attributes:
      state_B: int32.
      line_B: int32, the line that the command is about.
      active_BW: bool; within an old text the positions of that line where what was
        written so far may end, else all.
    """

    state_B: Any
    line_B: Any
    active_BW: Any


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("tables", "rows"), meta_fields=()
)
@dataclasses.dataclass(frozen=True)
class Constraint:
    """The commands that are possible for the programs of B rows.

    A row without a program has no possible token: such rows are to be done.
    """

    tables: Tables
    rows: Rows

    def start(self) -> Place:
        """Before the first token."""
        B = self.rows.checks.shape[0]
        return Place(
            jnp.zeros(B, jnp.int32),
            jnp.zeros(B, jnp.int32),
            jnp.ones((B, MAX_CHARS + 1), bool),
        )

    def allowed(self, place: Place, left_B):
        """Tokens that may come next, BV, with room for left_B of them (or one left)."""
        t = self.tables
        S, K = t.next_SC.shape[0], t.old_next_KV.shape[0]
        line_B, s_B, k_B = self._where(place)
        match_BU = self._matches(line_B, place.active_BW)
        # In the fixed parts and numbers, class by class.
        check_BC = jnp.take_along_axis(self.rows.checks, t.check_SC[s_B], axis=1)
        entry_BC = jnp.take_along_axis(match_BU, t.entry_SC[s_B], axis=1)
        fixed_BC = (t.next_SC[s_B] >= 0) & check_BC & entry_BC
        fixed_BV = fixed_BC[:, t.class_V]
        # Within an old text: on the line, and with room to get out of it.
        next_BV = t.old_next_KV[k_B]
        steps_BV = jnp.where(
            (next_BV >= S) & (next_BV < S + K),
            t.steps_K[jnp.clip(next_BV - S, 0, K - 1)],
            0,
        )
        need_BV = jnp.take_along_axis(match_BU, t.old_need_KV[k_B], axis=1)
        left_B1 = jnp.broadcast_to(left_B, line_B.shape)[:, None]
        old_BV = (next_BV >= 0) & need_BV & (steps_BV < left_B1)
        state_B1 = place.state_B[:, None]
        return jnp.where(
            state_B1 < S,
            fixed_BV,
            jnp.where(state_B1 < S + K, old_BV, t.text_next_V[None] >= 0),
        )

    def advance(self, place: Place, token_B) -> Place:
        """After one token, which must have been allowed."""
        t = self.tables
        S, K = t.next_SC.shape[0], t.old_next_KV.shape[0]
        line_B, s_B, k_B = self._where(place)
        class_B = t.class_V[token_B]
        fixed_B, old_B = place.state_B < S, place.state_B < S + K
        next_B = jnp.where(
            fixed_B,
            t.next_SC[s_B, class_B],
            jnp.where(old_B, t.old_next_KV[k_B, token_B], t.text_next_V[token_B]),
        )
        piece_B = jnp.where(fixed_B, t.entry_SC[s_B, class_B], t.piece_V[token_B])
        within_B = (next_B >= S) & (next_B < S + K)
        active_BW = jnp.where(
            (within_B & (piece_B > 0))[:, None],
            self._moved(line_B, place.active_BW, piece_B),
            jnp.where(within_B[:, None], place.active_BW, True),
        )
        return Place(next_B, line_B, active_BW)

    def _where(self, place: Place):
        """The line, and the state as an index of either part of the tables."""
        t = self.tables
        S, K = t.next_SC.shape[0], t.old_next_KV.shape[0]
        s_B = jnp.clip(place.state_B, 0, S - 1)
        read_B = jnp.where(place.state_B < S, t.line_S[s_B], 0)
        line_B = jnp.where(read_B > 0, read_B, place.line_B)
        return line_B, s_B, jnp.clip(place.state_B - S, 0, K - 1)

    def _edges(self, line_B, active_BW):
        """Pieces on each row's line, where they start, and whether they may now."""
        lines = self.rows.pieces.shape[1]
        index_B11 = jnp.clip(line_B, 0, lines - 1)[:, None, None]
        piece_BE, start_BE = (
            jnp.take_along_axis(x, index_B11, axis=1)[:, 0].astype(jnp.int32)
            for x in (self.rows.pieces, self.rows.starts)
        )
        known_BE = (piece_BE > 0) & (line_B < lines)[:, None]
        at_BE = jnp.clip(start_BE, 0, MAX_CHARS)
        live_BE = jnp.take_along_axis(active_BW, at_BE, axis=1)
        return piece_BE, start_BE, known_BE & live_BE

    def _matches(self, line_B, active_BW):
        """Whether each piece can follow on its row's line, BU.

        Piece 0, no text, always can; piece 1 if anything can (`ALIVE`).
        """
        piece_BE, _, live_BE = self._edges(line_B, active_BW)
        U = self.tables.length_U.shape[0]
        rows_B1 = jnp.arange(piece_BE.shape[0])[:, None]
        match_BU = jnp.zeros((piece_BE.shape[0], U), bool).at[:, 0].set(True)
        match_BU = match_BU.at[:, 1].set(jnp.any(active_BW, axis=1))
        return match_BU.at[rows_B1, jnp.where(live_BE, piece_BE, 0)].set(True)

    def _moved(self, line_B, active_BW, piece_B):
        """The positions after a piece."""
        piece_BE, start_BE, live_BE = self._edges(line_B, active_BW)
        hit_BE = live_BE & (piece_BE == piece_B[:, None])
        end_BE = start_BE + self.tables.length_U[piece_B][:, None]
        end_BE = jnp.where(hit_BE, end_BE, MAX_CHARS + 1)
        rows_B1 = jnp.arange(piece_BE.shape[0])[:, None]
        moved_BW = jnp.zeros_like(active_BW)
        return moved_BW.at[rows_B1, end_BE].set(True, mode="drop")

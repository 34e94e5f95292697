"""Prefill, extend, insert and decode over a cache that lives as long as the episode.

A `SamplerState` holds one row per episode, each at its own position. A turn is one
`extend` (the tokens that the environment appended), one `decode` (the command) and one
`collect`, the only call that waits for the device. `insert` gives the row of an ended
episode to another one: it copies the prefill of a prompt from another state.

All shapes come from two short lists of buckets (rows and cache slots), so nothing
compiles after `RolloutEngine.warm_up`. Slots at or past a row's length hold garbage
that no query can see: setting its length to 0 resets a row.
"""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np

from repair.model import kv_cache as kv
from repair.model.api import Model, unstack
from repair.model.sharding import (
    build,
    cache_sharding,
    gather_params,
    make_mesh,
    mesh_of,
    place,
    replicated,
)
from repair.rollout.decode import CommandEnd, DecodeRows, Sampled, decode
from repair.rollout.ragged_prefill import ITEMS, lay_out_pieces
from repair.rollout.sampler_state import (
    SamplerState,
    empty_rows,
    extend,
    insert,
    select,
)
from repair.rollout.sampling import Sampling


@dataclasses.dataclass(frozen=True)
class SamplerShapes:
    """Sizes that a sampler compiles for.

    Attributes:
      max_new: Most tokens that one `decode` samples for a row.
      max_length: Most tokens of a row, its last sampled one included.
      block: Tokens that `extend` processes at once, of several rows.
      row_buckets: Allowed B.
      length_buckets: Allowed S; `max_length` is always one of them.
      cache_dtype: Type of keys and values; None for that of the activations.
    """

    max_new: int
    max_length: int
    block: int
    row_buckets: tuple[int, ...] = (1, 4, 16, 64)
    length_buckets: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    cache_dtype: str | None = None


class Sampler:
    """Jitted sampling functions of one model over fixed shape buckets.

    Every function but `select` and `adopt` consumes the state that it is given (its
    buffers are donated); use the state that it returns. Only `collect` waits for the
    device.

    Args:
      model: The decoder.
      stop_V: bool over the vocabulary: ids that end a command.
      shapes: Sizes to compile for.
      devices: Devices that share the heads of each layer; by default the first local
        one.
    """

    def __init__(self, model: Model, stop_V, shapes: SamplerShapes, devices=None):
        stop_V = np.asarray(stop_V, bool)
        if stop_V.shape != (model.config.vocab_size,):
            raise ValueError(
                f"stop_V has shape {stop_V.shape}, not ({model.config.vocab_size},)"
            )
        self.max_new, self.max_length = shapes.max_new, shapes.max_length
        self.row_buckets = tuple(sorted(set(shapes.row_buckets)))
        self.block = max(shapes.block - shapes.block % ITEMS, ITEMS)
        lengths = {s for s in shapes.length_buckets if self.max_new < s}
        lengths = {s for s in lengths if s < self.max_length} | {self.max_length}
        self.length_buckets = tuple(sorted(lengths))
        devices = list(devices or jax.local_devices()[:1])
        self.mesh = make_mesh(tensor=len(devices), devices=devices)
        # A scan would write the whole cache anew for every token; and there is no
        # backward pass to compute anything again for.
        config = dataclasses.replace(model.config, scan_layers=False, remat="none")
        self.model = Model(config, self.mesh)
        self._here = replicated(self.mesh)
        self._cache_here = cache_sharding(self.mesh, config)

        def jit(function, *args, out=(self._cache_here, self._here), **kwargs):
            bound = functools.partial(function, *args) if args else function
            return jax.jit(bound, out_shardings=out, **kwargs)

        model, dtype = self.model, shapes.cache_dtype
        end = CommandEnd(stop_V, self.max_new, self.max_length)
        self.programs = types.SimpleNamespace(
            start=jit(empty_rows, model, dtype, end.max_new, static_argnums=(0, 1)),
            extend=jit(extend, model, donate_argnums=1),
            decode=jit(decode, model, end, donate_argnums=1),
            resize=jit(kv.resize, out=self._cache_here, static_argnums=1),
            select=jit(select),
            insert=jit(insert, donate_argnums=0),
        )

    def place(self, params):
        """Return parameters on this sampler's devices, layer by layer.

        Those from `spread` cost no copy.
        """
        return place(self.mesh, _apart(params))

    def adopt(self, state: SamplerState) -> SamplerState:
        """Return a copy of another sampler's state; that one stays usable."""
        logits_BV, sampled = jax.device_put(
            (state.logits_BV, state.sampled), self._here
        )
        cache = jax.device_put(state.cache, self._cache_here)
        return dataclasses.replace(
            state, cache=cache, logits_BV=logits_BV, sampled=sampled
        )

    def bucket(self, rows: int) -> int:
        """Return B of a state that holds so many rows."""
        return _bucket(self.row_buckets, rows, "rows")

    def start(self, rows: int) -> SamplerState:
        """Return a state of empty rows; B is the row bucket that holds `rows`."""
        B = self.bucket(rows)
        cache, (logits_BV, sampled) = self.programs.start(B, self.length_buckets[0])
        length_B, going_B = np.zeros(B, np.int32), np.zeros(B, bool)
        return SamplerState(cache, logits_BV, length_B, sampled, going_B)

    def extend(self, params, state: SamplerState, tokens) -> SamplerState:
        """Append known tokens to the rows, and compute the logits after them.

        Args:
          params: As from `place`.
          state: Consumed.
          tokens: A list of ids for each of the first rows; empty lists and rows
            beyond the lists stay as they are, their logits included.

        Raises:
          ValueError: A row would pass max_length, or is in the midst of a command, or
            there are more lists than rows.
        """
        B = _settled(state).rows
        if len(tokens) > B:
            raise ValueError(f"{len(tokens)} lists of tokens for {B} rows")
        pieces = [np.asarray(ids, np.int32) for ids in tokens]
        pieces += [np.zeros(0, np.int32)] * (B - len(pieces))
        if any(len(ids) and state.going_B[row] for row, ids in enumerate(pieces)):
            raise ValueError("a row in the midst of its command cannot be extended")
        total_B = state.length_B + np.array([len(ids) for ids in pieces], np.int32)
        if total_B.max() > self.max_length:
            row = int(total_B.argmax())
            raise ValueError(
                f"row {row} would hold {total_B[row]} tokens, over "
                f"max_length={self.max_length}"
            )
        state = self._fit(state, total_B)
        logits_BV, cache = state.logits_BV, state.cache
        for blocks in lay_out_pieces(pieces, state.length_B, self.block):
            cache, logits_BV = self.programs.extend(params, cache, logits_BV, blocks)
        return dataclasses.replace(
            state, cache=cache, logits_BV=logits_BV, length_B=total_B
        )

    def insert(self, state: SamplerState, source: SamplerState, pairs) -> SamplerState:
        """Give rows of `state` to other episodes: copy rows of `source` there.

        Args:
          state: Consumed.
          source: Rows that were extended and not decoded since; stays usable.
          pairs: (row of source, row of state) of each copy, at most B of them.
        """
        if not pairs:
            return state
        B, count = _settled(state).rows, len(pairs)
        from_B, to_B = np.zeros((2, B), np.int32)
        from_B[:count], to_B[:count] = np.array(pairs, np.int32).T
        length_B = state.length_B.copy()
        length_B[to_B[:count]] = source.length_B[from_B[:count]]
        state = self._fit(state, length_B, source.slots)
        cache, logits_BV = self.programs.insert(
            (state.cache, state.logits_BV),
            (source.cache, source.logits_BV),
            from_B,
            to_B,
            np.int32(count),
        )
        return dataclasses.replace(
            state, cache=cache, logits_BV=logits_BV, length_B=length_B
        )

    def clear(self, state: SamplerState, rows) -> SamplerState:
        """Forget rows whose episodes have ended, so that they ask for no slots."""
        length_B = _settled(state).length_B.copy()
        length_B[list(rows)] = 0
        return dataclasses.replace(state, length_B=length_B)

    def decode(
        self,
        params,
        state: SamplerState,
        keys_B,
        sampling: Sampling,
        *,
        done=None,
        leave: int = 0,
    ) -> SamplerState:
        """Start sampling one command for every row that is not done.

        Rows that were left in the midst of a command go on with it, and need the key
        and the sampling that they had. The last sampled token of a row is not in the
        cache yet: the caller puts it in front of the tokens of the next `extend`
        (`ids[processed:]`, where processed is the row's length_B).

        The i-th token of a row is drawn with `fold_in(keys_B[row], i)` and nothing
        else, so a row's samples do not depend on its slot or its neighbours.

        Args:
          params: As from `place`.
          state: Consumed.
          keys_B: Typed PRNG keys, one for each of the first rows.
          sampling: The distribution to draw from.
          done: bool for each of the first rows, True to skip it; rows beyond are
            skipped.
          leave: Most rows to leave unfinished.
        """
        B = _settled(state).rows
        done = np.zeros(len(keys_B), bool) if done is None else np.asarray(done, bool)
        done_B = np.ones(B, bool)
        done_B[: len(done)] = done
        if len(keys_B) < B:
            keys_B = keys_B[jnp.asarray(np.arange(B) % len(keys_B))]
        state = self._fit(state, state.length_B)
        rows = DecodeRows(
            state.logits_BV, state.length_B, done_B, state.sampled, state.going_B
        )
        cache, sampled = self.programs.decode(
            params, state.cache, rows, sampling.traced(), keys_B, np.int32(leave)
        )
        return dataclasses.replace(state, cache=cache, sampled=sampled, going_B=None)

    def collect(self, state: SamplerState) -> tuple[SamplerState, Sampled]:
        """Wait for the decode under way; return the state, and numpy arrays."""
        sampled = jax.device_get(state.sampled)
        fed_B = np.where(sampled.ended, np.maximum(sampled.counts - 1, 0), 0)
        state = dataclasses.replace(
            state, length_B=state.length_B + fed_B, going_B=~sampled.ended
        )
        return state, sampled

    def select(self, state: SamplerState, rows) -> SamplerState:
        """Return a state of the given rows, in that order; rows may repeat.

        The result is padded to a row bucket with copies of the first row, which
        callers leave out of `tokens` and `done`. `state` stays usable.
        """
        _settled(state)
        rows = list(rows)
        B = self.bucket(len(rows))
        index_B = np.array(rows + rows[:1] * (B - len(rows)), np.int32)
        cache, (logits_BV, sampled) = self.programs.select(
            state.cache, (state.logits_BV, state.sampled), index_B
        )
        length_B, going_B = state.length_B[index_B], state.going_B[index_B]
        length_B[len(rows) :], going_B[len(rows) :] = 0, False
        return SamplerState(cache, logits_BV, length_B, sampled, going_B)

    def compiled(self) -> int:
        """Return the number of programs compiled so far; constant after warm-up."""
        return sum(program._cache_size() for program in vars(self.programs).values())

    def _fit(self, state: SamplerState, length_B, least: int = 0) -> SamplerState:
        """Give the cache the length bucket that holds one more command."""
        need = max(min(int(length_B.max()) + self.max_new, self.max_length), least)
        S = _bucket(self.length_buckets, need, "slots")
        if S == state.slots:
            return state
        return dataclasses.replace(state, cache=self.programs.resize(state.cache, S))


def spread(params):
    """Return parameters ready for all places: layers apart, then whole.

    In this order a stacked tree that is in parts is copied in parts.
    """
    return gather_params(_apart(params))


def _apart(params):
    """Return one leaf for each layer, where the parts of a stacked one are."""
    if "layers" not in params["params"]:
        return params
    mesh = mesh_of(params)
    if mesh is None:
        return jax.jit(unstack)(params)
    return build(mesh, unstack, params)


def _bucket(buckets, need: int, unit: str) -> int:
    for size in buckets:
        if size >= need:
            return size
    raise ValueError(f"{need} {unit} do not fit the largest bucket of {buckets}")


def _settled(state: SamplerState) -> SamplerState:
    if state.going_B is None:
        raise ValueError("a decode of these rows is under way; collect it first")
    return state

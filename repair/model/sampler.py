"""Prefill, extend and decode over a cache that lives as long as the episode.

A `SamplerState` holds one row per episode, each at its own position. A turn is one
`extend` (the tokens that the environment appended) and one `decode` (the command):
only new tokens are processed, and everything comes back in one host round trip.

All shapes come from three short lists of buckets (rows, tokens of a call, cache
slots), so that after warm-up nothing compiles. Slots at or past a row's length hold
rubbish that no query can see: a row is reset by setting its length to 0.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from repair.model import cache as kv
from repair.model.api import Model


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("cache", "length_B", "logits_BV"),
    meta_fields=("longest",),
)
@dataclasses.dataclass(frozen=True)
class SamplerState:
    """Rows in the midst of their episodes.

    Attributes:
      cache: As from `Model.init_cache`, B rows.
      length_B: int32, tokens of each row that are in the cache.
      logits_BV: float32, logits of the token after the last extended one; stale
        for rows that have decoded since.
      longest: A bound on length_B that the host knows without asking the device.
    """

    cache: object
    length_B: jax.Array
    logits_BV: jax.Array
    longest: int

    @property
    def rows(self) -> int:
        """B, a row bucket."""
        return self.length_B.shape[0]

    @property
    def slots(self) -> int:
        """S, a length bucket."""
        return kv.slots(self.cache)


class Sampler:
    """Jitted sampling functions of one model over fixed shape buckets.

    `extend` and `decode` consume the state that they are given (its buffers are
    donated); use the state that they return.

    Args:
      model: The decoder.
      stop_V: bool over the vocabulary: ids that end a command.
      max_new: Most tokens that one `decode` samples for a row.
      max_length: Most tokens of a row, its last sampled one included.
      row_buckets: Allowed B.
      token_buckets: Allowed T of one call; longer lists are fed in pieces.
      length_buckets: Allowed S; `max_length` is always one of them.
    """

    def __init__(
        self,
        model: Model,
        stop_V,
        *,
        max_new: int,
        max_length: int,
        row_buckets=(1, 4, 16, 64),
        token_buckets=(16, 32, 64, 128),
        length_buckets=(128, 256, 512, 1024, 2048),
    ):
        stop_V = np.asarray(stop_V, bool)
        if stop_V.shape != (model.config.vocab_size,):
            raise ValueError(
                f"stop_V has shape {stop_V.shape}, not ({model.config.vocab_size},)"
            )
        self.model = model
        self.max_new = max_new
        self.max_length = max_length
        self.row_buckets = tuple(sorted(row_buckets))
        self.token_buckets = tuple(sorted(token_buckets))
        self.length_buckets = tuple(
            sorted({s for s in length_buckets if s < max_length} | {max_length})
        )
        self._extend = jax.jit(functools.partial(_extend, model), donate_argnums=1)
        self._decode = jax.jit(
            functools.partial(_decode, model, stop_V, max_new, max_length),
            static_argnums=0,
            donate_argnums=2,
        )
        self._resize = jax.jit(kv.resize, static_argnums=1)
        self._select = jax.jit(_select)

    def start(self, rows: int) -> SamplerState:
        """A state of empty rows; B is the row bucket that holds `rows`."""
        B = _bucket(self.row_buckets, rows, "rows")
        return SamplerState(
            cache=self.model.init_cache(B, self.length_buckets[0]),
            length_B=jnp.zeros(B, jnp.int32),
            logits_BV=jnp.zeros((B, self.model.config.vocab_size), jnp.float32),
            longest=0,
        )

    def extend(self, params, state: SamplerState, tokens) -> SamplerState:
        """Appends known tokens to the rows.

        Args:
          params: As from `Model.init_params`.
          state: Consumed.
          tokens: A list of ids for each of the first rows; empty lists and rows
            beyond the lists stay as they are, their logits included.

        Returns:
          The state with the logits after each row's last token.

        Raises:
          ValueError: A row would pass max_length, or there are more lists than rows.
        """
        B = state.rows
        if len(tokens) > B:
            raise ValueError(f"{len(tokens)} lists of tokens for {B} rows")
        pieces = [np.asarray(ids, np.int32) for ids in tokens]
        pieces += [np.zeros(0, np.int32)] * (B - len(pieces))
        length_B = jax.device_get(state.length_B).astype(np.int64)
        total_B = length_B + [len(ids) for ids in pieces]
        if total_B.max() > self.max_length:
            row = int(total_B.argmax())
            raise ValueError(
                f"row {row} would hold {total_B[row]} tokens, over "
                f"max_length={self.max_length}"
            )
        while most := max(len(ids) for ids in pieces):
            T = self.token_buckets[-1]
            if most < T:
                T = _bucket(self.token_buckets, most, "tokens")
            count_B = np.array([min(len(ids), T) for ids in pieces], np.int32)
            tokens_BT = np.zeros((B, T), np.int32)
            for row, ids in enumerate(pieces):
                tokens_BT[row, : count_B[row]] = ids[:T]
            pieces = [ids[T:] for ids in pieces]
            length_B += count_B
            state = self._fit(dataclasses.replace(state, longest=int(length_B.max())))
            cache, on_device_B, logits_BV = self._extend(
                params,
                state.cache,
                state.length_B,
                state.logits_BV,
                jnp.asarray(tokens_BT),
                jnp.asarray(count_B),
            )
            state = SamplerState(cache, on_device_B, logits_BV, state.longest)
        return state

    def decode(
        self,
        params,
        state: SamplerState,
        keys_B,
        *,
        temperature: float = 1.0,
        done=None,
    ):
        """Samples one command for every row that is not done.

        A row ends with a stop token, after max_new tokens, or when the sampled
        token is its max_length-th. Its last sampled token is not in the cache yet:
        the caller puts it in front of what the next `extend` appends (feed
        `ids[processed:]`, where processed is the row's length_B).

        The i-th token of a row is drawn with `fold_in(keys_B[row], i)` and nothing
        else, so a row's samples do not depend on its slot or its neighbours.

        Args:
          params: As from `Model.init_params`.
          state: Consumed.
          keys_B: Typed PRNG keys, one for each of the first rows.
          temperature: 0 is greedy.
          done: bool for each of the first rows, True for those to skip; rows
            beyond are skipped.

        Returns:
          (state, tokens_BC, log_probs_BC, counts_B): int32, float32 and int32 on
          the device, with C = max_new and zeros past each row's count. Log-probs
          are those of the distribution sampled from, log_softmax(logits /
          temperature); under greedy, of the model's own, log_softmax(logits).
        """
        B = state.rows
        done = np.zeros(len(keys_B), bool) if done is None else np.asarray(done, bool)
        done_B = np.ones(B, bool)
        done_B[: len(done)] = done
        if len(keys_B) < B:
            keys_B = keys_B[jnp.asarray(np.arange(B) % len(keys_B))]
        state = self._fit(state)
        greedy = temperature == 0
        cache, length_B, tokens_BC, log_probs_BC, counts_B = self._decode(
            greedy,
            params,
            state.cache,
            state.length_B,
            state.logits_BV,
            keys_B,
            jnp.float32(1.0 if greedy else temperature),
            jnp.asarray(done_B),
        )
        longest = min(state.longest + self.max_new, self.max_length)
        state = SamplerState(cache, length_B, state.logits_BV, longest)
        return state, tokens_BC, log_probs_BC, counts_B

    def select(self, state: SamplerState, rows) -> SamplerState:
        """The state of the given rows, in that order; rows may repeat.

        Repeating shares one prefill among the samples of a group. The result is
        padded to a row bucket with copies of the first row, which callers leave
        out of `tokens` and `done`. `state` stays usable.
        """
        rows = list(rows)
        B = _bucket(self.row_buckets, len(rows), "rows")
        index_B = np.array(rows + rows[:1] * (B - len(rows)), np.int32)
        cache, length_B, logits_BV = self._select(
            (state.cache, state.length_B, state.logits_BV), jnp.asarray(index_B)
        )
        return SamplerState(cache, length_B, logits_BV, state.longest)

    def compiled(self) -> int:
        """Number of programs compiled so far; constant after warm-up."""
        return sum(
            f._cache_size()
            for f in (self._extend, self._decode, self._resize, self._select)
        )

    def _fit(self, state: SamplerState) -> SamplerState:
        """Gives the cache the length bucket that holds one more command."""
        need = min(state.longest + self.max_new, self.max_length)
        S = _bucket(self.length_buckets, need, "slots")
        if S == state.slots:
            return state
        return dataclasses.replace(state, cache=self._resize(state.cache, S))


def _bucket(buckets, need: int, what: str) -> int:
    for size in buckets:
        if size >= need:
            return size
    raise ValueError(f"{need} {what} do not fit the largest bucket of {buckets}")


def _select(state, index_B):
    cache, length_B, logits_BV = state
    return kv.take_rows(cache, index_B), length_B[index_B], logits_BV[index_B]


def _extend(model, params, cache, length_B, logits_BV, tokens_BT, count_B):
    """Processes count_B tokens of each row; the head runs at the last one only."""
    S = kv.slots(cache)
    steps_BT = jnp.arange(tokens_BT.shape[1])[None]
    positions_BT = length_B[:, None] + steps_BT
    positions_BT = jnp.where(steps_BT < count_B[:, None], positions_BT, S)
    hidden_BTD, cache = model.hidden(params, tokens_BT, cache, positions_BT)
    last_B = jnp.maximum(count_B - 1, 0)
    last_BD = jnp.take_along_axis(hidden_BTD, last_B[:, None, None], axis=1)[:, 0]
    fresh_BV = model.logits(params, last_BD)
    logits_BV = jnp.where(count_B[:, None] > 0, fresh_BV, logits_BV)
    return cache, length_B + count_B, logits_BV


def _decode(
    model,
    stop_V,
    max_new,
    max_length,
    greedy,
    params,
    cache,
    length_B,
    logits_BV,
    keys_B,
    temperature,
    done_B,
):
    """Samples until every row has ended; see `Sampler.decode`."""
    S = kv.slots(cache)
    stops = jnp.asarray(stop_V)

    def sample(step, logits_BV, live_B, out):
        tokens_BC, log_probs_BC, counts_B = out
        token_B, log_prob_B = _draw(greedy, keys_B, step, logits_BV, temperature)
        tokens_BC = tokens_BC.at[:, step].set(jnp.where(live_B, token_B, 0))
        log_probs_BC = log_probs_BC.at[:, step].set(jnp.where(live_B, log_prob_B, 0.0))
        counts_B = counts_B + live_B
        room_B = (counts_B < max_new) & (length_B + counts_B < max_length)
        live_B = live_B & room_B & ~stops[token_B]
        return live_B, (tokens_BC, log_probs_BC, counts_B)

    def body(carry):
        step, cache, live_B, out = carry
        token_B1 = out[0][:, step][:, None]
        positions_B1 = jnp.where(live_B, length_B + step, S)[:, None]
        hidden_B1D, cache = model.hidden(params, token_B1, cache, positions_B1)
        logits_BV = model.logits(params, hidden_B1D[:, 0])
        live_B, out = sample(step + 1, logits_BV, live_B, out)
        return step + 1, cache, live_B, out

    B = length_B.shape[0]
    out = (
        jnp.zeros((B, max_new), jnp.int32),
        jnp.zeros((B, max_new), jnp.float32),
        jnp.zeros(B, jnp.int32),
    )
    live_B = ~done_B & (length_B < max_length)
    live_B, out = sample(0, logits_BV, live_B, out)
    _, cache, _, (tokens_BC, log_probs_BC, counts_B) = jax.lax.while_loop(
        lambda carry: jnp.any(carry[2]), body, (jnp.int32(0), cache, live_B, out)
    )
    length_B = length_B + jnp.maximum(counts_B - 1, 0)
    return cache, length_B, tokens_BC, log_probs_BC, counts_B


def _draw(greedy, keys_B, step, logits_BV, temperature):
    """One token a row and its log-prob, as `Sampler.decode` describes."""
    log_probs_BV = jax.nn.log_softmax(logits_BV / temperature)
    if greedy:
        token_B = jnp.argmax(log_probs_BV, axis=-1)
    else:
        token_B = _categorical(keys_B, step, jnp.exp(log_probs_BV))
    log_prob_B = jnp.take_along_axis(log_probs_BV, token_B[:, None], axis=-1)[:, 0]
    return token_B.astype(jnp.int32), log_prob_B


def _categorical(keys_B, step, probs_BV):
    """Samples by inverting the running sum at one uniform number a row.

    A random number for every entry, as `jax.random.categorical` draws them, costs
    as much as a layer of a small model. First a block of about sqrt(V) entries is
    chosen, then one of its entries; an entry of probability 0 never is.
    """
    B, V = probs_BV.shape
    keys_B = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_B, step)
    uniform_B = jax.vmap(jax.random.uniform)(keys_B)
    size = math.isqrt(V - 1) + 1
    padded = jnp.pad(probs_BV, ((0, 0), (0, size * size - V)))
    blocks = padded.reshape(B, size, size)
    block_sums = jnp.sum(blocks, axis=-1)
    block_B, rest_B = _invert(block_sums, uniform_B * jnp.sum(block_sums, axis=-1))
    entries = jnp.take_along_axis(blocks, block_B[:, None, None], axis=1)[:, 0]
    entry_B, _ = _invert(entries, rest_B)
    return block_B * size + entry_B


def _invert(weights, target_B):
    """First entry of positive weight whose running sum passes the target.

    Returns it, and what of the target is left for within it.
    """
    sums = jnp.cumsum(weights, axis=-1)
    sums = jnp.where(weights > 0, sums, 0.0)
    # Rounding may lift the target to the total, which nothing passes.
    target_B = jnp.minimum(target_B, jnp.nextafter(jnp.max(sums, axis=-1), 0.0))
    index_B = jnp.argmax(sums > target_B[:, None], axis=-1)
    before = jnp.take_along_axis(sums - weights, index_B[:, None], axis=-1)[:, 0]
    return index_B, target_B - before

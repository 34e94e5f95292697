"""Commands token by token, for a batch of rows, in one loop on the device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from repair.model import kv_cache as kv
from repair.rollout.sampling import TracedSampling, draw


class CommandEnd(NamedTuple):
    """The end of a command: a stop token, or too many tokens.

    Attributes:
      stop_V: bool, tokens that end a command.
      max_new: C, most tokens of a command.
      max_length: Most tokens of a row.
    """

    stop_V: Any
    max_new: int
    max_length: int


class Sampled(NamedTuple):
    """One command for every row, on the device until `Sampler.collect`.

    Attributes:
      tokens: int32 BC, zeros past each row's count.
      log_probs: float32 BC, of the distribution sampled from; under greedy the model's
        own.
      counts: int32 B.
      ended: bool B; False where the command goes on in the next decode.
    """

    tokens: Any
    log_probs: Any
    counts: Any
    ended: Any


class DecodeRows(NamedTuple):
    """The rows of a decode, but for their cache.

    Attributes:
      logits_BV: Logits after the tokens of each row.
      length_B: Tokens of each row before its command.
      done_B: Rows to skip.
      sampled: The result of the decode before.
      going_B: Rows that go on with the command that `sampled` has the beginning of.
    """

    logits_BV: Any
    length_B: Any
    done_B: Any
    sampled: Sampled
    going_B: Any


def decode(
    model,
    end: CommandEnd,
    params,
    cache,
    rows: DecodeRows,
    sampling: TracedSampling,
    keys_B,
    leave,
):
    """Sample until no more than `leave` rows are unfinished.

    Each token is one pass of the loop, and each row has its own place in its command,
    which has one PRNG key. Return (cache, Sampled).
    """
    S = kv.slots(cache)
    B, stop_V = rows.logits_BV.shape[0], jnp.asarray(end.stop_V)
    index_B = jnp.arange(B)

    def sample(logits_BV, turn_B, out: Sampled) -> Sampled:
        """Draw the next token of the rows whose turn it is."""
        token_B, log_prob_B = draw(sampling, keys_B, out.counts, logits_BV)
        # Rows that draw nothing write past the end, which drops it.
        place = index_B, jnp.where(turn_B, out.counts, end.max_new)
        counts_B = out.counts + turn_B
        full_B = counts_B >= end.max_new
        full_B |= rows.length_B + counts_B >= end.max_length
        return Sampled(
            out.tokens.at[place].set(token_B, mode="drop"),
            out.log_probs.at[place].set(log_prob_B, mode="drop"),
            counts_B,
            out.ended | (turn_B & (full_B | stop_V[token_B])),
        )

    def body(carry):
        cache, out = carry
        last_B = jnp.maximum(out.counts - 1, 0)
        token_B1 = out.tokens[index_B, last_B][:, None]
        positions_B1 = jnp.where(out.ended, S, rows.length_B + last_B)[:, None]
        hidden_B1D, cache = model.hidden(params, token_B1, cache, positions_B1)
        logits_BV = model.logits(params, hidden_B1D[:, 0])
        return cache, sample(logits_BV, ~out.ended, out)

    ready_B = ~rows.done_B & ~rows.going_B & (rows.length_B < end.max_length)
    # Rows that go on keep their tokens; the others start with none.
    out = jax.tree.map(
        lambda x: jnp.where(
            rows.going_B.reshape(B, *[1] * (x.ndim - 1)), x, jnp.zeros_like(x)
        ),
        rows.sampled,
    )
    out = out._replace(ended=~(ready_B | rows.going_B))
    out = sample(rows.logits_BV, ready_B, out)
    return jax.lax.while_loop(
        lambda carry: jnp.sum(~carry[1].ended) > leave, body, (cache, out)
    )

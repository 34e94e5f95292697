"""Commands token by token, for a batch of rows, in one loop on the device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from repair.model import kv_cache as kv
from repair.rollout.sampling import draw, keep


class Sampled(NamedTuple):
    """One command for every row, on the device until `Sampler.collect`.

    Attributes:
      tokens: int32 BC with C = max_new, zeros past each row's count.
      log_probs: float32 BC. Of the distribution sampled from; under greedy, of the
        model's own.
      counts: int32 B.
      ended: bool B; False where the command goes on in the next decode.
    """

    tokens: Any
    log_probs: Any
    counts: Any
    ended: Any


def decode(
    model,
    stop_V,
    max_new,
    max_length,
    greedy,
    top_k,
    params,
    cache,
    length_B,
    logits_BV,
    keys_B,
    temperature,
    top_p,
    done_B,
    before,
    going_B,
    leave,
):
    """Samples until all rows but a few have ended.

    Each token is one pass of the loop, and each row has its own place in its command:
    the rows of `going_B` are in the midst of one, of which `before` has the beginning.

    Args:
      model: The decoder.
      stop_V: Ids that end a command.
      max_new: Most tokens of a command.
      max_length: Most tokens of a row.
      greedy: Whether to take the likeliest token.
      top_k: As in `Sampling`.
      params: As from `Model.init_params`.
      cache: With what the rows hold.
      length_B: Tokens of each row before its command.
      logits_BV: After these tokens.
      keys_B: One for each row's command.
      temperature: As in `Sampling`, above 0.
      top_p: As in `Sampling`, or None for 1.
      done_B: Rows to skip.
      before: Sampled by the decode before.
      going_B: Rows that go on with it.
      leave: Most rows to leave unfinished.

    Returns:
      (cache, Sampled).
    """
    S = kv.slots(cache)
    rows_B, stops = jnp.arange(logits_BV.shape[0]), jnp.asarray(stop_V)
    restricted = top_k > 0 or top_p is not None

    def sample(logits_BV, turn_B, out):
        """The next token of the rows whose turn it is."""
        step_B = out.counts
        scaled_BV, kept_BV = logits_BV / temperature, None
        if restricted:
            kept_BV = keep(scaled_BV, top_k, top_p)
        token_B, log_prob_B = draw(greedy, keys_B, step_B, scaled_BV, kept_BV)
        place = rows_B, jnp.where(turn_B, step_B, max_new)  # past the end: dropped
        counts_B = step_B + turn_B
        full_B = (counts_B >= max_new) | (length_B + counts_B >= max_length)
        return Sampled(
            out.tokens.at[place].set(token_B, mode="drop"),
            out.log_probs.at[place].set(log_prob_B, mode="drop"),
            counts_B,
            out.ended | (turn_B & (full_B | stops[token_B])),
        )

    def body(carry):
        cache, out = carry
        last_B = jnp.maximum(out.counts - 1, 0)
        token_B1 = out.tokens[rows_B, last_B][:, None]
        positions_B1 = jnp.where(out.ended, S, length_B + last_B)[:, None]
        hidden_B1D, cache = model.hidden(params, token_B1, cache, positions_B1)
        logits_BV = model.logits(params, hidden_B1D[:, 0])
        return cache, sample(logits_BV, ~out.ended, out)

    ready_B = ~done_B & ~going_B & (length_B < max_length)
    # Rows that go on keep what they have; the others start with nothing.
    out = _where(going_B, before, jax.tree.map(jnp.zeros_like, before))
    out = out._replace(ended=~(ready_B | going_B))
    out = sample(logits_BV, ready_B, out)
    return jax.lax.while_loop(
        lambda carry: jnp.sum(~carry[1].ended) > leave, body, (cache, out)
    )


def _where(flag_B, this, that):
    """Row by row one of two trees."""

    def choose(x, y):
        return jnp.where(flag_B.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return jax.tree.map(choose, this, that)

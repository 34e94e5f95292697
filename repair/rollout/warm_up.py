"""A sampler's programs, compiled before they are needed."""

import jax
import numpy as np

from repair.rollout.sampler import Sampler
from repair.rollout.sampling import Sampling


def warm_up(
    sampler: Sampler,
    params,
    rows: int,
    sources: int,
    sampling: Sampling,
) -> None:
    """Compiles all that episodes of any lengths can ask for.

    Args:
      sampler: What is to play.
      params: As from `Model.init_params`, placed as they will be.
      rows: As given to `Sampler.start` for the slots that episodes are played in.
      sources: The same for the states that `Sampler.insert` copies from.
      sampling: As it will be given.
    """
    run = sampler.programs
    sizes = [size for size in sampler.row_buckets if size <= sampler.bucket(rows)]
    full = [[0] * (S - sampler.max_new) for S in sampler.length_buckets]
    filled = [sampler.extend(params, sampler.start(sources), [ids]) for ids in full]
    for size in sizes:
        fewer = [few for few in sizes if few < size]
        for ids in full:
            state = sampler.extend(params, sampler.start(size), [ids])
            state = sampler.decode(
                params,
                state,
                jax.random.split(jax.random.key(0), size),
                sampling=sampling,
                done=np.ones(size, bool),
            )
            for S in sampler.length_buckets:
                if S != state.slots:
                    run.resize(state.cache, S)
            for few in fewer:
                for sampled in (None, state.sampled):
                    arrays = state.logits_BV, sampled
                    run.select(state.cache, arrays, np.zeros(few, np.int32))
            none = np.zeros(size, np.int32)
            arrays = state.cache, state.logits_BV
            for source in filled:
                if source.slots <= state.slots:
                    other = source.cache, source.logits_BV
                    arrays = run.insert(arrays, other, none, none, np.int32(0))

"""The engine: how many at once, and nothing to compile after its warm-up."""

import dataclasses
import itertools

import jax
import pytest

from repair.env import Environment
from repair.errors import UserError
from repair.model.api import Model
from repair.rollout.collect import RolloutSeed, collect_rollouts
from repair.rollout.engine import RolloutEngine, SamplerConfig, make_engine
from repair.rollout.sampling import Sampling


@pytest.fixture
def engine(model, tokenizer, sandbox):
    """Episodes of unlike lengths."""
    turns = itertools.cycle((1, 9, 3))
    return make_engine(
        model,
        tokenizer,
        lambda: Environment(sandbox, max_turns=next(turns)),
        SamplerConfig(
            slots=8, prefill=4, stragglers=0.5, block=64, lengths=(96, 128), places=1
        ),
        max_command=6,
        max_length=200,
    )


@pytest.mark.slow
def test_after_warm_up_nothing_compiles(engine, params, bugs):
    """Whatever the lengths, the number of episodes and who is left in the middle."""
    (sampler,) = engine.samplers
    assert sampler.row_buckets == (1, 4) and sampler.length_buckets == (96, 128, 200)
    engine.warm_up(params, Sampling(1.0))
    warm, seen = sampler.compiled(), set()
    for step, (some, samples) in enumerate(((bugs, 4), (bugs[:1], 3), (bugs[2:5], 1))):
        sampling, seed = Sampling(0.5 + step), RolloutSeed(0, step)
        rollouts = collect_rollouts(engine, params, some, samples, sampling, seed)
        seen |= {len(r.episode) for r in rollouts}
    assert min(seen) < 100 and max(seen) > 150, "episodes should fill every bucket"
    assert sampler.compiled() == warm


@pytest.mark.parametrize(
    ("places", "episodes", "sizes"),
    [(1, 100, (2, 4)), (1, 5, (2, 3)), (1, 1, (1, 1)), (1, 0, (1, 0)), (2, 9, (4, 3))],
)
def test_slots_are_shared_out_among_cohorts(tokenizer, places, episodes, sizes):
    config = SamplerConfig(slots=8, cohorts=2, prefill=4)
    engine = RolloutEngine((None,) * places, tokenizer, None, config)
    assert engine.cohort_sizes(episodes) == sizes


@pytest.mark.parametrize("places", [0, 1])
def test_there_is_a_sampler_for_each_place(model, tokenizer, places):
    config = SamplerConfig(places=places)
    engine = make_engine(model, tokenizer, None, config, max_command=6, max_length=64)
    assert len(engine.samplers) == (places or jax.local_device_count())


def test_a_tokenizer_of_more_ids_than_the_model_embeds_is_refused(model, tokenizer):
    model = Model(dataclasses.replace(model.config, vocab_size=51))
    config = SamplerConfig()
    with pytest.raises(UserError, match="ids but the model embeds 51"):
        make_engine(model, tokenizer, None, config, max_command=6, max_length=64)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("slots", 0), ("cohorts", 0), ("prefill", 0), ("block", 0), ("places", -1)),
        *(("stragglers", 1.0), ("cache_dtype", "int8"), ("top_k", -1), ("top_p", 0.0)),
    ],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is "):
        SamplerConfig(**{field: value})

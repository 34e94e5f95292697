"""Small decoders that the tests of this folder share."""

import functools

import jax
import pytest

from repair.model.api import Model
from repair.model.llama import LlamaConfig


@pytest.fixture(scope="package", autouse=True)
def _compile_quickly():
    """These tests run each program a few times: compiling is nearly all they do."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="package")
def make():
    """A function from fields to (Model, params): grouped queries, loud weights.

    Weights are four times their usual size, so that logits differ enough between
    tokens for a wrong mask or position to show.
    """

    @functools.cache
    def build(**fields):
        config = dict(
            vocab_size=51,
            width=24,
            mlp_width=40,
            layers=2,
            heads=4,
            kv_heads=2,
            head_size=8,
            query_block=8,
        )
        model = Model(LlamaConfig(**config | fields))
        params = jax.jit(model.init_params)(jax.random.key(0))
        return model, jax.tree.map(lambda x: x * 4 if x.ndim > 1 else x, params)

    return build

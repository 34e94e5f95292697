"""The shapes of published models have as many weights as their authors say."""

import jax
import pytest

from repair.model.api import Model, count_params
from repair.model.presets import HUB, SHAPES

# From the model cards; those without a last digit are rounded there.
PUBLISHED = {
    "llama32_1b": 1.236e9,
    "llama32_3b": 3.213e9,
    "llama31_8b": 8.03e9,
    "smollm2_135m": 134.5e6,
    "smollm2_360m": 361.8e6,
    "qwen25_coder_0_5b": 494e6,
    "qwen25_coder_1_5b": 1.544e9,
    "qwen3_0_6b": 596e6,
}


def test_every_shape_has_a_name_on_the_hub():
    assert set(SHAPES) == set(HUB) == set(PUBLISHED)


@pytest.mark.parametrize("name", SHAPES)
def test_as_many_weights_as_published(name):
    model = Model(SHAPES[name])
    tree = jax.eval_shape(model.init_params, jax.random.key(0))
    count = count_params(tree["params"])
    assert count == pytest.approx(PUBLISHED[name], rel=0.005)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(tree["params"])} == {"bfloat16"}

"""Adapters: what they change, and what they leave alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.model import lora
from repair.model.api import Model

TOKENS = jnp.arange(12).reshape(2, 6)


@functools.partial(jax.jit, static_argnums=0)
def logits_of(model, params):
    return model.forward(params, TOKENS)[0]


def trained(params, seed=1):
    """Adapters as after some steps: b is no longer zero."""
    rng = np.random.default_rng(seed)

    def move(x):
        return np.asarray(x) + rng.normal(size=x.shape, scale=0.3).astype(np.float32)

    return params | {"lora": jax.tree.map(move, params["lora"])}


def test_fresh_adapters_change_nothing_and_merged_ones_change_all(make):
    base, params = make(scan_layers=True)
    adapted, _ = make(scan_layers=True, lora_rank=3, lora_alpha=5.0)
    plain = logits_of(base, params)
    fresh = params | lora.init_adapters(adapted.config, jax.random.key(2))
    np.testing.assert_array_equal(logits_of(adapted, fresh), plain)
    tree = trained(fresh)
    expected = logits_of(adapted, tree)
    assert np.abs(expected - plain).max() > 0.1
    merged = jax.jit(lora.merge_adapters, static_argnums=0)(adapted.config, tree)
    assert jax.tree.structure(merged) == jax.tree.structure(params)
    np.testing.assert_allclose(logits_of(base, merged), expected, atol=1e-4)


def test_one_merged_kernel_by_hand(make):
    model, params = make(lora_rank=2, lora_alpha=6.0)
    params = trained(params)
    merged = jax.device_get(lora.merge_adapters(model.config, params))
    where = ("layers_1", "mlp", "down")
    base, pair, after = params["params"], params["lora"], merged["params"]
    for key in where:
        base, pair, after = base[key], pair[key], after[key]
    expected = np.asarray(base["kernel"]) + 3.0 * (pair["a"] @ pair["b"])
    np.testing.assert_allclose(after["kernel"], expected, atol=1e-6)


def test_split_by_mode(make):
    model, params = make(lora_rank=2)
    trainable, frozen = lora.split(params, "lora")
    assert set(trainable) == {"lora"} and set(frozen) == {"params"}

    def loss(trainable):
        return jnp.sum(logits_of(model, lora.join(trainable, frozen)) ** 2)

    grads = jax.jit(jax.grad(loss))(trainable)
    moved = [np.asarray(g).any() for g in jax.tree.leaves(grads)]
    assert sum(moved) == len(moved) / 2, "all b move, no a does while b is zero"
    everything, nothing = lora.split(params, "full")
    assert everything == params and nothing == {}
    assert lora.join(trainable, frozen) == params


def test_split_refuses_what_it_cannot_do(make):
    _, params = make()
    with pytest.raises(ValueError, match="lora_rank"):
        lora.split(params, "lora")
    with pytest.raises(ValueError, match="none of"):
        lora.split(params, "qlora")
    assert lora.merge_adapters(Model, params)["params"] is params["params"]

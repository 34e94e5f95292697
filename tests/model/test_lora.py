"""Adapters: their effect, their merge, and the split of a tree by mode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.model import lora

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


@pytest.mark.slow
def test_fresh_adapters_change_nothing_and_trained_ones_do(make):
    base, params = make(scan_layers=True)
    adapted, _ = make(scan_layers=True, lora_rank=3, lora_alpha=5.0)
    plain = logits_of(base, params)
    fresh = params | lora.init_adapters(adapted.config, jax.random.key(2))
    np.testing.assert_array_equal(logits_of(adapted, fresh), plain)
    assert np.abs(logits_of(adapted, trained(fresh)) - plain).max() > 0.1


def test_one_merged_kernel_by_hand(make):
    model, params = make(lora_rank=2, lora_alpha=6.0, param_dtype="bfloat16")
    params = trained(params)
    base, pair = (
        params[name]["layers_1"]["mlp"]["down"] for name in ("params", "lora")
    )
    merged = lora.merge_kernel(model.config, base["kernel"], pair["a"], pair["b"])
    expected = np.asarray(base["kernel"], np.float32) + 3.0 * (pair["a"] @ pair["b"])
    assert merged.dtype == "bfloat16"
    np.testing.assert_allclose(merged.astype("float32"), expected, rtol=0.005)


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

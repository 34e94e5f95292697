"""Visibility of tokens in the decoder, proved by gradients and by comparison."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.model import kv_cache as kv
from repair.model.llama import LlamaConfig

TOKENS = np.random.default_rng(0).integers(0, 51, (2, 20))


@functools.partial(jax.jit, static_argnums=0)
def logits_of(model, params, tokens_BT, positions_BT=None, segments_BT=None):
    return model.forward(
        params, tokens_BT, positions_BT=positions_BT, segments_BT=segments_BT
    )[0]


@functools.partial(jax.jit, static_argnums=0)
def loss_and_grads(model, params):
    def loss(params):
        logits_BTV, _ = model.forward(params, jnp.asarray(TOKENS))
        return jnp.mean(jax.nn.log_softmax(logits_BTV)[..., 3])

    return jax.value_and_grad(loss)(params)


def influence(model, params, segments_BT=None):
    """[t, s]: how much logits_t move with the embedded token s of row 0."""
    T = TOKENS.shape[1]
    # Every token its own id, so that an embedding row is a position's embedding.
    tokens_BT = jnp.arange(T)[None]

    def logits(table):
        held = params["params"] | {"embed": {"embedding": table}}
        return model.forward({"params": held}, tokens_BT, segments_BT=segments_BT)[0][0]

    table = params["params"]["embed"]["embedding"]
    jacobian_TVVD = jax.jit(jax.jacrev(logits))(table)
    return np.abs(jacobian_TVVD[:, :, :T]).sum(axis=(1, 3))


@pytest.mark.slow
def test_no_token_sees_a_later_one(make):
    model, params = make(tie_embeddings=False)
    moved_TT = influence(model, params)
    assert (np.triu(moved_TT, 1) == 0).all()
    assert (moved_TT[np.tril_indices(20)] > 0).all()


def test_segments_do_not_see_one_another(make):
    model, params = make(tie_embeddings=False)
    segments_BT = jnp.array([[1] * 7 + [2] * 9 + [0] * 4])
    moved_TT = influence(model, params, segments_BT)
    same = np.asarray(segments_BT[0][:, None] == segments_BT[0][None])
    np.testing.assert_array_equal(moved_TT > 0, np.tril(same))


def test_packed_equals_alone(make):
    model, params = make()
    positions_BT = jnp.array([[*range(7), *range(13)]])
    segments_BT = jnp.array([[0] * 7 + [1] * 13])
    tokens_BT = jnp.asarray(TOKENS[:1])
    packed = logits_of(model, params, tokens_BT, positions_BT, segments_BT)
    first = logits_of(model, params, tokens_BT[:, :7])
    second = logits_of(model, params, tokens_BT[:, 7:])
    alone = jnp.concatenate([first, second], axis=1)
    np.testing.assert_allclose(packed, alone, atol=1e-4)


def stack(params):
    """Unrolled layers as one stacked tree."""

    def rule(tree):
        layers = [tree[f"layers_{i}"] for i in range(2)]
        rest = {k: v for k, v in tree.items() if not k.startswith("layers_")}
        return rest | {"layers": jax.tree.map(lambda *xs: jnp.stack(xs), *layers)}

    return {name: rule(tree) for name, tree in params.items()}


@pytest.mark.parametrize(
    "fields",
    [
        {"scan_layers": True},
        pytest.param({"scan_layers": True, "remat": "full"}, marks=pytest.mark.slow),
        pytest.param({"query_block": 64, "remat": "dots"}, marks=pytest.mark.slow),
    ],
)
def test_ways_to_run_it_are_one_function(make, fields):
    """Logits and gradients of the plain model, however it is compiled."""
    plain, params = make()
    other, _ = make(**fields)
    restack = stack if fields.get("scan_layers") else lambda x: x

    value, grads = loss_and_grads(plain, params)
    other_value, other_grads = loss_and_grads(other, restack(params))
    np.testing.assert_allclose(value, other_value, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        restack(grads),
        other_grads,
    )


def test_cached_attention_is_the_same_in_tiles(monkeypatch):
    """Against a softmax written out head by head."""
    rng = np.random.default_rng(0)
    B, T, S, N, K, H = 6, 3, 10, 4, 2, 8
    q = rng.normal(size=(B, T, N, H)).astype(np.float32)
    cache = {
        "k": rng.normal(size=(B, K, H, S)).astype(np.float32),
        "v": rng.normal(size=(B, K, S, H)).astype(np.float32),
    }
    positions = np.array([0, 2, 4, 6, 5, 7])[:, None] + np.arange(T)
    expected = np.zeros((B, T, N, H))
    for b, t, n in np.ndindex(B, T, N):
        seen = int(positions[b, t]) + 1
        scores = q[b, t, n] @ cache["k"][b, n // 2, :, :seen] / H**0.5
        weights = np.exp(scores) / np.exp(scores).sum()
        expected[b, t, n] = weights @ cache["v"][b, n // 2, :seen]
    row = 2 * 4 * K * S * H  # bytes
    for scores, size in ((1 << 20, 6 * row), (1 << 20, 3 * row), (N * T * S, 1)):
        monkeypatch.setattr(kv, "CPU_SCORES", scores)
        monkeypatch.setattr(kv, "CPU_BYTES", size)
        out = jax.jit(lambda *args: kv.attend(*args))(q, cache, positions)
        np.testing.assert_allclose(out, expected.reshape(B, T, -1), atol=1e-5)


def test_padding_leaves_no_trace_in_the_cache(make):
    model, params = make()
    cache = model.init_cache(2, 10)
    positions = jnp.array([[0, 1, 10, 10], [0, 1, 2, 10]])
    tokens_BT = jnp.asarray(TOKENS[:, :4])
    _, cache = jax.jit(model.forward)(params, tokens_BT, cache, positions)
    for layer in cache:
        filled = np.abs(np.asarray(layer["v"])).sum(axis=(1, 3)) > 0
        assert filled.sum(axis=1).tolist() == [2, 3]
        filled = np.abs(np.asarray(layer["k"])).sum(axis=(1, 2)) > 0
        assert filled.sum(axis=1).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"kv_heads": 3}, "multiple of kv_heads=3"), ({"head_size": 7}, "an even number")],
)
def test_impossible_shapes_are_refused(fields, message):
    shape = dict(
        vocab_size=8, width=8, mlp_width=8, layers=1, heads=4, kv_heads=2, head_size=8
    )
    with pytest.raises(ValueError, match=message):
        LlamaConfig(**shape | fields)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_logits_of_a_bfloat16_model_are_not_rounded_to_it(make, tie, param_dtype):
    """Against products of the same bfloat16 numbers, summed by numpy in float64."""
    fields = {"dtype": "bfloat16", "param_dtype": param_dtype, "tie_embeddings": tie}
    model, params = make(**fields)
    hidden_BTD = jax.random.normal(jax.random.key(1), (2, 5, 24), jnp.bfloat16)
    tree = params["params"]
    table = tree["embed"]["embedding"].T if tie else tree["head"]["kernel"]
    table_DV = np.asarray(table.astype(jnp.bfloat16), np.float64)
    expected = np.asarray(hidden_BTD, np.float64) @ table_DV
    rounded = expected.astype(jnp.bfloat16).astype(np.float64)
    assert np.abs(rounded - expected).max() > 1e-3
    for head in (functools.partial(model.logits, params), model.head(params)):
        logits = jax.jit(head)(hidden_BTD)
        assert logits.dtype == jnp.float32
        np.testing.assert_allclose(logits, expected, atol=2e-6 * np.abs(expected).max())

    def loss(params):
        logits_BTV = model.logits(params, hidden_BTD)
        return (jax.nn.log_softmax(logits_BTV)[..., 3]).sum()

    grads = jax.jit(jax.grad(loss))(params)["params"]
    found = grads["embed"]["embedding"].T if tie else grads["head"]["kernel"]
    assert found.dtype == param_dtype
    probs = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    by_hand = np.einsum(
        "btd,btv->dv", np.asarray(hidden_BTD, np.float64), (np.arange(51) == 3) - probs
    )
    np.testing.assert_allclose(
        found.astype(np.float32), by_hand, atol=0.01 * np.abs(by_hand).max()
    )

"""Our decoder against transformers' Llama: logits, gradients, both ways of files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.model.api import Model
from repair.model.hf import load_hf, save_hf
from repair.model.hf_names import LAYER_NAMES, TOP_NAMES
from repair.model.rope import Rope

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = np.random.default_rng(0).integers(0, 61, (2, 17))


def reference(**fields):
    """A small LlamaForCausalLM with weights large enough for sharp attention."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **dict(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=56,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
        | fields
    )
    return transformers.LlamaForCausalLM(config).eval()


CASES = {
    "grouped, tied": dict(tie_word_embeddings=True),
    "grouped, untied": dict(tie_word_embeddings=False),
    "one key-value head, wide heads": dict(num_key_value_heads=1, head_dim=16),
    "full heads, long rope": dict(
        num_key_value_heads=4,
        rope_parameters={"rope_theta": 5e5, "rope_type": "default"},
    ),
}


@functools.partial(jax.jit, static_argnums=0)
def loss_and_grads(model, params, tokens_BT):
    def loss(params):
        logits_BTV, _ = model.forward(params, tokens_BT)
        log_probs = jax.nn.log_softmax(logits_BTV[:, :-1])
        chosen = jnp.take_along_axis(log_probs, tokens_BT[:, 1:, None], axis=-1)
        return -jnp.mean(chosen), logits_BTV

    return jax.value_and_grad(loss, has_aux=True)(params)


def our_leaf(tree, name, scan):
    """Our leaf (or gradient) for a reference name, in the reference's layout."""
    paths = {theirs: path for path, theirs in (TOP_NAMES | LAYER_NAMES).items()}
    if name in paths:
        path = paths[name]
    else:
        _, _, layer, rest = name.split(".", 3)
        path = (("layers",) if scan else (f"layers_{layer}",)) + paths[rest]
    for key in path:
        tree = tree[key]
    if path[0] == "layers":
        tree = tree[int(layer)]
    return tree.T if path[-1] == "kernel" else tree


@pytest.mark.parametrize(
    ("case", "scan"), [(case, False) for case in CASES] + [("grouped, untied", True)]
)
def test_logits_and_gradients(case, scan, tmp_path):
    theirs = reference(**CASES[case])
    theirs.save_pretrained(tmp_path)
    config, params = load_hf(tmp_path, scan_layers=scan, query_block=8)
    out = theirs(torch.tensor(TOKENS), labels=torch.tensor(TOKENS))
    out.loss.backward()
    (loss, logits), grads = loss_and_grads(Model(config), params, jnp.asarray(TOKENS))
    np.testing.assert_allclose(logits, out.logits.detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(loss, out.loss.item(), rtol=1e-5)
    for name, weight in theirs.named_parameters():
        expected = weight.grad.numpy()
        ours = our_leaf(grads["params"], name, scan)
        error = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"{name}: relative error {error:.2g}"


@pytest.mark.parametrize("tied", [False, True])
def test_transformers_loads_what_we_export(make, tied, tmp_path):
    """Adapters and all: the merged weights give the adapted model's logits."""
    model, params = make(tie_embeddings=tied, lora_rank=2, rope=Rope(3e4))
    moved = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.1), params["lora"])
    params = params | {"lora": moved}
    save_hf(tmp_path, model.config, params, max_position_embeddings=64)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    tokens = TOKENS % 51
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    logits, _ = jax.jit(model.forward)(params, jnp.asarray(tokens))
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())

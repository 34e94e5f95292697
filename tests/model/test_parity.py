"""Our decoder against transformers' models, and its adapters against PEFT's.

Logits, gradients and greedy generation from a folder that transformers wrote; logits
again from folders that we wrote.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.model.api import Model
from repair.model.hf.folder import load_hf, save_hf
from repair.model.hf.names import LAYER_NAMES, TOP_NAMES
from repair.model.hf.peft import save_peft
from repair.model.lora import init_adapters
from repair.rollout.sampler import Sampler, SamplerShapes
from repair.rollout.sampling import Sampling
from repair.text.tokenizer import Tokenizer, train_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# Of its four wave lengths one is kept, one is stretched in part and two in full; the
# sequences here go well beyond the 32 positions that it stretches. Spelt as in
# transformers 4, which version 5 understands.
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONG = {"rope_theta": 100.0, "rope_scaling": LLAMA3}
FAMILIES = {
    "llama 3.2": ("Llama", dict(tie_word_embeddings=True, **LONG)),
    "llama 3.1, full heads": (
        "Llama",
        dict(
            tie_word_embeddings=False,
            num_key_value_heads=4,
            **LONG,
        ),
    ),
    "smollm2": (
        "Llama",
        dict(
            tie_word_embeddings=True,
            num_attention_heads=3,
            num_key_value_heads=1,
            hidden_size=24,
            rope_theta=1e5,
        ),
    ),
    "qwen2.5": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen3": ("Qwen3", dict(tie_word_embeddings=True, head_dim=16)),
}
TOKENS = np.random.default_rng(0).integers(0, 61, (2, 80))


@functools.cache
def reference(family):
    """Return a small model with loud weights, norms and biases."""
    kind, fields = FAMILIES[family]
    settings = dict(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=None,
    )
    config = getattr(transformers, f"{kind}Config")(**settings | fields)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn_like(weight) * 0.3
            weight.copy_(noise if weight.ndim > 1 else weight + noise)
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def saved(family, tmp_path_factory):
    """Return a folder as transformers writes it."""
    folder = tmp_path_factory.mktemp("reference")
    reference(family).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(saved):
    """(model, params) of that folder, with adapters that change much."""
    config, params = load_hf(saved, query_block=32, lora_rank=3, lora_alpha=5.0)
    params |= init_adapters(config, jax.random.key(1))
    rng = np.random.default_rng(1)
    lora = jax.tree.map(
        lambda x: x + rng.normal(size=x.shape, scale=0.2).astype(np.float32),
        params["lora"],
    )
    return Model(config), params | {"lora": lora}


@functools.partial(jax.jit, static_argnums=0)
def loss_and_grads(model, params, tokens_BT):
    def loss(params):
        logits_BTV, _ = model.forward(params, tokens_BT)
        log_probs = jax.nn.log_softmax(logits_BTV[:, :-1])
        chosen = jnp.take_along_axis(log_probs, tokens_BT[:, 1:, None], axis=-1)
        return -jnp.mean(chosen), logits_BTV

    return jax.value_and_grad(loss, has_aux=True)(params)


def their_loss_and_logits(model):
    model.zero_grad()
    out = model(torch.tensor(TOKENS), labels=torch.tensor(TOKENS))
    out.loss.backward()
    return out.loss.item(), out.logits.detach().numpy()


def their_logits(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


def assert_close(logits, expected):
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def assert_same_direction(name, ours, theirs):
    expected = theirs.grad.numpy()
    error = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
    assert error < 1e-3, f"{name}: relative error {error:.2g}"


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


@pytest.mark.parametrize("scan", [False, True])
def test_logits_and_gradients(family, saved, scan):
    config, params = load_hf(saved, scan_layers=scan, query_block=32)
    theirs = reference(family)
    expected_loss, expected = their_loss_and_logits(theirs)
    (loss, logits), grads = loss_and_grads(Model(config), params, jnp.asarray(TOKENS))
    assert_close(logits, expected)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for name, weight in theirs.named_parameters():
        assert_same_direction(name, our_leaf(grads["params"], name, scan), weight)


def test_greedy_generation_over_the_cache(family, saved):
    config, params = load_hf(saved)
    prompts = [TOKENS[0, :5].tolist(), TOKENS[1, :23].tolist()]
    never = np.zeros(config.vocab_size, bool)
    shapes = SamplerShapes(
        max_new=64, max_length=96, block=32, row_buckets=(2,), length_buckets=()
    )
    sampler = Sampler(Model(config), never, shapes)
    state = sampler.extend(params, sampler.start(2), prompts)
    keys = jax.random.split(jax.random.key(0), 2)
    state = sampler.decode(params, state, keys, Sampling(0.0))
    _, sampled = sampler.collect(state)
    for prompt, tokens in zip(prompts, sampled.tokens, strict=True):
        ids = torch.tensor([prompt])
        expected = reference(family).generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=64,
            do_sample=False,
            pad_token_id=0,
        )
        assert len(set(tokens.tolist())) > 4, "a loop of few tokens shows little"
        assert tokens.tolist() == expected[0, len(prompt) :].tolist()


def test_gradients_of_adapters(saved, adapted, tmp_path):
    peft = pytest.importorskip("peft")
    model, params = adapted
    save_peft(tmp_path, model.config, params, base=str(saved))
    base = transformers.AutoModelForCausalLM.from_pretrained(saved)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    expected_loss, expected = their_loss_and_logits(theirs)
    (loss, logits), grads = loss_and_grads(model, params, jnp.asarray(TOKENS))
    assert_close(logits, expected)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for layer, modules in grads["lora"].items():
        where = "base_model.model.model." + layer.replace("_", ".")
        for block, theirs_block in (("attention", "self_attn"), ("mlp", "mlp")):
            for name, halves in modules[block].items():
                module = f"{where}.{theirs_block}.{name}_proj"
                for half in ("a", "b"):
                    key = f"{module}.lora_{half.upper()}.default.weight"
                    weight = theirs.get_parameter(key)
                    assert_same_direction(key, halves[half].T, weight)


def test_what_we_export_loads_with_adapters_merged(family, adapted, tmp_path):
    model, params = adapted
    save_hf(tmp_path, model.config, params, shard_bytes=20_000)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs) is type(reference(family))
    logits, _ = jax.jit(model.forward)(params, jnp.asarray(TOKENS))
    plain = their_logits(reference(family))
    assert np.abs(logits - plain).max() > 1, "the adapters change much"
    assert_close(logits, their_logits(theirs))


def test_types_and_tokenizer_are_those_that_we_export(make, tmp_path):
    model, params = make(param_dtype="bfloat16", vocab_size=262)
    tokenizer = train_tokenizer(["a b"], 262, ("<pad>", "<end>"))
    tokenizer = Tokenizer(
        tokenizer, "short", mode="direct", eos_ids=[tokenizer.token_to_id("<end>")]
    )
    tokenizer.save(tmp_path / "tokenizer")
    save_hf(tmp_path / "out", model.config, params, tmp_path / "tokenizer")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype="auto"
    )
    assert theirs.dtype == torch.bfloat16
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert loaded("a b <end>").input_ids == tokenizer.encode("a b <end>")
    assert theirs.config.eos_token_id == loaded.eos_token_id == tokenizer.end_ids[0]

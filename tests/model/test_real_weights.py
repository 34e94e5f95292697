"""SmolLM2-135M-Instruct from its GGUF file, on real code.

Needs the extra parity. The cache against full passes, export and import, memory;
logits, greedy text and gradients of adapters against those of torch and PEFT, whose own
reader of GGUF files loads the same file. Our export in llama.cpp.
"""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peer_sides.llama_cpp import open_server
from repair.model.api import Model, unstack
from repair.model.hf.folder import copy_settings, load_hf
from repair.model.hf.gguf_model import save_gguf
from repair.model.hf.peft import save_peft
from repair.model.lora import init_adapters
from repair.rollout.sampler import Sampler, SamplerShapes
from repair.rollout.sampling import Sampling
from repair.text.tokenizer import load_tokenizer
from tests.smollm2 import fetch_smollm2

pytest.importorskip("gguf")
pytest.importorskip("torch")  # minutes of other tests' time: once, with all of these
pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
# Real code, indented, with digits and strings.
CODE = (ROOT / "repair/model/rope.py").read_text(encoding="utf-8")
# Prints what the import added to the process's highest memory, as a share of the
# model's bytes.
IMPORT = """
import re, sys
import jax, jax.numpy as jnp
from repair.model.hf.folder import load_hf
from repair.model.hf.gguf_file import import_gguf

jax.block_until_ready(jnp.ones(8) + 1)
import_gguf()

def memory(field):
    status = open("/proc/self/status").read()
    return 1024 * int(re.search(field + r":\\s+(\\d+)", status)[1])

before = memory("VmRSS")
_, params = load_hf(sys.argv[1], None, scan_layers=True, param_dtype="bfloat16")
total = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
print((memory("VmHWM") - before) / total)
"""


@pytest.fixture(scope="session", autouse=True)
def compile_quickly():
    """Optimize, unlike other tests of this folder: here running takes the time."""


@pytest.fixture(scope="module")
def file():
    return fetch_smollm2()


@pytest.fixture(scope="module")
def settings(file, tmp_path_factory):
    """Return a folder with the model's tokenizer."""
    folder = tmp_path_factory.mktemp("settings")
    copy_settings(file, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(settings):
    return load_tokenizer(settings, "short")


@pytest.fixture(scope="module")
def ours(file):
    """(model, params), stacked: a scan compiles fast."""
    config, params = load_hf(file, scan_layers=True)
    return Model(config), params


@pytest.fixture(scope="module")
def ids(tokenizer):
    return np.array([tokenizer.encode(CODE)[:128]])


@pytest.fixture(scope="module")
def theirs(file):
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype="float32"
    )
    return model.eval()


def continue_greedily(ours, prompts, count):
    """Return the tokens that follow each prompt, by the sampler's cache."""
    model, params = ours[0], jax.jit(unstack)(ours[1])
    never = np.zeros(model.config.vocab_size, bool)
    shapes = SamplerShapes(
        max_new=count,
        max_length=128,
        block=128,
        row_buckets=(len(prompts),),
        length_buckets=(),
    )
    sampler = Sampler(model, never, shapes)
    state = sampler.extend(params, sampler.start(len(prompts)), prompts)
    keys = jax.random.split(jax.random.key(0), len(prompts))
    state = sampler.decode(params, state, keys, Sampling(0.0))
    _, sampled = sampler.collect(state)
    return sampled.tokens.tolist()


@pytest.fixture(scope="module")
def written(ours, ids):
    with jax.default_matmul_precision("float32"):
        return continue_greedily(ours, [ids[0, :60].tolist()], 64)[0]


def test_ids_are_those_that_the_model_was_trained_on(tokenizer, settings):
    """As in the published tokenizer: indentation whole, digits apart, code intact."""
    pieces = [
        tokenizer.decode([i]) for i in tokenizer.encode("def f(x1):\n    return 12")
    ]
    assert pieces == [
        "def",
        " f",
        "(",
        "x",
        "1",
        "):",
        "\n   ",
        " return",
        " ",
        "1",
        "2",
    ]
    assert tokenizer.decode(tokenizer.encode(CODE)) == CODE
    chat = tokenizer.encode("<|im_start|>user\n<|im_end|>\n")
    assert (chat[0], chat[-2], chat[-1]) == (1, 2, tokenizer.newline_id)
    assert (tokenizer.bos_ids, tokenizer.eos_ids) == ([], [2])
    assert tokenizer.vocab_size == 49_152
    config = json.loads((settings / "tokenizer_config.json").read_text())
    assert "<|im_start|>" in config["chat_template"]


def test_the_model_knows_code(ours, ids):
    """Rows of q and k in another order would cost more than a uniform guess."""
    model, params = ours
    logits, _ = jax.jit(model.forward)(params, jnp.asarray(ids))
    log_probs = jax.nn.log_softmax(logits[0, :-1])
    loss = -np.mean(np.asarray(log_probs)[np.arange(ids.shape[1] - 1), ids[0, 1:]])
    assert loss < 4.5, "a uniform guess has 10.8"


def test_greedy_tokens_over_the_cache_are_those_of_full_passes(ours, ids, written):
    model, params = ours
    tokens = np.array([[*ids[0, :60], *written]])
    logits, _ = jax.jit(model.forward)(params, jnp.asarray(tokens))
    best = np.asarray(logits[0]).argmax(-1)
    assert len(set(written)) > 8, "a loop of few tokens shows little"
    assert written == best[59:-1].tolist()


def test_an_import_needs_the_model_once(file):
    if not pathlib.Path("/proc/self/status").exists():
        pytest.skip("needs Linux")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.3, f"{done.stdout} times the model's bytes"


def test_logits_are_those_of_transformers(ours, theirs, ids):
    import torch

    model, params = ours
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    logits, _ = jax.jit(model.forward)(params, jnp.asarray(ids))
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    assert error < 2e-5, f"relative difference {error:.2g}"


def test_greedy_tokens_are_those_of_transformers(theirs, ids, written):
    import torch

    prompt = torch.tensor(ids[:, :60])
    expected = theirs.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=64,
        min_new_tokens=64,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert written == expected[0, 60:].tolist()


def test_ids_of_code_are_those_of_transformers(file, tokenizer):
    """Its conversion splits as GPT-2's under any name: the same for this code.

    It would differ where a number follows a line break and a space.
    """
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name
    )
    for path in ("rope.py", "sharding.py", "hf/peft.py"):
        text = (ROOT / "repair/model" / path).read_text(encoding="utf-8")
        text += "\n\tif a:\r\n\r\n        b = 1234 ** 56  # x   y\n<|im_end|>\n"
        assert tokenizer.encode(text) == theirs(text)["input_ids"]


@functools.partial(jax.jit, static_argnums=0)
def gradients(model, params, tokens_BT):
    def loss(lora):
        logits_BTV, _ = model.forward(params | {"lora": lora}, tokens_BT)
        log_probs = jax.nn.log_softmax(logits_BTV[:, :-1])
        return -jnp.mean(
            jnp.take_along_axis(log_probs, tokens_BT[:, 1:, None], axis=-1)
        )

    return jax.grad(loss)(params["lora"])


def test_gradients_of_adapters_are_those_of_peft(file, theirs, ids, tmp_path):
    import torch

    peft = pytest.importorskip("peft")
    config, params = load_hf(file, scan_layers=True, lora_rank=4, lora_alpha=8.0)
    rng = np.random.default_rng(0)
    lora = jax.tree.map(
        lambda x: (
            np.asarray(x) + rng.normal(size=x.shape, scale=0.01).astype(np.float32)
        ),
        jax.jit(functools.partial(init_adapters, config))(jax.random.key(1)),
    )["lora"]
    params = params | {"lora": lora}
    save_peft(tmp_path, config, params, base=str(file))
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path, is_trainable=True)
    grads = gradients(Model(config), params, jnp.asarray(ids[:, :64]))
    tokens = torch.tensor(ids[:, :64])
    adapted(tokens, labels=tokens).loss.backward()
    for block, their_block in (("attention", "self_attn"), ("mlp", "mlp")):
        for name, halves in grads["layers"][block].items():
            for half, layers in halves.items():
                for i, gradient in enumerate(np.asarray(layers)):
                    where = f"base_model.model.model.layers.{i}.{their_block}"
                    key = f"{where}.{name}_proj.lora_{half.upper()}.default.weight"
                    expected = adapted.get_parameter(key).grad.numpy().T
                    error = np.linalg.norm(gradient - expected)
                    error /= np.linalg.norm(expected)
                    assert error < 1e-3, f"{key}: relative error {error:.2g}"


def test_llama_cpp_reads_what_we_write(ours, tokenizer, settings, tmp_path):
    """Its ids of texts, and its first 32 greedy tokens after three of them."""
    pytest.importorskip("xllamacpp")
    path = tmp_path / "x.gguf"
    save_gguf(path, ours[0].config, ours[1], settings)
    config, params = load_hf(path, scan_layers=True)
    # Threads of llama.cpp wait for each other by spinning: one beside other tests.
    ask = open_server(path, rows=1, length=256, threads=1)
    code = CODE.split("@dataclasses")
    texts = code[0], code[1], "import os\n\n\ndef walk(path, depth=12):\n    "
    ids = [tokenizer.encode(text) for text in texts]
    prompts = [each[:60] for each in ids]
    expected = continue_greedily((Model(config), params), prompts, 32)
    for text, its_ids, prompt, tokens in zip(
        texts, ids, prompts, expected, strict=True
    ):
        found = ask("/tokenize", content=text, add_special=False, parse_special=True)
        assert found["tokens"] == its_ids
        written = ask("/completion", prompt=prompt, n_predict=32, temperature=0)
        assert written["tokens"] == tokens

"""Tokenizers of GGUF files, against a slow BPE over the published splits of text."""

import functools
import json
import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from repair.errors import UserError
from repair.text.gguf_tokenizer import (
    check_tokenizer,
    end_ids,
    tokenizer_values,
    write_tokenizer,
)
from repair.text.tokenizer import load_tokenizer, train_tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
TEXT = (
    "def f(x1, y23):\n    return x1 + 1234 * 123\n\n\tIT'S it's don't we'll 10 100 1000"
    " 12  123   1234 e\u0301 \u00e9 \u00bd\u00b2 { } ()): ==\r\n\r\n        pass\n"
)
# transformers adds the last one to the tokenizers of Qwen that lack it.
SPECIALS = ("<|end|>", "<|start|>", "<tool>", "<|endoftext|>")
MODEL_TYPES = {"gpt-2": "llama", "smollm": "llama", "llama-bpe": "llama"}


@functools.cache
def metadata(pre):
    """Return the metadata of a file whose merges cross any split of text."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    lines = [TEXT[i : i + n] for n in (3, 5, 9) for i in range(0, len(TEXT), 2)]
    trained.train_from_iterator(lines * 4, trainer)
    raw = json.loads(trained.to_str())["model"]
    tokens = sorted(raw["vocab"], key=raw["vocab"].get)
    size = len(tokens)
    values = {
        "model": "gpt2",
        "pre": pre,
        "tokens": [*tokens, *SPECIALS, "[PAD0]", "[PAD1]"],
        "token_type": [1] * size + [3, 3, 4, 3, 5, 5],
        "merges": [" ".join(merge) for merge in raw["merges"]],
        "bos_token_id": size + 1,
        "eos_token_id": size,
        "eot_token_id": size + 1,
        "padding_token_id": size,
        "unknown_token_id": size + 3,
        "add_bos_token": False,
    }
    values = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    return values | {"tokenizer.chat_template": "{{ messages[0]['content'] }}<|end|>"}


def save(values, folder, pre):
    write_tokenizer(values, "x.gguf", folder)
    model_type = MODEL_TYPES.get(pre, pre)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return load_tokenizer(folder, "short")


@pytest.fixture(scope="module", params=["gpt-2", "smollm", "llama-bpe", "qwen2"])
def both(request, tmp_path_factory):
    """Return the name, the metadata and the tokenizer made of it."""
    pre = request.param
    values = metadata(pre)
    return pre, values, save(values, tmp_path_factory.mktemp("tokenizer"), pre)


def byte_letters():
    """Return GPT-2's printable letter of each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    letters = {b: chr(b) for b in printable}
    return letters | {b: chr(256 + i) for i, b in enumerate(others)}


def split(text, pre):
    """Cut a text as the tokenizer.json of the published models says."""
    if pre == "smollm":
        digits = regex.findall(r"\p{N}|[^\p{N}]+", text)
        return [piece for part in digits for piece in regex.findall(GPT2, part)]
    patterns = {"gpt-2": GPT2, "llama-bpe": LLAMA3, "qwen2": QWEN2}
    return regex.findall(patterns[pre], text)


def slow_ids(text, values):
    """Encode a text by the definition: merge the pair of the lowest rank first."""
    get = {key.rsplit(".", 1)[1]: value for key, value in values.items()}
    ids = {token: i for i, token in enumerate(get["tokens"])}
    ranks = {tuple(m.split(" ")): i for i, m in enumerate(get["merges"])}
    letters, found = byte_letters(), []
    for part in regex.split("(" + "|".join(map(regex.escape, SPECIALS)) + ")", text):
        if part in SPECIALS:
            found.append(ids[part])
            continue
        if get["pre"] == "qwen2":
            part = unicodedata.normalize("NFC", part)
        for piece in split(part, get["pre"]):
            word = [letters[b] for b in piece.encode()]
            if get["pre"] == "llama-bpe" and "".join(word) in ids:
                word = ["".join(word)]
            while pairs := [p for p in zip(word, word[1:], strict=False) if p in ranks]:
                i = list(zip(word, word[1:], strict=False)).index(
                    min(pairs, key=ranks.get)
                )
                word[i : i + 2] = [word[i] + word[i + 1]]
            found += [ids[token] for token in word]
    return found


PIECES = st.sampled_from(
    [*TEXT.split(" "), *SPECIALS, *"0123456789 \n\r\t'_(){}=:", "    ", "\n\n", "'LL"]
    + ["e\u0301", "\u00bd", "\u00b2\u0663", "\u4e2d", "\U0001f642", "\u00a0", "n\u0303"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_ids_are_those_of_the_published_splits(both, text):
    _, values, tokenizer = both
    assert tokenizer.encode(text) == slow_ids(text, values)


def test_each_name_splits_in_its_own_way(both):
    pre, values, tokenizer = both
    others = [
        slow_ids(TEXT, values | {"tokenizer.ggml.pre": name})
        for name in ("gpt-2", "smollm", "llama-bpe", "qwen2")
        if name != pre
    ]
    assert tokenizer.encode(TEXT) not in others


def test_special_ids_template_and_size(both, tmp_path):
    pre, values, tokenizer = both
    size = tokenizer.vocab_size
    assert size == len(values["tokenizer.ggml.tokens"]) - 2, "unused ids are left out"
    assert tokenizer.bos_ids == []
    assert end_ids(values) == [size - 4, size - 3]
    write_tokenizer(values, "x.gguf", tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["chat_template"] == values["tokenizer.chat_template"]
    assert (config["bos_token"], config["eos_token"]) == ("<|start|>", "<|end|>")
    raw = json.loads((tmp_path / "tokenizer.json").read_text())
    special = {token["content"]: token["special"] for token in raw["added_tokens"]}
    assert special == {name: name != "<tool>" for name in SPECIALS}


def test_bos_is_added_where_the_file_says_so(both, tmp_path):
    pre, values, tokenizer = both
    added = save(values | {"tokenizer.ggml.add_bos_token": True}, tmp_path, pre)
    assert added.bos_ids == [tokenizer.vocab_size - 3]
    silent = {k: v for k, v in values.items() if not k.endswith("add_bos_token")}
    assert bool(save(silent, tmp_path, pre).bos_ids) == (pre == "llama-bpe")


def test_metadata_come_back(both, tmp_path):
    pre, values, _ = both
    for add_bos in (False, True):
        values = values | {"tokenizer.ggml.add_bos_token": add_bos}
        save(values, tmp_path, pre)
        eos = end_ids(values)
        settings = {"model_type": MODEL_TYPES.get(pre, pre), "eos_token_id": eos}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        size = len(values["tokenizer.ggml.tokens"])
        again = tokenizer_values(tmp_path, size)
        padding = [f"[PAD{i}]" for i in range(size - 2, size)]
        expected = [*values["tokenizer.ggml.tokens"][:-2], *padding]
        assert again == values | {"tokenizer.ggml.tokens": expected}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "llama"}, "byte-level BPE"),
        ({"model": None}, "byte-level BPE"),
        ({"pre": "default"}, "'default'.*gpt-2, smollm, llama-bpe, qwen2, llama3"),
        ({"pre": None}, "pre-tokenizer None"),
        ({"merges": None}, "no list tokenizer.ggml.merges"),
        ({"token_type": ["x"]}, "no list tokenizer.ggml.token_type"),
    ],
)
def test_other_tokenizers_are_refused(fields, message, tmp_path):
    values = metadata("smollm") | {f"tokenizer.ggml.{k}": v for k, v in fields.items()}
    with pytest.raises(UserError, match=message):
        check_tokenizer(values, "x.gguf")
    with pytest.raises(UserError, match=message):
        write_tokenizer(values, "x.gguf", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": ["a", "a"], "token_type": [1, 1]},
        {"token_type": [1]},
        {"merges": ["no-such-token \u0120"]},
        {"bos_token_id": 10_000, "add_bos_token": True},
    ],
)
def test_impossible_tokenizers_are_refused(fields, tmp_path):
    values = metadata("smollm") | {f"tokenizer.ggml.{k}": v for k, v in fields.items()}
    with pytest.raises(UserError, match="impossible tokenizer"):
        write_tokenizer(values, "x.gguf", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_without_a_name_is_refused(tmp_path):
    tokenizer = train_tokenizer(["a b"], 260)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="splits text in another way"):
        tokenizer_values(tmp_path, 260)


def test_a_model_of_fewer_ids_is_refused(both, tmp_path):
    pre, values, tokenizer = both
    save(values, tmp_path, pre)
    with pytest.raises(UserError, match=f"has {tokenizer.vocab_size} ids, the model 9"):
        tokenizer_values(tmp_path, 9)

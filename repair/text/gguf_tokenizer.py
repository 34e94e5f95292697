"""The tokenizer of a GGUF file: tokens, merges and the name of a pre-tokenizer.

llama.cpp knows a pre-tokenizer by name only (tokenizer.ggml.pre). Each name here stands
for the steps of the published tokenizer.json that llama.cpp's name was made for, so a
text gets the ids of the model's own tokenizer.
"""

import json
import pathlib

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from repair.errors import UserError
from repair.text.tokenizer import read_tokenizer

_PREFIX = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
# Kinds of tokens (tokenizer.ggml.token_type).
_NORMAL, _CONTROL, _USER, _UNUSED = 1, 3, 4, 5
# Splits of Llama 3 and Qwen 2, which differ in the digits of a number.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {"llama-bpe": _WORDS % r"\p{N}{1,3}", "qwen2": _WORDS % r"\p{N}"}
_PRE_NAMES = ("gpt-2", "smollm", *_SPLITS)
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe"}
# Tells the pre-tokenizers above apart, and from any other.
_PROBE = (
    "def f(x1, y23):\n\n    return x1 +  1234567.5e-10 \t # it's IT'S don't we'LL\r\n"
    "  \n\t\tpass ½²٣ e\u0301é \u00a0ñ中文字 🙂🙂 {[(!?)]}__a_b__ == !=\n \n  "
)
# Special tokens: key in the file -> field of tokenizer_config.json.
_SPECIALS = {
    "bos_token_id": "bos_token",
    "eos_token_id": "eos_token",
    "unknown_token_id": "unk_token",
    "padding_token_id": "pad_token",
}
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


def check_tokenizer(values: dict, source) -> None:
    """Check that the tokenizer of a GGUF file can be rebuilt.

    Args:
      values: The file's metadata.
      source: The file, for the message.

    Raises:
      UserError: It cannot.
    """
    kind, pre = (values.get(_PREFIX + key) for key in ("model", "pre"))
    known = (*_PRE_NAMES, *_ALIASES)
    if kind != "gpt2":
        raise UserError(
            f"{source} has a tokenizer of the model {kind!r}; only byte-level BPE"
            " ('gpt2') can be rebuilt, so use another file."
        )
    if pre not in known:
        raise UserError(
            f"{source} has the pre-tokenizer {pre!r} (tokenizer.ggml.pre), expected one"
            f" of {', '.join(known)}; convert the model anew, or use its folder."
        )
    for key, inner in (("tokens", str), ("merges", str), ("token_type", int)):
        found = values.get(_PREFIX + key)
        if not (isinstance(found, list) and all(type(x) is inner for x in found)):
            raise UserError(f"{source} has no list {_PREFIX}{key}; use another file.")


def end_ids(values: dict) -> list[int]:
    """Return the ids in a GGUF file that end a text, EOS first."""
    found = (values.get(_PREFIX + key) for key in _ENDS)
    return list(dict.fromkeys(i for i in found if i is not None))


def write_tokenizer(values: dict, source, folder) -> None:
    """Write the tokenizer of a GGUF file as transformers loads it.

    tokenizer.json is written last: a folder that holds it has a whole tokenizer.

    Raises:
      UserError: The tokenizer cannot be rebuilt.
    """
    check_tokenizer(values, source)
    template = values.get(_TEMPLATE)
    values = {
        key.removeprefix(_PREFIX): value
        for key, value in values.items()
        if key.startswith(_PREFIX)
    }
    try:
        backend = _build(values)
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(
            f"{source} holds an impossible tokenizer ({error}); use another file."
        ) from error
    settings: dict[str, str | None] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for key, field in _SPECIALS.items():
        if (token := values.get(key)) is not None:
            settings[field] = backend.id_to_token(token)
    if template:
        settings["chat_template"] = template
    folder = pathlib.Path(folder)
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    backend.save(str(folder / "tokenizer.json"))


def tokenizer_values(folder, vocab_size: int) -> dict:
    """Return the metadata of a GGUF file for a folder's tokenizer.

    Args:
      folder: As for `read_tokenizer`.
      vocab_size: V of the model; ids that the tokenizer lacks become unused tokens.

    Raises:
      UserError: llama.cpp has no such tokenizer.
    """
    auto, eos_ids = read_tokenizer(folder)
    backend = auto.backend_tokenizer
    raw = json.loads(backend.to_str())
    pre = _name_of(backend)
    if raw["model"]["type"] != "BPE" or pre is None:
        raise UserError(
            f"the tokenizer in {folder} splits text in another way than those that"
            f" llama.cpp has a name for here ({', '.join(_PRE_NAMES)}); export the"
            " model as a Hugging Face folder."
        )
    if (size := backend.get_vocab_size(with_added_tokens=True)) > vocab_size:
        raise UserError(
            f"the tokenizer in {folder} has {size} ids, the model {vocab_size}; export"
            " the model with its own tokenizer."
        )
    special = {token["id"]: token["special"] for token in raw["added_tokens"]}
    tokens, types = [], []
    for i in range(vocab_size):
        token = backend.id_to_token(i)
        kind = _NORMAL if token is not None else _UNUSED
        if i in special:
            kind = _CONTROL if special[i] else _USER
        tokens.append(f"[PAD{i}]" if token is None else token)
        types.append(kind)
    merges = [m if isinstance(m, str) else " ".join(m) for m in raw["model"]["merges"]]
    values = {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": types}
    first = backend.encode("a", add_special_tokens=False).ids[0]
    values |= {"merges": merges, "add_bos_token": auto("a")["input_ids"][0] != first}
    for key, field in _SPECIALS.items():
        if (token := getattr(auto, field + "_id")) is not None:
            values[key] = token
    for key, token in zip(_ENDS, dict.fromkeys(eos_ids), strict=False):
        values[key] = token
    values = {_PREFIX + key: value for key, value in values.items()}
    if isinstance(auto.chat_template, str):
        values[_TEMPLATE] = auto.chat_template
    return values


def _build(values: dict) -> Tokenizer:
    tokens, types = values["tokens"], values["token_type"]
    # Ids that only fill up the model's embedding, at the end.
    while types and types[-1] == _UNUSED:
        tokens, types = tokens[:-1], types[:-1]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens) or len(types) != len(tokens):
        raise ValueError("tokens and their types do not correspond")
    pre = _ALIASES.get(values["pre"], values["pre"])
    merges = [tuple(merge.split(" ", 1)) for merge in values["merges"]]
    # Llama 3 takes a word that is a token as a whole, merges or not.
    whole = pre == "llama-bpe"
    backend = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=whole))
    _set_steps(backend, pre)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    added = [
        AddedToken(token, normalized=False, special=kind == _CONTROL)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (_CONTROL, _USER)
    ]
    backend.add_special_tokens([token for token in added if token.special])
    backend.add_tokens([token for token in added if not token.special])
    bos = values.get("bos_token_id")
    if bos is not None and values.get("add_bos_token", whole):
        token = tokens[bos]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{token} $A",
            pair=f"{token} $A {token}:1 $B:1",
            special_tokens=[(token, bos)],
        )
    return backend


def _set_steps(backend: Tokenizer, pre: str) -> None:
    """Give a tokenizer the steps before its merges."""
    if pre in _SPLITS:
        steps = [
            pre_tokenizers.Split(Regex(_SPLITS[pre]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    else:
        steps = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if pre == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()


def _name_of(backend: Tokenizer) -> str | None:
    """Return the name of a tokenizer's steps, found by their effect on a text."""

    def pieces(tokenizer):
        text, steps = _PROBE, tokenizer.pre_tokenizer
        if tokenizer.normalizer:
            text = tokenizer.normalizer.normalize_str(text)
        return [piece for piece, _ in steps.pre_tokenize_str(text)] if steps else None

    for name in _PRE_NAMES:
        one = Tokenizer(models.BPE())
        _set_steps(one, name)
        if pieces(one) == pieces(backend):
            return name
    return None

"""Hugging Face's config.json, read into a LlamaConfig and written from one.

Three architectures are the decoder that we have: LlamaForCausalLM (with or without
Llama 3.1's rotary scaling), Qwen2ForCausalLM (biases on q, k and v; Qwen2.5 has the
same name) and Qwen3ForCausalLM (norms on q and k). What a file asks for beyond that is
refused, never skipped: weights would load, and say something else.

Spellings differ between transformers 4 (rope_theta at the top, the rest in
rope_scaling) and 5 (all of it in rope_parameters); both are read and written.
"""

import dataclasses

from repair.errors import UserError
from repair.model.llama import LlamaConfig
from repair.model.rope import Rope


@dataclasses.dataclass(frozen=True)
class Family:
    """An architecture of transformers, as far as its config.json goes.

    Attributes:
      model_type: Its name in lower case.
      ours: Fields of LlamaConfig that it decides.
      fixed: Fields of config.json that can have only this value here.
      head_size: Where config.json does not say: H, or None for width / heads.
    """

    model_type: str
    ours: dict
    fixed: dict
    head_size: int | None = None


FAMILIES = {
    "LlamaForCausalLM": Family(
        "llama",
        {"qkv_bias": False, "qk_norm": False},
        {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    ),
    "Qwen2ForCausalLM": Family(
        "qwen2",
        {"qkv_bias": True, "qk_norm": False},
        {"hidden_act": "silu", "use_sliding_window": False},
    ),
    "Qwen3ForCausalLM": Family(
        "qwen3",
        {"qkv_bias": False, "qk_norm": True},
        {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False},
        head_size=128,
    ),
}
# Fields of Rope -> of "llama3".
_SCALING = {
    "factor": "factor",
    "low": "low_freq_factor",
    "high": "high_freq_factor",
    "original": "original_max_position_embeddings",
}
_ROPE_TYPES = ("default", "llama3")


def parse_config(path, raw: dict, **overrides) -> LlamaConfig:
    """The model that a config.json describes.

    Args:
      path: Whose it is, for messages.
      raw: Its JSON object.
      **overrides: Fields of LlamaConfig that it does not decide.

    Raises:
      UserError: It describes what we do not model, or nothing that could be.
    """
    architectures = raw.get("architectures")
    known = [name for name in FAMILIES if architectures == [name]]
    if not known:
        raise UserError(
            f"{path} describes the architectures {architectures}; use a model of one"
            f" of {', '.join(FAMILIES)}."
        )
    family = FAMILIES[known[0]]
    _check_fixed(path, raw, family)
    try:
        heads = raw["num_attention_heads"]
        head_size = raw.get("head_dim") or family.head_size
        return LlamaConfig(
            vocab_size=raw["vocab_size"],
            width=raw["hidden_size"],
            mlp_width=raw["intermediate_size"],
            layers=raw["num_hidden_layers"],
            heads=heads,
            kv_heads=raw.get("num_key_value_heads") or heads,
            head_size=head_size or raw["hidden_size"] // heads,
            rope=_parse_rope(path, raw),
            rms_eps=raw.get("rms_norm_eps", 1e-6),
            tie_embeddings=raw.get("tie_word_embeddings", False),
            **family.ours,
            **overrides,
        )
    except KeyError as error:
        raise UserError(
            f"{path} lacks the field {error}; copy it again from where the model is."
        ) from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"{path} and the fields given beside it describe an impossible model:"
            f" {error}; mend the field."
        ) from error


def format_config(config: LlamaConfig) -> dict:
    """config.json, with the spellings that transformers 4 and 5 read.

    Raises:
      UserError: No architecture of transformers is this model.
    """
    c = config
    name = _family_of(config)
    family = FAMILIES[name]
    scheme = {"rope_type": "default"}
    if c.rope.factor != 1:
        scheme = {"rope_type": "llama3"} | {
            theirs: getattr(c.rope, ours) for ours, theirs in _SCALING.items()
        }
    return {
        "architectures": [name],
        "model_type": family.model_type,
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_size,
        "max_position_embeddings": int(c.rope.original * c.rope.factor),
        **family.fixed,
        "rms_norm_eps": c.rms_eps,
        "rope_theta": c.rope.theta,
        "rope_scaling": scheme if c.rope.factor != 1 else None,
        "rope_parameters": scheme | {"rope_theta": c.rope.theta},
        "tie_word_embeddings": c.tie_embeddings,
        "torch_dtype": c.param_dtype,
        # Without these the reference assumes ids 1 and 2.
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _family_of(config: LlamaConfig) -> str:
    """The first architecture with this model's biases and norms."""
    mine = {"qkv_bias": config.qkv_bias, "qk_norm": config.qk_norm}
    for name, family in FAMILIES.items():
        if family.ours == mine:
            return name
    raise UserError(
        f"a model with {mine} has no architecture in transformers; export one with at"
        " most one of the two."
    )


def _check_fixed(path, raw: dict, family: Family) -> None:
    """Refuses fields that ask for what we do not model."""
    expected = {
        **family.fixed,
        "quantization_config": None,
        # Sliding windows under the name that transformers 5 gives each layer.
        "layer_types": ["full_attention"] * len(raw.get("layer_types") or ()),
    }
    for name, supported in expected.items():
        found = raw.get(name)
        if found and found != supported:
            raise UserError(
                f"{path} has {name}={found!r}; only {supported!r} is supported, so"
                " use another model."
            )


def _parse_rope(path, raw: dict) -> Rope:
    """The rotation, from whichever of the two spellings are there."""
    merged: dict = {}
    for name in ("rope_scaling", "rope_parameters"):
        scheme = dict(raw.get(name) or {})
        older = scheme.pop("type", None) or "default"  # before it was rope_type
        scheme["rope_type"] = scheme.get("rope_type") or older
        _check_scheme(path, scheme)
        if raw.get(name):
            unlike = [k for k in scheme if merged.get(k, scheme[k]) != scheme[k]]
            if unlike:
                raise UserError(
                    f"{path} has {unlike[0]}={merged[unlike[0]]!r} in rope_scaling and"
                    f" {scheme[unlike[0]]!r} in rope_parameters; delete one of the two."
                )
            merged |= scheme
    theta = merged.get("rope_theta") or raw.get("rope_theta") or 10_000.0
    if merged.get("rope_type") != "llama3":
        return Rope(theta)
    return Rope(theta, **{ours: merged[theirs] for ours, theirs in _SCALING.items()})


def _check_scheme(path, scheme: dict) -> None:
    rope_type = scheme["rope_type"]
    if rope_type not in _ROPE_TYPES:
        raise UserError(
            f"{path} has rope_type={rope_type!r}; only {' and '.join(_ROPE_TYPES)} are"
            " supported, so use another model."
        )
    if scheme.get("partial_rotary_factor", 1.0) not in (None, 1.0):
        raise UserError(
            f"{path} has partial_rotary_factor={scheme['partial_rotary_factor']!r};"
            " only 1.0 is supported, so use another model."
        )
    known = {"rope_type", "rope_theta", "partial_rotary_factor", *_SCALING.values()}
    if strange := sorted(scheme.keys() - known):
        raise UserError(
            f"{path} has {strange[0]} among its rotary fields, which is not supported;"
            " use another model."
        )

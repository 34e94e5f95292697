"""The config.json of Hugging Face, read as a LlamaConfig and written from one.

transformers reads the file, with its defaults and both spellings of the rotary fields
(rope_scaling of version 4, rope_parameters of version 5). Three of its models are the
decoder of `repair`: llama (with or without Llama 3.1's rotary scaling), qwen2 (biases
on q, k and v; Qwen2.5 is one) and qwen3 (norms on q and k). A file that asks for more
is refused: its weights would load, and compute something else.
"""

import dataclasses
import pathlib

from repair.errors import UserError
from repair.model.hf.weights import read_json
from repair.model.llama import LlamaConfig
from repair.model.rope import Rope
from repair.text.tokenizer import import_transformers

# Fields of LlamaConfig that a run decides, not a folder.
RUN_FIELDS = (
    *("lora_rank", "lora_alpha", "dtype", "param_dtype"),
    *("scan_layers", "remat", "query_block"),
)


@dataclasses.dataclass(frozen=True)
class ModelFamily:
    """A model of transformers.

    Attributes:
      architecture: Its class.
      ours: Fields of LlamaConfig that it decides.
      fixed: Fields of config.json, each with the only value that is supported.
    """

    architecture: str
    ours: dict
    fixed: dict


FAMILIES = {
    "llama": ModelFamily(
        "LlamaForCausalLM",
        {"qkv_bias": False, "qk_norm": False},
        {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    ),
    "qwen2": ModelFamily(
        "Qwen2ForCausalLM",
        {"qkv_bias": True, "qk_norm": False},
        {"hidden_act": "silu", "use_sliding_window": False},
    ),
    "qwen3": ModelFamily(
        "Qwen3ForCausalLM",
        {"qkv_bias": False, "qk_norm": True},
        {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False},
    ),
}
# Types of the fields that are read; transformers 4 takes any.
_TYPES = {
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size"), (int,)),
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads"), (int,)),
    **dict.fromkeys(("num_key_value_heads", "head_dim"), (int, type(None))),
    **dict.fromkeys(("rms_norm_eps", "rope_theta"), (float, int)),
    **dict.fromkeys(("rope_scaling", "rope_parameters"), (dict, type(None))),
    "tie_word_embeddings": (bool,),
}
# Fields of Rope -> of rope_type "llama3".
_SCALING = {
    "factor": "factor",
    "low": "low_freq_factor",
    "high": "high_freq_factor",
    "original": "original_max_position_embeddings",
}


def parse_config(folder, **overrides) -> LlamaConfig:
    """Read the model that a folder's config.json describes.

    Args:
      folder: The folder.
      **overrides: Fields of LlamaConfig, such as `RUN_FIELDS`.

    Raises:
      UserError: It describes an unsupported or impossible model, or is unreadable.
    """
    path = pathlib.Path(folder) / "config.json"
    _check_types(path, read_json(path))
    try:
        c = import_transformers().AutoConfig.from_pretrained(folder)
    except Exception as error:  # of several libraries, over several lines
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"transformers cannot read {path} ({reason}); copy it again."
        ) from error
    family = FAMILIES.get(c.model_type)
    if family is None or c.architectures != [family.architecture]:
        known = ", ".join(f.architecture for f in FAMILIES.values())
        raise UserError(
            f"{path} describes model_type={c.model_type!r} with architectures"
            f" {c.architectures}; use a model of one of {known}."
        )
    # Version 4 keeps rope_theta apart, and leaves rope_parameters as it finds it.
    rope = c.rope_scaling or getattr(c, "rope_parameters", None) or {}
    _check_supported(path, c, rope, family)
    try:
        scaling = {}
        if rope.get("rope_type") == "llama3":
            scaling = {ours: rope[theirs] for ours, theirs in _SCALING.items()}
        heads = c.num_attention_heads
        return LlamaConfig(
            vocab_size=c.vocab_size,
            width=c.hidden_size,
            mlp_width=c.intermediate_size,
            layers=c.num_hidden_layers,
            heads=heads,
            kv_heads=c.num_key_value_heads,
            head_size=getattr(c, "head_dim", None) or c.hidden_size // heads,
            rope=Rope(float(rope.get("rope_theta") or c.rope_theta), **scaling),
            rms_eps=c.rms_norm_eps,
            tie_embeddings=c.tie_word_embeddings,
            **family.ours,
            **overrides,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"{path} and the run's fields describe an impossible model: {error};"
            " correct the field."
        ) from error


def format_config(config: LlamaConfig) -> dict:
    """Return config.json of a new model, in the spellings of transformers 4 and 5.

    Raises:
      UserError: No model of transformers is this one.
    """
    c = config
    biases = {"qkv_bias": c.qkv_bias, "qk_norm": c.qk_norm}
    name = next((k for k, family in FAMILIES.items() if family.ours == biases), None)
    if name is None:
        raise UserError(
            f"a model with {biases} has no architecture in transformers; export one"
            " with at most one of the two."
        )
    scheme, scaled = {"rope_type": "default"}, c.rope.factor != 1
    if scaled:
        scaling = {theirs: getattr(c.rope, ours) for ours, theirs in _SCALING.items()}
        scheme = {"rope_type": "llama3"} | scaling
    return {
        "architectures": [FAMILIES[name].architecture],
        "model_type": name,
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_size,
        "max_position_embeddings": int(c.rope.original * c.rope.factor),
        **FAMILIES[name].fixed,
        "rms_norm_eps": c.rms_eps,
        "rope_theta": c.rope.theta,
        "rope_scaling": scheme if scaled else None,
        "rope_parameters": scheme | {"rope_theta": c.rope.theta},
        "tie_word_embeddings": c.tie_embeddings,
        "torch_dtype": c.param_dtype,
        # Without it transformers warns of a fault that Mistral's tokenizers had.
        "transformers_version": import_transformers().__version__,
        # Without these transformers assumes ids 1 and 2.
        "bos_token_id": None,
        "eos_token_id": None,
    }


def update_config(config: LlamaConfig, folder) -> dict | None:
    """Return the config.json of a folder with the changes that training made.

    The result is None where the folder describes another model, or none.
    """
    path = pathlib.Path(folder) / "config.json"
    # The config.json of a tokenizer's folder may name no more than a model_type.
    if not path.is_file() or not read_json(path).get("architectures"):
        return None
    ours = {name: getattr(config, name) for name in RUN_FIELDS}
    described = parse_config(folder, **ours)
    if dataclasses.replace(described, vocab_size=config.vocab_size) != config:
        return None
    raw = read_json(path)
    dtype = "dtype" if "dtype" in raw else "torch_dtype"  # versions 5 and 4
    return raw | {"vocab_size": config.vocab_size, dtype: config.param_dtype}


def _check_types(path, raw: dict) -> None:
    """Raise UserError for a field of config.json that has another type."""
    for name, kinds in _TYPES.items():
        if name in raw and type(raw[name]) not in kinds:
            raise UserError(
                f"{path} has {name}={raw[name]!r}, expected {kinds[0].__name__};"
                " correct the field."
            )


def _check_supported(path, c, rope: dict, family: ModelFamily) -> None:
    """Raise UserError for a field that asks for more than the decoder computes."""
    expected = family.fixed | {
        "quantization_config": None,
        # Version 5 gives each layer its kind of attention.
        "layer_types": ["full_attention"] * c.num_hidden_layers,
    }
    found = {name: getattr(c, name, None) for name in expected}
    expected |= {"rope_type": "llama3", "partial_rotary_factor": 1.0}
    rope_type = rope.get("rope_type", "default")
    found["rope_type"] = None if rope_type == "default" else rope_type
    found["partial_rotary_factor"] = rope.get("partial_rotary_factor")
    for name, value in found.items():
        if value and value != expected[name]:
            raise UserError(
                f"{path} has {name}={value!r}; only {expected[name]!r} is supported,"
                " so use another model."
            )
    known = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
    if strange := sorted(rope.keys() - known - set(_SCALING.values())):
        raise UserError(
            f"{path} has {strange[0]} among its rotary fields, which is not supported;"
            " use another model."
        )

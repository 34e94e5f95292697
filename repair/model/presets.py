"""The shapes of published models, known without their weights.

Sizes are those of each model's config.json on the Hub; `load_hf` reads the same from a
folder. The other fields are for training on one accelerator: stacked layers in
bfloat16, activations computed again in the backward pass, adapters.

Sources: the Llama 3 report (arXiv 2407.21783) and Llama 3.2's model cards, SmolLM2
(arXiv 2502.02737), Qwen2.5-Coder (arXiv 2409.12186), Qwen3 (arXiv 2505.09388).
"""

import dataclasses

from repair.model.llama import LlamaConfig
from repair.model.rope import Rope

# The finetuned model of each shape.
HUB = {
    "llama32_1b": "meta-llama/Llama-3.2-1B-Instruct",
    "llama32_3b": "meta-llama/Llama-3.2-3B-Instruct",
    "llama31_8b": "meta-llama/Llama-3.1-8B-Instruct",
    "smollm2_135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "smollm2_360m": "HuggingFaceTB/SmolLM2-360M-Instruct",
    "qwen25_coder_0_5b": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
    "qwen25_coder_1_5b": "Qwen/Qwen2.5-Coder-1.5B-Instruct",
    "qwen3_0_6b": "Qwen/Qwen3-0.6B",
}

# Fields for training, then those of each family.
_ALL = LlamaConfig(
    dtype="bfloat16",
    param_dtype="bfloat16",
    scan_layers=True,
    remat="full",
    lora_rank=16,
    lora_alpha=32.0,
    query_block=512,
)
_LLAMA31 = dataclasses.replace(
    _ALL,
    vocab_size=128_256,
    rope=Rope(500_000.0, factor=8.0, low=1.0, high=4.0, original=8192),
    rms_eps=1e-5,
    tie_embeddings=False,
)
_LLAMA32 = dataclasses.replace(
    _LLAMA31,
    rope=dataclasses.replace(_LLAMA31.rope, factor=32.0),
    tie_embeddings=True,
)
_SMOLLM2 = dataclasses.replace(
    _ALL, vocab_size=49_152, rope=Rope(100_000.0), rms_eps=1e-5, tie_embeddings=True
)
_QWEN = dataclasses.replace(
    _ALL, vocab_size=151_936, rope=Rope(1_000_000.0), rms_eps=1e-6, tie_embeddings=True
)
_QWEN25 = dataclasses.replace(_QWEN, qkv_bias=True)
_QWEN3 = dataclasses.replace(_QWEN, qk_norm=True)


# D, F, L, N, K, H of each model.
_SIZES = {
    "llama32_1b": (_LLAMA32, 2048, 8192, 16, 32, 8, 64),
    "llama32_3b": (_LLAMA32, 3072, 8192, 28, 24, 8, 128),
    "llama31_8b": (_LLAMA31, 4096, 14_336, 32, 32, 8, 128),
    "smollm2_135m": (_SMOLLM2, 576, 1536, 30, 9, 3, 64),
    "smollm2_360m": (_SMOLLM2, 960, 2560, 32, 15, 5, 64),
    "qwen25_coder_0_5b": (_QWEN25, 896, 4864, 24, 14, 2, 64),
    "qwen25_coder_1_5b": (_QWEN25, 1536, 8960, 28, 12, 2, 128),
    "qwen3_0_6b": (_QWEN3, 1024, 3072, 28, 16, 8, 128),
}
_FIELDS = ("width", "mlp_width", "layers", "heads", "kv_heads", "head_size")
SHAPES = {
    name: dataclasses.replace(family, **dict(zip(_FIELDS, sizes, strict=True)))
    for name, (family, *sizes) in _SIZES.items()
}

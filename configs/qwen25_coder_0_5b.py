r"""Qwen2.5-Coder-0.5B-Instruct by the paper's recipe (repair/training/recipes.py).

  python -m repair.train --config=configs/qwen25_coder_0_5b.py:coe \
      --workdir=runs/qwen25_coder_0_5b --config.tasks.path=mbpp.jsonl

Arguments: coe (default), direct or cot; laptop, laptop_direct or laptop_cot for small
batches and contexts on two CPU cores. Weights come from the Hub, from a folder by
--config.init_from, or from a GGUF file by --config.init_from=FILE.gguf; 1.0 GB in
bfloat16. The memory that it needs on your
devices: the same command with --plan (docs/scaling.md).
Hardware, time and figures (docs/results.md):

  laptop   86 minutes of SFT on 2 CPU cores; pass@1 33.0 after SFT (seed 0, 100 bugs of
           the test split), RLVR not measured; before any training, asked for the whole
           program, the model repairs 29.0
  others   not measured
"""

from repair.training.recipes import published


def get_config(arg="coe"):
    """Return the config of a mode, such as coe, or laptop_direct."""
    c = published("qwen25_coder_0_5b", arg)
    if arg.startswith("laptop"):
        # Steps take three times as long as SmolLM2's; adapters of 9 MB in bfloat16.
        c.model.lora_rank, c.model.lora_alpha = 8, 16.0
        c.sft.steps, c.sft.eval_every, c.eval.subset = 240, 240, 64
        c.sft.optimizer.learning_rate = 1e-3
    return c

r"""Qwen2.5-Coder-0.5B-Instruct by the paper's recipe (repair/training/recipes.py).

  python -m repair.train --config=configs/qwen25_coder_0_5b.py:coe \
      --workdir=runs/qwen25_coder_0_5b --config.tasks.path=mbpp.jsonl

Arguments: coe (default), direct or cot. Weights come from the Hub, from a folder by
--config.init_from, or from a GGUF file by --config.init_from=FILE.gguf; 1.0 GB in
bfloat16. Hardware, time and figures: not measured. The memory that it needs on your
devices: the same command with --plan (docs/scaling.md).
"""

from repair.training.recipes import laptop, paper


def get_config(arg="coe"):
    """Return the config of one of the three modes, such as coe or laptop_coe."""
    if arg.partition("_")[0] == "laptop":
        return laptop("qwen25_coder_0_5b", arg.partition("_")[2])
    return paper("qwen25_coder_0_5b", arg)

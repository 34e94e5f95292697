r"""Llama-3.1-8B-Instruct by the paper's recipe (repair/training/recipes.py).

  python -m repair.train --config=configs/llama31_8b.py:coe \
      --workdir=runs/llama31_8b --config.tasks.path=mbpp.jsonl

Arguments: coe (default), direct or cot. Weights come from the Hub, or from a folder by
--config.init_from; 16 GB in bfloat16. Hardware, time and figures: not measured.
The memory that it needs on your devices: the same command with --plan
(docs/scaling.md).
"""

from repair.training.recipes import paper


def get_config(mode="coe"):
    """Return the config of one of the three modes."""
    return paper("llama31_8b", mode, data=1, fsdp=-1)

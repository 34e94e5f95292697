r"""Llama-3.2-1B-Instruct by the paper's recipe (repair/training/recipes.py).

  python -m repair.train --config=configs/llama32_1b.py:coe \
      --workdir=runs/llama32_1b --config.tasks.path=mbpp.jsonl

RLVR and evaluation start from corruptions; the paper's start from programs that a model
wrote, which --config.rlvr.bugs and --config.eval.bugs read (docs/data.md).

Arguments: coe (default), direct or cot. Weights come from the Hub, or from a folder by
--config.init_from; 2.5 GB in bfloat16. Hardware, time and figures: not measured.
The memory that it needs on your devices: the same command with --plan
(docs/scaling.md).
"""

from repair.training.recipes import paper


def get_config(mode="coe"):
    """Return the config of one of the three modes."""
    return paper("llama32_1b", mode)

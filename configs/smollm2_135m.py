r"""SmolLM2-135M-Instruct by the paper's recipe (repair/training/recipes.py).

  python -m repair.train --config=configs/smollm2_135m.py:coe \
      --workdir=runs/smollm2_135m --config.tasks.path=mbpp.jsonl

Arguments: coe (default), direct or cot. Weights come from the Hub, from a folder by
--config.init_from, or from a GGUF file by --config.init_from=FILE.gguf; 0.27 GB in
bfloat16. Hardware, time and figures: not measured. The memory that it needs on your
devices: the same command with --plan (docs/scaling.md).
"""

from repair.training.recipes import paper


def get_config(mode="coe"):
    """Return the config of one of the three modes."""
    return paper("smollm2_135m", mode)

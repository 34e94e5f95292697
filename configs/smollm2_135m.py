r"""SmolLM2-135M-Instruct by the paper's recipe (repair/training/recipes.py).

  python -m repair.train --config=configs/smollm2_135m.py:coe \
      --workdir=runs/smollm2_135m --config.tasks.path=mbpp.jsonl

Arguments: coe (default), direct or cot; laptop, laptop_direct or laptop_cot for small
batches and contexts on two CPU cores. Weights come from the Hub, from a folder by
--config.init_from, or from a GGUF file by --config.init_from=FILE.gguf; 0.27 GB in
bfloat16. The memory that it needs on your
devices: the same command with --plan (docs/scaling.md).
Hardware, time and figures (docs/results.md):

  laptop   50 minutes of SFT on 2 CPU cores; pass@1 23.4 after SFT (seed 0, 64 bugs of
           the validation split), RLVR of these settings not measured; three runs of
           others did not help
  others   not measured
"""

from repair.training.recipes import published


def get_config(arg="coe"):
    """Return the config of a mode, such as coe, or laptop_direct."""
    return published("smollm2_135m", arg)

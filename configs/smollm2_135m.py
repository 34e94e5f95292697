r"""SmolLM2-135M-Instruct by the paper's recipe (repair/training/recipes.py).

  python -m repair.train --config=configs/smollm2_135m.py:coe \
      --workdir=runs/smollm2_135m --config.tasks.path=mbpp.jsonl

Arguments: coe (default), direct or cot. Weights come from the Hub, from a folder by
--config.init_from, or from a GGUF file by --config.init_from=FILE.gguf; 0.27 GB in
bfloat16. Hardware, time and figures: not measured. The memory that it needs on your
devices: the same command with --plan (docs/scaling.md).
"""

from repair.training.recipes import laptop, paper


def get_config(arg="coe"):
    """Return the config of one of the three modes, such as coe or laptop_coe."""
    if arg.partition("_")[0] == "laptop":
        return laptop("smollm2_135m", arg.partition("_")[2])
    return paper("smollm2_135m", arg)

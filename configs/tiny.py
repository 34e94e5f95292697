"""A small Llama trained from scratch on two cores, start to end.

  python -m repair.train --config=configs/tiny.py --workdir=runs/tiny
  python -m repair.train --config=configs/tiny.py:mbpp --workdir=runs/mbpp \
      --config.tasks.path=mbpp.jsonl
  python -m repair.train --config=configs/tiny.py:direct --workdir=runs/direct

Arguments: none for generated tasks; `mbpp` for MBPP's rows in --config.tasks.path;
`direct` or `cot` for the whole program at once, or thought and then the program.
Hardware: 2 CPU cores. Figures, of docs/results.md:

  none     16 minutes; pass@1 60.7 after SFT, 73.4 after RLVR (seeds 0 to 2)
  direct   time not measured; pass@1 90.4 after SFT, 89.3 after RLVR (seeds 0 to 2)
  cot      time not measured; pass@1 76.6 after SFT, 76.0 after RLVR (seeds 0 to 2)
  mbpp     29 minutes; pass@1 6.7 after SFT, 4.4 after RLVR (seed 0)
"""

from repair.errors import UserError
from repair.training.config import defaults


def get_config(arg=""):
    """Return the config, for generated tasks or with arg "mbpp", "direct" or "cot"."""
    c = defaults()
    c.checkpoint_every = 100
    c.tasks.train_count = 4000
    c.tasks.eval_count = 128
    c.demos.per_task = 4
    c.demos.max_corruptions = 2
    c.demos.order = "top_down"
    c.sandbox.cpu_seconds = 0.3
    # Anywhere, macOS too: small programs of our own, and no file of tests to read.
    c.sandbox_level = "weak"
    c.text.prompt = "short"
    c.text.max_length = 768
    c.text.max_command = 32
    c.sampler.cohorts = 8  # on CPU few rows cost few, and waste less
    c.sft.steps = 1200
    c.sft.rows = 5
    c.sft.row_length = 768  # shorter rows are faster but leave over 5% empty
    c.sft.state_weight = 0.2
    c.sft.eval_every = 400
    c.sft.optimizer.name = "muon"
    c.sft.optimizer.learning_rate = 0.005
    c.sft.optimizer.adam_learning_rate = 0.005
    c.sft.optimizer.decay = "linear"
    # A budget rather than steps, so that all modes learn from equally many tokens.
    c.rlvr.steps, c.rlvr.sampled_tokens = 200, 100_000
    c.rlvr.eval_every = 10
    c.rlvr.rows = 4
    c.rlvr.row_length = 768
    c.rlvr.optimizer.learning_rate = 3e-4
    c.rlvr.optimizer.decay = "constant"
    c.rlvr.optimizer.warmup = 2
    if arg == "mbpp":
        c.tasks.train = "mbpp/train"
        c.tasks.eval = "mbpp/validation"
        c.tasks.train_count = 0
        c.demos.per_task = 30
        c.demos.max_corruptions = 5
        c.sandbox.cpu_seconds = 1.0
        c.sandbox_level = "standard"
        c.tasks.eval_count = 0
        c.text.max_length = 1024
        c.text.max_command = 64
        c.rlvr.row_length = 1024
    elif arg in ("direct", "cot"):
        c.mode = arg
        c.text.max_command = 256
    elif arg:
        raise UserError(
            f"no argument {arg}; expected none, or one of mbpp, direct, cot"
        )
    return c

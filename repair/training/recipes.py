"""The paper's recipe for a published model, shared by the files in configs/.

Rainone, Bakker, Memisevic 2025 (arXiv 2507.05065): LoRA of rank 16 on all linear
layers, contexts of 2,048 tokens, groups of 4, KL 0.01 to the SFT policy, clip 0.2, at
most 10 turns. Learning rates, batches, LoRA alpha and temperature are not published:
those here are our choice, and untested at this size.

The paper's RLVR and evaluation start from faulty programs that Llama-3.1-8B wrote,
which are not published. `repair.make_data --kind=faulty` has a model write some:

  --config.rlvr.bugs=data/faulty/faulty.jsonl
  --config.eval.bugs=data/faulty_test/faulty.jsonl

Without them a corruption of each of MBPP's 374 training tasks is drawn, a fresh one
each epoch; 200 steps of 64 problems are 34 epochs.
"""

import dataclasses

import ml_collections

from repair.env.tools import MODES
from repair.errors import UserError
from repair.model import presets
from repair.training.config import defaults


def paper(name: str, mode: str, **mesh: int) -> ml_collections.ConfigDict:
    """Return the config of one model, trained on MBPP.

    Args:
      name: As in `repair.model.presets`.
      mode: "coe", "direct" or "cot"; "" for the first.
      **mesh: Sizes of the mesh's axes, where they are not the default.

    Raises:
      UserError: Another mode.
    """
    mode = mode or MODES[0]
    if mode not in MODES:
        raise UserError(f"no argument {mode}; expected one of {', '.join(MODES)}")
    c = defaults()
    c.mode = mode
    c.init_from = presets.HUB[name]
    c.model.update(dataclasses.asdict(presets.SHAPES[name]))
    c.mesh.update(mesh)
    c.train = "lora"
    c.tasks.train, c.tasks.eval = "mbpp/train", "mbpp/test"
    c.text.max_length = 2048
    c.text.max_command = {"coe": 96, "direct": 512, "cot": 1024}[mode]
    c.loss_chunk = 128
    c.sampler.slots, c.sampler.prefill = 128, 16
    c.sampler.block = 1024
    c.sampler.warm_up = True
    c.sft.steps, c.sft.rows, c.sft.row_length = 1200, 32, 2048
    c.sft.optimizer.learning_rate = 2e-4
    c.rlvr.steps, c.rlvr.problems, c.rlvr.samples = 200, 64, 4
    c.rlvr.rows, c.rlvr.row_length = 32, 2048
    c.rlvr.loss.kl_coef = 0.01
    c.rlvr.loss.clip_low = c.rlvr.loss.clip_high = 0.2
    c.rlvr.optimizer.learning_rate = 2e-5
    c.rlvr.optimizer.decay = "constant"
    return c


def published(name: str, arg: str) -> ml_collections.ConfigDict:
    """Return the config of a model by the paper's recipe, or for a laptop.

    Args:
      name: As in `repair.model.presets`.
      arg: "coe", "direct" or "cot", alone or behind "laptop_"; "laptop" for the first.

    Raises:
      UserError: Another argument.
    """
    first, _, mode = arg.partition("_")
    return laptop(name, mode) if first == "laptop" else paper(name, arg)


def laptop(name: str, mode: str) -> ml_collections.ConfigDict:
    """Return the config of one model for hours on two CPU cores, trained on MBPP.

    Against the paper's recipe: float32, the short prompt, contexts of 1,024 tokens, one
    or two corruptions a program, edits from the top down, at most 4 turns, small
    batches, a higher learning rate and a cost of giving up. RLVR samples at temperature
    0.6, where the SFT policy solves four times as many of its training bugs as at 1;
    penalties alone move nothing. Its learning rate and KL are untested; three short
    runs with higher rates did not help (docs/results.md).

    Args:
      name: As in `repair.model.presets`.
      mode: "coe", "direct" or "cot"; "" for the first.

    Raises:
      UserError: Another mode.
    """
    c = paper(name, mode)
    c.model.dtype = c.model.param_dtype = "float32"
    c.model.remat = "none"
    c.loss_chunk = 0
    c.tasks.eval, c.tasks.eval_count = "mbpp/validation", 64
    c.demos.per_task, c.demos.max_corruptions = 4, 2
    c.demos.order = "top_down"
    c.rewards.exit_unsolved = -0.5
    c.text.prompt = "short"
    c.text.max_turns, c.text.max_length = 4, 1024
    c.text.max_command = {"coe": 64, "direct": 256, "cot": 384}[c.mode]
    # Verdicts take a hundredth of the time of decoding, so nothing to overlap.
    c.sampler.slots, c.sampler.cohorts, c.sampler.prefill = 32, 1, 2
    c.sampler.block, c.sampler.stragglers = 512, 0.5
    c.sampler.warm_up = False
    c.sft.steps, c.sft.rows, c.sft.row_length = 400, 1, 1024
    c.sft.share_prompts = True
    c.sft.eval_every, c.eval.subset = 100, 32
    c.sft.optimizer.learning_rate = 2e-3
    c.rlvr.steps, c.rlvr.problems, c.rlvr.samples = 20, 8, 4
    c.rlvr.rows, c.rlvr.row_length = 1, 1024
    c.rlvr.temperature, c.rlvr.advantages.outcome_gate = 0.6, True
    c.rlvr.loss.kl_coef = 0.05
    c.rlvr.eval_every = 10
    c.rlvr.optimizer.learning_rate, c.rlvr.optimizer.warmup = 5e-5, 2
    return c

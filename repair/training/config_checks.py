"""Rules that join fields of several sections of a config."""

import dataclasses

from repair.errors import UserError, expect
from repair.model import presets
from repair.model.hf.model_config import RUN_FIELDS
from repair.model.llama import LlamaConfig
from repair.model.sharding import row_parts
from repair.training.checkpoint import is_checkpoint


def check_sections(c) -> None:
    """Refuse values of a `Config` that are at odds with those of another section."""
    traces, chunk = c.demos.traces, c.loss_chunk
    _check_training(c)
    _check_shape(c)
    _check_adapter(c)
    answers = c.text.max_answers
    expected = "1 in mode 'coe', whose turns are text.max_turns"
    expect(answers == 1 or c.mode != "coe", "text.max_answers", answers, expected)
    used = not traces or (c.mode == "cot" and not c.demos.path)
    expected = "nothing but in mode 'cot' without demos.path"
    expect(used, "demos.traces", traces, expected)
    for stage, section in (("sft", c.sft), ("rlvr", c.rlvr)):
        length = section.row_length
        divides = chunk == 0 or length % chunk == 0
        expected = f"0 or a divisor of {stage}.row_length={length}"
        expect(divides or stage not in c.stages, "loss_chunk", chunk, expected)
    for stage, section in (("sft", c.sft), ("rlvr", c.rlvr)):
        useful = section.patience == 0 or section.eval_every > 0
        expected = f"0 without {stage}.eval_every"
        expect(useful, f"{stage}.patience", section.patience, expected)
    if "rlvr" in c.stages:
        samples, length = c.rlvr.samples, c.rlvr.row_length
        expect(samples >= 2, "rlvr.samples", samples, "2 or more")
        top_k, top_p = c.sampler.top_k, c.sampler.top_p
        plain = "with stage 'rlvr', which samples from the full distribution"
        expect(top_k == 0, "sampler.top_k", top_k, f"0 {plain}")
        expect(top_p == 1, "sampler.top_p", top_p, f"1.0 {plain}")
        longest = c.text.max_length
        expected = f"text.max_length={longest} or more"
        expect(length >= longest, "rlvr.row_length", length, expected)


def _check_training(c) -> None:
    """Refuse weights and optimizers that `train` makes nothing of."""
    rank, alpha = c.model.lora_rank, c.model.lora_alpha
    if c.train == "full":
        # Most updates are smaller than half a step between two bfloat16 numbers.
        dtype = c.model.param_dtype
        expected = "float32 with train='full'; model.dtype may be bfloat16"
        frozen = c.stages == ("eval",)  # nothing is trained
        expect(frozen or dtype == "float32", "model.param_dtype", dtype, expected)
        default = LlamaConfig.lora_alpha
        expected = f"{default} with model.lora_rank=0"
        expect(rank > 0 or alpha == default, "model.lora_alpha", alpha, expected)
        return
    expect(rank > 0, "model.lora_rank", rank, "1 or more with train='lora'")
    for stage, optimizer in (("sft", c.sft.optimizer), ("rlvr", c.rlvr.optimizer)):
        if stage in c.stages:
            name, decay = optimizer.name, optimizer.weight_decay
            reason = "with train='lora': it is for the matrices of the layers"
            path = f"{stage}.optimizer"
            expect(name == "adamw", f"{path}.name", name, f"'adamw' {reason}")
            expect(decay == 0, f"{path}.weight_decay", decay, f"0.0 {reason}")


def _check_adapter(c) -> None:
    """Refuse adapters beside anything but a published model."""
    given = bool(c.init_from) and not is_checkpoint(c.init_from)
    expected = "'' unless init_from is a published model"
    expect(given or not c.adapter, "adapter", c.adapter, expected)
    lora = c.train == "lora" or not c.adapter
    expect(lora, "train", c.train, "'lora' with an adapter")


def _check_shape(c) -> None:
    """Refuse a shape beside `init_from`, unless it is that of a published model."""
    if not c.init_from or is_checkpoint(c.init_from):
        return  # a checkpoint's shape is compared when it is loaded
    names = [f.name for f in dataclasses.fields(LlamaConfig)]
    names = [name for name in names if name not in RUN_FIELDS]
    known = [LlamaConfig(), *presets.SHAPES.values()]
    if all(
        [getattr(c.model, n) for n in names] != [getattr(k, n) for n in names]
        for k in known
    ):
        name = next(n for n in names if getattr(c.model, n) != getattr(known[0], n))
        value = getattr(c.model, name)
        expected = "its default: the shape comes with init_from"
        expect(False, f"model.{name}", value, expected)


def check_mesh(config, mesh) -> None:
    """Refuse batches whose rows the mesh cannot share out.

    Raises:
      UserError: The rows of a batch are no multiple of the mesh's parts.
    """
    parts = row_parts(mesh)
    for name, rows in (
        ("sft.rows / sft.accumulate", config.sft.rows // config.sft.accumulate),
        ("rlvr.rows", config.rlvr.rows),
    ):
        if name.split(".")[0] in config.stages and rows % parts:
            raise UserError(
                f"config: {name} is {rows}, expected a multiple of the mesh's {parts}"
                f" parts (data times fsdp) such as {-(-rows // parts) * parts}"
            )

"""SFT by TRL and decoding by transformers, for `benchmarks.peers`. No jax."""

import pathlib
import statistics
import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessor
from transformers.trainer_callback import TrainerCallback

from benchmarks.peer_sides.table import RANK, REPEATS, cores

COMMON = {
    "use_cpu": True,
    "bf16": False,
    "save_strategy": "no",
    "logging_steps": 1,
    "report_to": "none",
    "disable_tqdm": True,
    "lr_scheduler_type": "constant",
}


def measure(
    folder: pathlib.Path, settings: dict, inputs: dict, part: str, side: str
) -> dict:
    """Return the figures of a side of a part."""
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    if part == "sft":
        return train(folder, settings, inputs)
    return decode_rows(folder, inputs, int(part.split("_")[1]), side)


def load(folder: pathlib.Path, kind=AutoModelForCausalLM):
    """Return the policy's model in float32."""
    return kind.from_pretrained(folder / "hf", dtype="float32")


def adapters(inputs: dict):
    """Return PEFT's settings: rank and scale as ours, on all linear layers."""
    import peft

    return peft.LoraConfig(
        r=RANK,
        lora_alpha=inputs["alpha"],
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


class StepEnds(TrainerCallback):
    """Times of the ends of steps, from the beginning of the training."""

    def __init__(self):
        self.at: list[float] = []

    def on_train_begin(self, *_, **__):
        self.at.append(time.perf_counter())

    def on_step_end(self, *_, **__):
        self.at.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Seconds of each step, with the loading of its data."""
        return [end - start for start, end in zip(self.at, self.at[1:], strict=False)]


def train(folder: pathlib.Path, settings: dict, inputs: dict) -> dict:
    """Measure steps of SFTTrainer on the same token ids."""
    import datasets
    import trl

    tokens: list[int] = []

    class Counted(trl.SFTTrainer):
        def training_step(self, model, batch, *args):
            tokens.append(int((batch["input_ids"] >= 0).sum()))
            return super().training_step(model, batch, *args)

    rows = [
        {
            "input_ids": each["ids"],
            "completion_mask": [int(turn >= 0) for turn in each["turns"]],
        }
        for each in inputs["episodes"]
    ]
    ends = StepEnds()
    with tempfile.TemporaryDirectory() as out:
        arguments = trl.SFTConfig(
            output_dir=out,
            max_steps=settings["sft_steps"] + 1,
            per_device_train_batch_size=1,
            max_length=settings["row_length"],
            packing=True,
            completion_only_loss=True,
            gradient_checkpointing=False,  # ours has no remat
            learning_rate=inputs["learning_rates"]["sft"],
            **COMMON,
        )
        trainer = Counted(
            model=load(folder),
            args=arguments,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer_of(folder),
            peft_config=adapters(inputs),
            callbacks=[ends],
        )
        found = trainer.train()
    return {
        "tokens_per_second": sum(tokens[1:]) / sum(ends.seconds[1:]),
        "row_tokens": statistics.mean(tokens[1:]),
        "step_seconds": ends.seconds[1:],
        "warm_up_seconds": ends.seconds[0],
        "loss": found.training_loss,
    }


class _Stamp(LogitsProcessor):
    """Notes when the prompts are processed, as the first logits are there."""

    at = 0.0

    def __call__(self, input_ids, scores):
        self.at = self.at or time.perf_counter()
        return scores


def decode_rows(folder: pathlib.Path, inputs: dict, rows: int, side: str) -> dict:
    """Measure `generate` from the same prompts, once they are processed."""
    model = load(folder).eval()
    static = side != "transformers"
    ids, new = torch.tensor(inputs["prompts"][:rows]), inputs["new"]
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=new,
        pad_token_id=0,
        cache_implementation="static" if static else None,
    )
    prefills, decodes = [], []
    for _ in range(REPEATS + 1):  # the first warms up
        stamp, started = _Stamp(), time.perf_counter()
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), logits_processor=[stamp]
            )
        ended = time.perf_counter()
        assert out.shape == (rows, ids.shape[1] + new)
        prefills.append(stamp.at - started)
        decodes.append(ended - stamp.at)
    return {
        "tokens_per_second": rows * new / statistics.median(decodes[1:]),
        "prefill_seconds": statistics.median(prefills[1:]),
        "warm_up_seconds": prefills[0] + decodes[0],
    }


def tokenizer_of(folder: pathlib.Path):
    """Return the policy's tokenizer with a template of chats that TRL can read.

    Tokens of that template that the policy's own tokenizer lacks are added.
    """
    import transformers
    from trl.chat_template_utils import qwen3_instruct_2507_chat_template

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "hf" / "tokenizer.json"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=qwen3_instruct_2507_chat_template,
    )
    return tokenizer

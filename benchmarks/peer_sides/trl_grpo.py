"""Rollouts and a step of TRL's GRPOTrainer, for `benchmarks.peers`. No jax.

The model's `generate` is the real one. A logits processor chooses its tokens, so that
each episode says the commands that our policy sampled for it, each as a tool call.
"""

import json
import pathlib
import tempfile
import time
from collections.abc import Sequence

import torch
import trl
from transformers import LlamaForCausalLM, LogitsProcessor

from benchmarks.peer_sides.table import cores
from benchmarks.peer_sides.theirs import (
    COMMON,
    StepEnds,
    adapters,
    load,
    tokenizer_of,
)
from repair.demos.records import read_demos
from repair.env import Environment, Rewards
from repair.integrations.problems import Problems
from repair.integrations.trl_env import RepairEnvironment, make_dataset
from repair.sandbox import Limits, Sandbox

_MOST_TOKENS = 16_384  # of an episode: none is cut by it
_ROWS = 2  # of a micro-batch: logits of more need too much memory


class _Script(LogitsProcessor):
    """Leaves one token possible: the next one of each row's reply."""

    def __init__(self, replies: Sequence[list[int]], start: int, end: int):
        self._replies, self._start, self._end = replies, start, end

    def __call__(self, input_ids, scores):
        place = input_ids.shape[1] - self._start
        chosen = [
            reply[place] if place < len(reply) else self._end for reply in self._replies
        ]
        only = torch.full_like(scores, -torch.inf)
        only[torch.arange(len(chosen)), chosen] = 0.0
        return only


class ScriptedLlama(LlamaForCausalLM):
    """A Llama whose episodes say given replies; it counts and times its work.

    Attributes:
      seconds: Of `generate`.
      sampled: Tokens of the replies.
    """

    def play(self, scripts: Sequence[Sequence[list[int]]]) -> None:
        """Start anew: row i of the first batch says the replies of scripts[i]."""
        self._scripts = [list(replies) for replies in scripts]
        self._seen: list[list[int] | None] = [None] * len(scripts)
        self.seconds, self.sampled = 0.0, 0

    def generate(self, input_ids, attention_mask, **options):
        """Generate the next reply of each row."""
        started = time.perf_counter()
        replies = []
        for row, mask in zip(input_ids, attention_mask, strict=True):
            context = row[mask.bool()].tolist()
            index = next(
                i for i, old in enumerate(self._seen) if _goes_on(old, context)
            )
            replies.append(self._scripts[index].pop(0))
            self._seen[index] = context + replies[-1]
        self.sampled += sum(map(len, replies))
        script = _Script(replies, input_ids.shape[1], replies[0][-1])
        out = super().generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            logits_processor=[script],
            **options,
        )
        self.seconds += time.perf_counter() - started
        return out


def _goes_on(old: list[int] | None, context: list[int]) -> bool:
    """Return True if a context begins, or extends an old one id by id."""
    return old is None or (len(context) > len(old) and context[: len(old)] == old)


class _Enough(Exception):
    """Ends the training once the rollouts are there."""


class TimedTrainer(trl.GRPOTrainer):
    """Plays scripts and times the rollouts of each step.

    Attributes:
      scripts: Those of the steps to come.
      rollouts_end_it: True to end at the last script's rollouts, without an update.
      rollout_seconds: Of each step.
    """

    scripts: list
    rollouts_end_it = False

    def _generate_and_score_completions(self, inputs):
        self.model.get_base_model().play(self.scripts.pop(0))
        self._started = time.perf_counter()
        return super()._generate_and_score_completions(inputs)

    def _generate(self, prompts):
        found = super()._generate(prompts)
        self.rollout_seconds.append(time.perf_counter() - self._started)
        if self.rollouts_end_it and not self.scripts:
            raise _Enough
        return found


def measure(folder: pathlib.Path, settings: dict, inputs: dict, part: str) -> dict:
    """Return the figures of the second step; in the first no episode has a command."""
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    limits = Limits(cpu_seconds=inputs["cpu_seconds"])
    rewards, turns = Rewards(**inputs["rewards"]), settings["turns"]
    with (
        Sandbox(limits=limits, cache=False) as sandbox,
        tempfile.TemporaryDirectory() as out,
    ):
        problems = Problems(
            [demo.bug for demo in read_demos(folder / "bugs.jsonl")],
            lambda: Environment(sandbox, rewards, turns),
            inputs["prompt"],
        )
        trainer, made, ends = _trainer(folder, out, problems, settings, inputs)
        trainer.rollouts_end_it = part == "rollouts"
        try:
            trainer.train()
        except _Enough:
            ends.at.append(time.perf_counter())
    return _figures(trainer, made, ends.seconds, inputs)


def _trainer(folder: pathlib.Path, out: str, problems, settings: dict, inputs: dict):
    """Return the trainer, the list that its environments are put in, and its clock."""
    tokenizer, model = tokenizer_of(folder), load(folder, ScriptedLlama)
    if len(tokenizer) > model.config.vocab_size:
        model.resize_token_embeddings(len(tokenizer))
    model.config.max_position_embeddings = _MOST_TOKENS
    made: list[RepairEnvironment] = []

    def factory() -> RepairEnvironment:
        made.append(RepairEnvironment(problems))
        return made[-1]

    ends, episodes = StepEnds(), settings["bugs"] * settings["samples"]
    trainer = TimedTrainer(
        model=model,
        args=trl.GRPOConfig(
            output_dir=out,
            max_steps=2,
            per_device_train_batch_size=_ROWS,
            gradient_accumulation_steps=episodes // _ROWS,
            num_generations=settings["samples"],
            max_completion_length=_MOST_TOKENS,
            gradient_checkpointing=False,  # ours has no remat
            shuffle_dataset=False,
            beta=0.01,
            epsilon=0.2,
            learning_rate=inputs["learning_rates"]["grpo"],
            **COMMON,
        ),
        train_dataset=make_dataset(problems),
        processing_class=tokenizer,
        environment_factory=factory,
        peft_config=adapters(inputs),
        callbacks=[ends],
    )
    commands = inputs["commands"]
    steps = [[] for _ in commands], commands
    trainer.scripts = [[_replies(tokenizer, each) for each in step] for step in steps]
    trainer.rollout_seconds = []
    return trainer, made, ends


def _replies(tokenizer, commands: Sequence[str]) -> list[list[int]]:
    """Return the token ids of an episode's replies: calls of the tool, and one more."""
    calls = [{"name": "edit", "arguments": {"command": each}} for each in commands]
    texts = [f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls]
    return [
        [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        for text in [*texts, "Done."]
    ]


def _figures(trainer: TimedTrainer, made, seconds: list[float], inputs: dict) -> dict:
    model, rollouts = trainer.model.get_base_model(), trainer.rollout_seconds[-1]
    turns = sum(len(environment.turns) for environment in made)
    expected = sum(map(len, inputs["commands"]))
    assert turns == expected, f"{turns} turns, but ours has {expected}"
    return {
        "seconds": seconds[-1],
        "warm_up_seconds": seconds[0],
        "update_seconds": seconds[-1] - rollouts,
        "steps_per_second": turns / rollouts,
        "idle": 1 - model.seconds / rollouts,
        "turns": turns,
        "sampled_tokens": model.sampled,
        "trained_tokens": model.sampled,
    }

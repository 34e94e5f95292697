"""Inputs that all sides share: weights, token ids, bugs, commands of episodes."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np

from benchmarks import decode
from benchmarks.peer_sides.table import GGUF, RANK
from configs import smollm2_135m, tiny
from repair.demos.make import Demo
from repair.demos.records import read_demos, write_demos
from repair.model.api import Model
from repair.model.hf.folder import load_hf, save_hf
from repair.model.hf.gguf_model import save_gguf
from repair.model.lora import init_adapters
from repair.rollout.clock import Clock
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.rollout import Rollout
from repair.rollout.sampling import Sampling
from repair.sandbox import Sandbox
from repair.text.episodes import encode_demos
from repair.text.tokenizer import load_tokenizer
from repair.training.config import Config, read
from repair.training.policy import load_policy, make_policy
from repair.training.run import run
from repair.training.task_set import RepairTaskSet

ROWS = 64  # most rows of decoding
HF, BUGS = "hf", "bugs.jsonl"


def config_of(settings: dict) -> Config:
    """Return the config of the policy, which both sides are measured with."""
    if settings["model"] == "tiny":
        c = tiny.get_config("mbpp")
    else:
        c = smollm2_135m.get_config("laptop")
        c.init_from = settings["model"]
    c.tasks.path = settings["tasks"]
    c.tasks.train_count = settings["policy_tasks"]
    c.stages = ("sft",)
    c.sft.steps, c.sft.eval_every = settings["policy_steps"], 0
    c.text.max_turns, c.text.max_length = settings["turns"], settings["length"]
    c.sampler.slots = settings["bugs"] * settings["samples"]
    c.sampler.cohorts = 2
    c.rlvr.problems, c.rlvr.samples = settings["bugs"], settings["samples"]
    c.rlvr.rows, c.rlvr.row_length = 1, settings["length"]
    c.rlvr.loss.kl_coef = 0.01
    return read(c)


def make(folder: pathlib.Path, settings: dict) -> dict:
    """Train the policy, write its weights and bugs; return the other inputs as JSON."""
    workdir = folder / "policy"
    run(config_of(settings), workdir)
    policy = load_policy(workdir / "checkpoints" / "sft")
    tokenizer = workdir / "tokenizer"
    save_hf(folder / HF, policy.model.config, policy.params, tokenizer)
    if settings["model"] != "tiny":  # whose tokenizer llama.cpp does not know
        shape, params = policy.model.config, policy.params
        save_gguf(folder / GGUF, shape, params, tokenizer, gguf_type="F32")
    demos = read_demos(workdir / "demos.jsonl")
    write_demos(folder / BUGS, _some(demos, settings["bugs"]))
    examples = encode_demos(policy.engine.tokenizer, demos)
    context, vocabulary = settings["context"], policy.engine.tokenizer.vocab_size
    rng = np.random.default_rng(0)
    player = Player(folder, settings)
    with player.sandbox:
        rollouts, _ = player.play()
    return {
        "episodes": [
            {"ids": each.ids.tolist(), "turns": each.turns.tolist()}
            for each in examples
            if len(each) <= settings["row_length"]
        ],
        "prompts": rng.integers(1, vocabulary, (ROWS, context)).tolist(),
        "new": decode.NEW,
        "commands": [rollout.commands for rollout in rollouts],
        "rewards": dataclasses.asdict(player.config.rewards),
        "cpu_seconds": player.config.sandbox.cpu_seconds,
        "prompt": player.config.text.prompt,
        "alpha": player.model.config.lora_alpha,
        "learning_rates": {
            "sft": player.config.sft.optimizer.learning_rate,
            "grpo": player.config.rlvr.optimizer.learning_rate,
        },
    }


def _some(demos: list[Demo], count: int) -> list[Demo]:
    """Return one demonstration of each of the first tasks, for its bug."""
    first: dict[str, Demo] = {}
    for demo in demos:
        first.setdefault(demo.bug.task.task_id, demo)
    return list(first.values())[:count]


def load(folder: pathlib.Path, settings: dict) -> tuple[Config, Model, dict]:
    """Return config, model in float32, and all parameters with fresh adapters."""
    config = config_of(settings)
    shape, params = load_hf(
        folder / HF,
        dtype="float32",
        param_dtype="float32",
        remat="none",
        lora_rank=RANK,
        lora_alpha=config.model.lora_alpha,
    )
    params |= jax.jit(functools.partial(init_adapters, shape))(jax.random.key(0))
    return config, Model(shape), params


class Player:
    """Our engine with the bugs of the comparison, on all devices there are.

    Attributes:
      config: The run's config.
      model: The decoder.
      params: Its parameters, with fresh adapters.
      sandbox: To be used in a `with`.
    """

    def __init__(self, folder: pathlib.Path, settings: dict):
        self.config, self.model, self.params = load(folder, settings)
        self.sandbox = Sandbox(limits=self.config.sandbox, cache=False)
        self._bugs = [demo.bug for demo in read_demos(folder / BUGS)]
        self._sampling = Sampling(self.config.rlvr.temperature)
        tokenizer = load_tokenizer(folder / HF, self.config.text.prompt)
        task_set = RepairTaskSet(self.config)
        self._engine = make_policy(
            task_set, self.model, tokenizer, self.sandbox, self.params
        ).engine

    def warm_up(self) -> None:
        """Compile the sampler's programs."""
        self._engine.warm_up(self.params, self._sampling)

    def play(self) -> tuple[list[Rollout], Clock]:
        """Play the episodes, the same at every call."""
        clock = Clock()
        rollouts = collect_rollouts(
            self._engine,
            self.params,
            self._bugs,
            self.config.rlvr.samples,
            self._sampling,
            RolloutSeed(self.config.seed, 1),
            Observer(clock=clock),
        )
        return rollouts, clock

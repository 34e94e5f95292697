"""The configuration of a run, its defaults, and the checks across its sections.

Defaults and ranges live in the dataclass of each section and nowhere else. A file in
`configs/` starts from `defaults()`, changes some fields and returns the ConfigDict,
which absl's `config_flags` then lets the command line override; `read` turns the result
into the frozen `Config` that everything else takes.
"""

import dataclasses

import ml_collections

from repair.env.rewards import Rewards
from repair.env.tools import MODES
from repair.errors import FieldError, UserError, expect
from repair.model.llama import LlamaConfig
from repair.model.lora import MODES as TRAINABLE
from repair.model.sharding import row_parts
from repair.rollout.engine import SamplerConfig
from repair.sandbox import LEVELS, Limits
from repair.tasks.bugs import CorruptionConfig
from repair.text.prompts import PROMPTS
from repair.training.fields import from_dict
from repair.training.rlvr import RlvrConfig
from repair.training.sft import SftConfig

STAGES = ("sft", "rlvr", "eval")


@dataclasses.dataclass(frozen=True)
class TasksConfig:
    """Sources of tasks; see `repair.tasks.load_tasks` for the names.

    Attributes:
      train: Tasks of both training stages.
      eval: Tasks of the evaluation, never trained on.
      path: File with MBPP's rows, for "mbpp/SPLIT"; or any tasks file, which then
        takes the place of `train`.
      eval_path: File of the evaluation's tasks. Where only `path` is given, and it
        holds no rows of the `eval` split, every tenth of its programs is held out.
      train_count: Most training tasks; 0 for all of a file, or the default number of
        `repair.tasks.generated`.
      eval_count: Most tasks of the evaluation; 0 as for `train_count`.
    """

    train: str = "generated/train"
    eval: str = "generated/test"
    path: str = ""
    eval_path: str = ""
    train_count: int = 0
    eval_count: int = 0


@dataclasses.dataclass(frozen=True)
class DemosConfig(CorruptionConfig):
    """Corruptions of programs, and sources of demonstrations.

    Attributes:
      path: Demonstrations for SFT that `repair.make_data` made, a file or its folder;
        "" to make them in the run.
      traces: A file of reasoning traces (`repair.demos.traces`) for SFT in mode "cot",
        in the place of worded edits; "" for worded edits.
    """

    path: str = ""
    traces: str = ""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Tokenizer and prompt.

    Attributes:
      tokenizer: A folder with a tokenizer.json, or a model as in `init_from`; "" for
        that of `init_from`, or else to train one of model.vocab_size ids on the run's
        own demonstrations. The workdir keeps it.
      prompt: "full" as in the paper, or "short" for a model trained from scratch.
      max_turns: Longest episode in commands.
      max_length: Longest context in tokens.
      max_command: Longest command in tokens.
    """

    tokenizer: str = ""
    prompt: str = "full"
    max_turns: int = 10
    max_length: int = 2048
    max_command: int = 64

    def __post_init__(self):
        prompts = ", ".join(PROMPTS)
        expect(self.prompt in PROMPTS, "prompt", self.prompt, f"one of {prompts}")
        expect(self.max_turns >= 1, "max_turns", self.max_turns, "1 or more")
        expected = f"1 to below max_length={self.max_length}"
        room = 1 <= self.max_command < self.max_length
        expect(room, "max_command", self.max_command, expected)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices in three axes, whose sizes multiply to their number; see docs/scaling.md.

    Attributes:
      data: Devices with other rows and the same weights; -1 for all that are left.
      fsdp: Devices with other rows and other parts of the weights.
      tensor: Devices with other heads and other parts of the mlp, within a process.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation of a policy.

    Attributes:
      samples: Sampled episodes of each bug; also the k of pass@k.
      temperature: Of the sampled episodes; pass@1 is greedy.
    """

    samples: int = 4
    temperature: float = 0.8

    def __post_init__(self):
        for name in ("samples", "temperature"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Loggers besides metrics.jsonl; see `repair.training.loggers`.

    Attributes:
      tensorboard: True to write TensorBoard's event files into the workdir.
      wandb: True to log to Weights & Biases.
      project: The project on Weights & Biases.
    """

    tensorboard: bool = False
    wandb: bool = False
    project: str = "repair"


@dataclasses.dataclass(frozen=True)
class Config:
    """One run.

    Attributes:
      seed: Seed of everything random.
      task_set: Name of the task set: "repair", or that of a class of one's own, which
        must then be given to the run; see `repair.training.task_set`.
      mode: "coe" for the editor, "direct" for the whole program at once, "cot" for
        thought and then the program.
      stages: Stages of the run, in order; of "sft", "rlvr" and "eval".
      checkpoint_every: Steps between checkpoints.
      init_from: A folder in Hugging Face's format to start from, the name of a model on
        its Hub, or a GGUF file; "" for random weights of the shape in `model`.
      train: "full", or "lora" for the adapters alone.
      loss_chunk: Tokens of each row whose logits exist at once in training, a divisor
        of the stages' row_length; 0 for all. Large vocabularies need it.
      sandbox_level: Isolation that RLVR requires of the sandbox: "full", "standard" or
        "weak"; see `repair.sandbox.Level`.
      sandbox_workers: Processes that run programs; 0 for one on each core that this
        machine, its affinity and its control group leave.
    """

    seed: int = 0
    task_set: str = "repair"
    mode: str = "coe"
    stages: tuple[str, ...] = STAGES
    checkpoint_every: int = 100
    init_from: str = ""
    train: str = "full"
    loss_chunk: int = 0
    sandbox_level: str = "standard"
    sandbox_workers: int = 0
    tasks: TasksConfig = TasksConfig()
    demos: DemosConfig = DemosConfig()
    rewards: Rewards = Rewards()
    sandbox: Limits = Limits()
    text: TextConfig = TextConfig()
    model: LlamaConfig = LlamaConfig()
    mesh: MeshConfig = MeshConfig()
    sampler: SamplerConfig = SamplerConfig()
    sft: SftConfig = SftConfig()
    rlvr: RlvrConfig = RlvrConfig()
    eval: EvalConfig = EvalConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self):
        stages = bool(self.stages) and set(self.stages) <= set(STAGES)
        expect(stages, "stages", self.stages, f"some of {', '.join(STAGES)}")
        for name, known in (
            ("mode", MODES),
            ("train", TRAINABLE),
            ("sandbox_level", LEVELS),
        ):
            value = getattr(self, name)
            expect(value in known, name, value, f"one of {', '.join(known)}")
        workers, every = self.sandbox_workers, self.checkpoint_every
        expect(workers >= 0, "sandbox_workers", workers, "0 or more")
        expect(every >= 1, "checkpoint_every", every, "1 or more")


def defaults() -> ml_collections.ConfigDict:
    """Return all fields with their defaults, locked against misspelt ones."""
    return ml_collections.ConfigDict(dataclasses.asdict(Config())).lock()


def read(config: ml_collections.ConfigDict) -> Config:
    """Return the frozen config.

    Raises:
      UserError: A field is unknown, of the wrong type, or at odds with another.
    """
    result = from_dict(config.to_dict(), Config)
    try:
        _check_sections(result)
    except FieldError as error:
        raise UserError(f"config: {error}") from error
    return result


def _check_sections(c: Config) -> None:
    """Refuse values that are at odds with those of another section."""
    rank, traces, chunk = c.model.lora_rank, c.demos.traces, c.loss_chunk
    trained = c.train != "lora" or rank > 0
    expect(trained, "model.lora_rank", rank, "1 or more with train='lora'")
    used = not traces or (c.mode == "cot" and not c.demos.path)
    expected = "nothing but in mode 'cot' without demos.path"
    expect(used, "demos.traces", traces, expected)
    for stage, section in (("sft", c.sft), ("rlvr", c.rlvr)):
        length = section.row_length
        divides = chunk == 0 or (chunk > 0 and length % chunk == 0)
        expected = f"0 or a divisor of {stage}.row_length={length}"
        expect(divides or stage not in c.stages, "loss_chunk", chunk, expected)
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


def check_mesh(config: Config, mesh) -> None:
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

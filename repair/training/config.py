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
from repair.errors import (
    MOST,
    MOST_SAMPLES,
    MOST_SEED,
    MOST_TEMPERATURE,
    FieldError,
    UserError,
    expect,
    expect_between,
)
from repair.model import presets
from repair.model.hf.model_config import RUN_FIELDS
from repair.model.llama import LlamaConfig
from repair.model.lora import MODES as TRAINABLE
from repair.model.sharding import row_parts
from repair.rollout.engine import SamplerConfig
from repair.sandbox import LEVELS, Limits
from repair.tasks.bugs import CorruptionConfig
from repair.text.prompts import PROMPTS
from repair.training.checkpoint import is_checkpoint
from repair.training.fields import from_dict
from repair.training.rlvr import RlvrConfig
from repair.training.sft import SftConfig

STAGES = ("sft", "rlvr", "eval")
BEST_OF = ("pass@1", "shown_pass@1")


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

    def __post_init__(self):
        expect_between(self, 0, MOST, "train_count", "eval_count")


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
      tokenizer: A folder with a tokenizer.json, or "" to train one of model.vocab_size
        ids on the run's own demonstrations and keep it in the workdir.
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
        expect_between(self, 1, MOST, "max_turns")
        expect_between(self, 2, MOST, "max_length")
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

    def __post_init__(self):
        for name in ("data", "fsdp", "tensor"):
            value = getattr(self, name)
            size = value == -1 or 1 <= value <= MOST
            expect(size, name, value, "1 or more, or -1 for all devices that are left")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation of a policy.

    Attributes:
      samples: Sampled episodes of each bug; also the highest k of pass@k.
      temperature: Of the sampled episodes; pass@1 is greedy.
      subset: Held-out bugs, and demonstrations, of the evaluations during training.
      seed: Seed of the bugs, and of the sampled episodes; apart from the run's, so that
        runs of all seeds are measured on the same bugs.
    """

    samples: int = 4
    temperature: float = 0.8
    subset: int = 64
    seed: int = 0

    def __post_init__(self):
        expect_between(self, 0, MOST_SAMPLES, "samples")
        expect_between(self, 0, MOST_TEMPERATURE, "temperature")
        expect_between(self, 1, MOST, "subset")
        expect_between(self, 0, MOST_SEED, "seed")


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
      checkpoint_minutes: Minutes after which the next step is saved too; 0 for steps
        alone.
      keep: Latest checkpoints of a stage that are kept, beside the best one.
      best_of: Figure of the evaluations during training that the best checkpoint has
        most of: "pass@1", or "shown_pass@1" of the shown tests alone.
      init_from: A folder in Hugging Face's format to start from, or the name of a model
        on its Hub; or a checkpoint of another run, such as RUN/checkpoints/sft; "" for
        random weights of the shape in `model`.
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
    checkpoint_minutes: float = 10.0
    keep: int = 2
    best_of: str = "pass@1"
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
        in_order = sorted(set(self.stages), key=STAGES.index)
        expected = f"each once, in the order {','.join(in_order)}"
        expect(list(self.stages) == in_order, "stages", self.stages, expected)
        for name, known in (
            ("mode", MODES),
            ("train", TRAINABLE),
            ("sandbox_level", LEVELS),
            ("best_of", BEST_OF),
        ):
            value = getattr(self, name)
            expect(value in known, name, value, f"one of {', '.join(known)}")
        expect_between(self, 0, MOST_SEED, "seed")
        expect_between(self, 1, MOST, "checkpoint_every", "keep")
        expect_between(self, 0, MOST, "loss_chunk")
        expect_between(self, 0, 10_000, "sandbox_workers")
        expect_between(self, 0, MOST, "checkpoint_minutes")


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
    traces, chunk = c.demos.traces, c.loss_chunk
    _check_training(c)
    _check_shape(c)
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


def _check_training(c: Config) -> None:
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


def _check_shape(c: Config) -> None:
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

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
from repair.model.llama import LlamaConfig
from repair.model.lora import MODES as TRAINABLE
from repair.rollout.engine import SamplerConfig
from repair.sandbox import LEVELS, Limits
from repair.tasks.bugs import CorruptionConfig, check_bugs
from repair.text.prompts import PROMPTS
from repair.training.config_checks import check_sections
from repair.training.fields import from_dict
from repair.training.rlvr_config import RlvrConfig
from repair.training.sft import SftConfig

STAGES = ("sft", "rlvr", "eval")
BEST_OF = ("pass@1", "shown_pass@1")


@dataclasses.dataclass(frozen=True)
class TasksConfig:
    """Sources of tasks; see `repair.tasks.load_tasks` for the names.

    Attributes:
      train: Tasks of both training stages.
      eval: Tasks of the evaluation, never trained on.
      path: File, folder or Hub dataset with MBPP's rows, for "mbpp/SPLIT"; or any
        tasks, which then take the place of `train`.
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
      tokenizer: A folder with a tokenizer.json, or a model as in `init_from`; "" for
        that of `init_from`, or else to train one of model.vocab_size ids on the run's
        own demonstrations. The workdir keeps it.
      prompt: "full" as in the paper, "chat" for the same by the model's chat template,
        or "short" for a model trained from scratch.
      examples: Demonstrations that stand in front of every prompt (few-shot), a file as
        `repair.make_data` writes it or its folder; "" for none.
      max_turns: Longest episode in commands of the editor.
      max_answers: Most answers of an episode in modes "direct" and "cot". Each after
        the first sees its program and what the tests said about it.
      max_length: Longest context in tokens.
      max_command: Longest command in tokens.
    """

    tokenizer: str = ""
    prompt: str = "full"
    examples: str = ""
    max_turns: int = 10
    max_answers: int = 1
    max_length: int = 2048
    max_command: int = 64

    def __post_init__(self):
        prompts = ", ".join(PROMPTS)
        expect(self.prompt in PROMPTS, "prompt", self.prompt, f"one of {prompts}")
        expect_between(self, 1, MOST, "max_turns", "max_answers")
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
      bugs: A file of faulty programs to measure on, as `repair.make_data --kind=faulty`
        writes it, in the place of `tasks.eval`; "" for corruptions. Training tasks of
        the same programs are left out.
      bugs_per_task: Corruptions of each task.
    """

    samples: int = 4
    temperature: float = 0.8
    subset: int = 64
    seed: int = 0
    bugs: str = ""
    bugs_per_task: int = 1

    def __post_init__(self):
        expect_between(self, 0, MOST_SAMPLES, "samples")
        expect_between(self, 0, MOST_TEMPERATURE, "temperature")
        expect_between(self, 1, MOST, "subset")
        expect_between(self, 0, MOST_SEED, "seed")
        check_bugs(self.bugs, self.bugs_per_task)


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
      init_from: A folder in Hugging Face's format to start from, the name of a model on
        its Hub, or a GGUF file; or a checkpoint of another run, such as
        RUN/checkpoints/sft; "" for random weights of the shape in `model`.
      adapter: Folder of adapters in PEFT's format to start from, on the model of
        `init_from`; "" for new ones.
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
    adapter: str = ""
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
        check_sections(result)
    except FieldError as error:
        raise UserError(f"config: {error}") from error
    return result

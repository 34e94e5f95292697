"""The whole configuration of a run, its defaults, and its checks.

Defaults live in the dataclasses and nowhere else. A file in `configs/` starts from
`defaults()`, changes what it wants and returns the ConfigDict, which absl's
`config_flags` then lets the command line override; `read` turns the result into the
frozen `Config` that everything else takes.
"""

import dataclasses

import ml_collections

from repair.demos.make import ORDERS
from repair.env.rewards import Rewards
from repair.env.tools import MODES
from repair.errors import UserError
from repair.model.llama import LlamaConfig
from repair.model.lora import MODES as TRAINABLE
from repair.model.sharding import row_parts
from repair.rollout.sampling import Sampling
from repair.sandbox import LEVELS, Limits
from repair.tasks.corrupt import ALL_KINDS, KINDS
from repair.text.prompts import PROMPTS
from repair.training.evaluation import EvalConfig
from repair.training.fields import from_dict
from repair.training.rlvr import RlvrConfig
from repair.training.sft import SftConfig

STAGES = ("sft", "rlvr", "eval")


@dataclasses.dataclass(frozen=True)
class TasksConfig:
    """Where tasks come from; see `repair.tasks.load_tasks` for the names.

    Attributes:
      train: Tasks of both training stages.
      eval: Tasks of the evaluation, never trained on.
      path: File with MBPP's rows, for "mbpp/SPLIT"; or any tasks file, which then
        takes the place of `train`.
      eval_path: The same for `eval`. Where only `path` is given, and it holds no rows
        of the `eval` split, every tenth of its programs is held out.
      train_count: At most so many training tasks; 0 for all that a file has, or as
        many as `repair.tasks.generated` makes unasked.
      eval_count: The same for evaluation.
    """

    train: str = "generated/train"
    eval: str = "generated/test"
    path: str = ""
    eval_path: str = ""
    train_count: int = 0
    eval_count: int = 0


@dataclasses.dataclass(frozen=True)
class DemosConfig:
    """How programs are broken and demonstrated.

    Attributes:
      per_task: Demonstrations of a task.
      min_corruptions: Fewest corruptions of a program.
      max_corruptions: Most corruptions of a program (paper: 5).
      order: "reversed" as in the paper, or "top_down".
      kinds: Kinds of corruption, drawn uniformly.
      path: A folder with demonstrations that `repair.make_data` made, which then take
        the place of all this in stage one; "" to make them in the run.
      traces: A file of reasoning traces (`repair.demos.traces`) for mode "cot" to learn
        to think from in stage one, in the place of worded edits; "" for these.
    """

    per_task: int = 100
    min_corruptions: int = 1
    max_corruptions: int = 5
    order: str = "reversed"
    kinds: tuple[str, ...] = KINDS
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


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices in three axes, whose sizes multiply to their number; see docs/scaling.md.

    Attributes:
      data: Devices with other rows and the same weights; -1 for what is left.
      fsdp: Devices with other rows and other parts of the weights.
      tensor: Devices with other heads and other parts of the mlp, within a process.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How the policy plays, in training and evaluation.

    Attributes:
      slots: Episodes at once on each device, or few that share a model's heads.
      cohorts: Parts of the slots that take turns there, so that it has work while the
        sandbox judges the others; 1 for no overlap.
      places: Most devices (or few that share a model's heads) of a process that play,
        each with programs that are compiled for it alone; 0 for all.
      prefill: Prompts processed at once.
      stragglers: Share of a cohort that may be left in the midst of a command, rather
        than that all wait for the longest; below 1.
      block: Known tokens that the model processes at once, of several episodes: more
        on an accelerator.
      lengths: Allowed lengths of the cache; max_length is always one of them.
      cache_dtype: Type of the cache's keys and values; "" for the activations'.
      top_k: In evaluation only: draw from the k likeliest tokens; 0 for all. RLVR
        samples from the full distribution.
      top_p: In evaluation only: draw from the likeliest tokens that together reach this
        probability; 1 for all.
      warm_up: Whether to compile for all lengths before the first step of RLVR,
        rather than when a length is first met.
    """

    slots: int = 64
    cohorts: int = 2
    places: int = 0
    prefill: int = 8
    stragglers: float = 0.0
    block: int = 128
    lengths: tuple[int, ...] = (256, 512, 1024)
    cache_dtype: str = ""
    top_k: int = 0
    top_p: float = 1.0
    warm_up: bool = False

    def __post_init__(self):
        for name in ("slots", "cohorts", "prefill", "block"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more")
        if self.places < 0:
            raise ValueError(f"places is {self.places}, expected 0 or more")
        if not 0 <= self.stragglers < 1:
            raise ValueError(f"stragglers is {self.stragglers}, expected 0 to below 1")
        if self.cache_dtype not in ("", "float32", "bfloat16", "float16"):
            raise ValueError(
                f"cache_dtype is {self.cache_dtype!r}; use float32, bfloat16, float16"
                " or nothing"
            )
        self.sampling(1.0)

    @property
    def rows(self) -> tuple[int, ...]:
        """Sizes of batches: a cohort, one of which few are left, some prompts."""
        cohort = -(-self.slots // self.cohorts)
        return (cohort, -(-cohort // 4), self.prefill)

    def sampling(self, temperature: float) -> Sampling:
        """The distribution to draw from at a temperature."""
        return Sampling(temperature, self.top_k, self.top_p)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where figures go besides metrics.jsonl; see `repair.training.loggers`.

    Attributes:
      tensorboard: Whether to write TensorBoard's event files into the workdir.
      wandb: Whether to give them to Weights & Biases.
      project: The project there.
    """

    tensorboard: bool = False
    wandb: bool = False
    project: str = "repair"


@dataclasses.dataclass(frozen=True)
class Config:
    """One run.

    Attributes:
      seed: Of everything random.
      task_set: What the run is about, by name: "repair", or that of a class of one's
        own, which must then be given to the run; see `repair.training.task_set`.
      mode: "coe" for the editor, "direct" for the whole program at once, "cot" for
        thought and then the program.
      stages: What the run does, in order; of "sft", "rlvr" and "eval".
      checkpoint_every: Steps between checkpoints.
      init_from: A folder in Hugging Face's format to start from, or the name of a model
        on its Hub; "" for random weights of the shape in `model`.
      train: "full", or "lora" for the adapters alone.
      loss_chunk: Tokens of each row whose logits exist at once in training, a divisor
        of the stages' row_length; 0 for all. Large vocabularies need it.
      sandbox_level: How well programs must be locked in for RLVR: "full", "standard"
        or "weak"; see `repair.sandbox.Level`.
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


def defaults() -> ml_collections.ConfigDict:
    """All fields with their defaults, locked against misspelt ones."""
    return ml_collections.ConfigDict(dataclasses.asdict(Config())).lock()


def read(config: ml_collections.ConfigDict) -> Config:
    """The frozen config.

    Raises:
      UserError: A field is unknown, of the wrong type, or at odds with another.
    """
    result = from_dict(config.to_dict(), Config)
    _check(result)
    return result


def check_mesh(config: Config, mesh) -> None:
    """Refuses batches whose rows the mesh cannot share out.

    Raises:
      UserError: With the field and its neighbours that fit.
    """
    parts = row_parts(mesh)
    for name, rows in (
        ("sft.rows / sft.accumulate", config.sft.rows // config.sft.accumulate),
        ("rlvr.rows", config.rlvr.rows),
    ):
        if name.split(".")[0] in config.stages and rows % parts:
            raise UserError(
                f"config: {name} is {rows}, which the {parts} parts of the mesh"
                f" (data times fsdp) do not divide; use {-(-rows // parts) * parts}"
            )


def _check(config: Config) -> None:
    """Refuses what cannot work before anything has started."""
    c = config
    rules = [
        (
            set(c.stages) <= set(STAGES),
            f"stages {c.stages} may hold only {', '.join(STAGES)}",
        ),
        (c.mode in MODES, f"mode is {c.mode!r}; use one of {', '.join(MODES)}"),
        (
            not c.demos.traces or (c.mode == "cot" and not c.demos.path),
            f"demos.traces is for mode 'cot' without demos.path, found mode {c.mode!r}"
            f" and demos.path={c.demos.path!r}",
        ),
        (
            c.train in TRAINABLE,
            f"train is {c.train!r}; use one of {', '.join(TRAINABLE)}",
        ),
        (
            c.sandbox_level in LEVELS,
            f"sandbox_level is {c.sandbox_level!r}; use one of {', '.join(LEVELS)}",
        ),
        (
            c.train != "lora" or c.model.lora_rank > 0,
            "train='lora' needs model.lora_rank above 0",
        ),
        (
            c.demos.order in ORDERS,
            f"demos.order is {c.demos.order!r}; use one of {', '.join(ORDERS)}",
        ),
        (
            c.demos.kinds and set(c.demos.kinds) <= set(ALL_KINDS),
            f"demos.kinds {c.demos.kinds} must be some of {', '.join(ALL_KINDS)}",
        ),
        (
            1 <= c.demos.min_corruptions <= c.demos.max_corruptions,
            f"demos.min_corruptions={c.demos.min_corruptions} and max_corruptions="
            f"{c.demos.max_corruptions} must hold 1 <= min <= max",
        ),
        (
            c.text.prompt in PROMPTS,
            f"text.prompt is {c.text.prompt!r}; use one of {', '.join(PROMPTS)}",
        ),
        (
            c.text.max_command < c.text.max_length,
            f"text.max_command={c.text.max_command} leaves no room in text.max_length="
            f"{c.text.max_length}",
        ),
        (
            c.rlvr.row_length >= c.text.max_length or "rlvr" not in c.stages,
            f"rlvr.row_length={c.rlvr.row_length} must hold an episode of"
            f" text.max_length={c.text.max_length} tokens",
        ),
        (
            "rlvr" not in c.stages or (c.sampler.top_k == 0 and c.sampler.top_p == 1),
            f"sampler.top_k={c.sampler.top_k} and sampler.top_p={c.sampler.top_p} are"
            " for evaluation only: RLVR samples from the full distribution; set top_k=0"
            " and top_p=1.0, or leave 'rlvr' out of stages",
        ),
        (
            c.rlvr.samples >= 2 or "rlvr" not in c.stages,
            f"rlvr.samples={c.rlvr.samples}: a group needs at least 2 samples to be"
            " compared with one another",
        ),
    ]
    for stage in ("sft", "rlvr"):
        length = getattr(c, stage).row_length
        rules.append(
            (
                c.loss_chunk == 0 or (c.loss_chunk > 0 and length % c.loss_chunk == 0),
                f"loss_chunk={c.loss_chunk} must divide {stage}.row_length={length}",
            )
        )
    for name, value in dataclasses.asdict(c.eval).items():
        rules.append((value >= 0, f"eval.{name} is {value}, expected 0 or more"))
    positive = (
        "checkpoint_every demos.per_task text.max_turns text.max_command sft.steps"
        " sft.rows sft.row_length rlvr.steps rlvr.problems rlvr.epochs rlvr.rows"
    )
    for name in positive.split():
        value = c
        for part in name.split("."):
            value = getattr(value, part)
        rules.append((value > 0, f"{name} is {value}, expected a positive number"))
    for holds, message in rules:
        if not holds:
            raise UserError(f"config: {message}")

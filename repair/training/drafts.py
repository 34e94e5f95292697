"""Faulty programs that a model writes: drafts of tasks that fail their tests.

The paper starts RLVR and evaluation from such programs, written by Llama-3.1-8B shown
three examples (section 4). A draft is an episode of one turn, whose command is the
program.
"""

import collections
import dataclasses
import statistics
from collections.abc import Callable, Sequence

import jax

from repair.env import Environment
from repair.env.edit_distance import levenshtein
from repair.env.tools import WholeProgram
from repair.errors import (
    MOST,
    MOST_SAMPLES,
    MOST_SEED,
    MOST_TEMPERATURE,
    expect_between,
)
from repair.model.api import Model
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.engine import SamplerConfig, make_engine
from repair.rollout.rollout import Rollout
from repair.rollout.sampling import Sampling
from repair.sandbox import Sandbox
from repair.sandbox.verdict import failure_class
from repair.tasks import Bug, Task
from repair.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class DraftConfig:
    """Sampling of drafts.

    Attributes:
      samples: Drafts of each task (the paper does not say how many).
      temperature: Of sampling, above 0.
      keep: Most faulty programs kept of a task.
      max_tokens: Longest draft in tokens; longer ones are cut, and left out.
      max_length: Longest prompt and draft together.
      slots: Drafts at once.
      seed: Of sampling.
    """

    samples: int = 100
    temperature: float = 0.8
    keep: int = 20
    max_tokens: int = 512
    max_length: int = 2048
    slots: int = 64
    seed: int = 0

    def __post_init__(self):
        expect_between(self, 1, MOST_SAMPLES, "samples", "keep", "slots")
        expect_between(self, 0, MOST_TEMPERATURE, "temperature", above=True)
        expect_between(self, 1, MOST, "max_tokens", "max_length")
        expect_between(self, 0, MOST_SEED, "seed")


@dataclasses.dataclass(frozen=True)
class DraftReport:
    """Statistics of drafts.

    Attributes:
      drafts: How many were sampled.
      passed: Share of those that pass their tests.
      left_out: Drafts that are not kept, by reason.
      kept: Faulty programs.
      tasks: Tasks that have one.
      classes: Share of each class of failure among those kept.
      edit_distance: Mean Levenshtein distance in characters between a kept program and
        the reference (paper: 135.6).
    """

    drafts: int
    passed: float
    left_out: dict[str, int]
    kept: int
    tasks: int
    classes: dict[str, float]
    edit_distance: float


class _DraftEnvironment(Environment):
    """One turn: nothing is shown, and the answer is the program."""

    def show(self, feedback: str) -> str:
        """Return no text."""
        return ""


def draft(
    model: Model,
    params,
    writer: Tokenizer,
    tasks: Sequence[Task],
    sandbox: Sandbox,
    config: DraftConfig,
    progress: Callable[[int, int], None] | None = None,
) -> list[Rollout]:
    """Sample programs for tasks: rollouts of one turn, all of a task in a row.

    Args:
      model: Any decoder.
      params: Its parameters.
      writer: Its tokenizer, as from `Tokenizer.with_examples`.
      tasks: Tasks to write programs for.
      sandbox: Runs the programs.
      config: Settings.
      progress: Called with (drafts ended, drafts in all).
    """
    block = 128 if jax.default_backend() == "cpu" else 1024
    engine = make_engine(
        model,
        writer,
        lambda: _DraftEnvironment(sandbox, max_turns=1, make_tool=WholeProgram),
        SamplerConfig(slots=config.slots, cohorts=2, places=1, block=block),
        max_command=config.max_tokens,
        max_length=config.max_length,
    )
    return collect_rollouts(
        engine,
        params,
        [Bug(f"{task.task_id}/draft", task, "") for task in tasks],
        config.samples,
        Sampling(config.temperature),
        RolloutSeed(config.seed),
        Observer(progress=progress),
    )


def keep_faulty(
    rollouts: Sequence[Rollout],
    writer: Tokenizer,
    sandbox: Sandbox,
    config: DraftConfig,
) -> tuple[list[dict], DraftReport]:
    """Return rows for a JSONL file of tasks with `faulty_code`, and statistics.

    A row has the fields of `Task`, with the draft's number behind the task's id, and
    "failure" (its class) and "edit_distance". Programs of a task are unique.
    """
    kept, left_out = [], collections.Counter()
    seen: dict[int | str, set[str]] = collections.defaultdict(set)
    for rollout in rollouts:
        codes = seen[rollout.bug.task.task_id]
        if reason := _why_left_out(rollout, writer, codes, config.keep):
            left_out[reason] += 1
        else:
            codes.add(rollout.code)
            kept.append((rollout, rollout.bug.task))
    results = sandbox.map(
        [(r.code, task.test_list, task.test_setup_code) for r, task in kept]
    )
    rows = [
        dataclasses.asdict(task)
        | {
            "task_id": f"{task.task_id}/{r.sample}",
            "faulty_code": r.code,
            "failure": failure_class(result),
            "edit_distance": levenshtein(r.code, task.code),
        }
        for (r, task), result in zip(kept, results, strict=True)
    ]
    classes = collections.Counter(row["failure"] for row in rows)
    report = DraftReport(
        drafts=len(rollouts),
        passed=statistics.fmean([r.passed for r in rollouts] or [0.0]),
        left_out=dict(left_out),
        kept=len(rows),
        tasks=len({task.task_id for _, task in kept}),
        classes={name: n / len(rows) for name, n in classes.most_common()},
        edit_distance=statistics.fmean([row["edit_distance"] for row in rows] or [0.0]),
    )
    return rows, report


def _why_left_out(
    rollout: Rollout, writer: Tokenizer, seen: set[str], most: int
) -> str | None:
    """Return the reason to leave a draft out, or None to keep it."""
    reasons = (
        (not rollout.commands, "no room for a draft"),
        (rollout.status == "fault", "the sandbox broke"),
        (not any(map(writer.ends, rollout.episode.ids[-1:])), "cut"),
        (rollout.passed, "passes"),
        (not rollout.code.strip(), "empty"),
        (rollout.code in seen, "same program"),
        (len(seen) >= most, "enough of the task"),
    )
    return next((reason for holds, reason in reasons if holds), None)

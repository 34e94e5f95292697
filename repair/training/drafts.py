"""Faulty programs that a model writes: drafts of tasks that fail their tests.

The paper's RLVR and evaluation start from such programs, of Llama-3.1-8B shown three
examples (section 4). Drafts are sampled through the same slots as episodes: each is an
episode of one turn, whose command is the program.
"""

import collections
import dataclasses
import statistics
from collections.abc import Callable, Sequence

import jax

from repair.env.edit_distance import levenshtein
from repair.env.environment import Environment
from repair.env.tools import WholeProgram
from repair.model.api import Model
from repair.rollout.collect import play
from repair.rollout.player import Player
from repair.rollout.rollouts import Rollout
from repair.rollout.sampler import Sampler
from repair.rollout.sampling import Sampling
from repair.sandbox import Sandbox
from repair.sandbox.verdict import failure_class
from repair.tasks import Bug, Task
from repair.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class DraftConfig:
    """How drafts are sampled.

    Attributes:
      samples: Drafts of each task (paper's data: not published).
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


@dataclasses.dataclass(frozen=True)
class DraftReport:
    """What became of the drafts.

    Attributes:
      drafts: How many were sampled.
      passed: Share of those that pass their tests.
      left_out: Drafts that are no faulty program of their own, by reason.
      kept: Faulty programs.
      tasks: Tasks that have one.
      classes: Of those kept the share of each class of failure.
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


class _Draft(Environment):
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
    """Samples programs for tasks: rollouts of one turn, all of a task in a row.

    Args:
      model: Any decoder.
      params: Its parameters.
      writer: Its tokenizer, as from `Tokenizer.with_examples`.
      tasks: What to write programs for.
      sandbox: Judges the programs.
      config: How to sample.
      progress: Called with (drafts ended, drafts in all).
    """
    cohort = -(-config.slots // 2)
    sampler = Sampler(
        model,
        writer.stops(model.config.vocab_size),
        max_new=config.max_tokens,
        max_length=config.max_length,
        row_buckets=(cohort, 8),
        block=128 if jax.default_backend() == "cpu" else 1024,
        length_buckets=(256, 512, 1024),
    )
    player = Player(
        (sampler,),
        writer,
        lambda: _Draft(sandbox, max_turns=1, make_tool=WholeProgram),
        slots=config.slots,
        cohorts=2,
        prefill=8,
    )
    bugs = [Bug(f"{task.task_id}/draft", task, "") for task in tasks]
    return play(
        player,
        params,
        bugs,
        config.samples,
        seed=config.seed,
        step=0,
        sampling=Sampling(config.temperature),
        progress=progress,
    )


def keep_faulty(
    rollouts: Sequence[Rollout],
    writer: Tokenizer,
    sandbox: Sandbox,
    config: DraftConfig,
) -> tuple[list[dict], DraftReport]:
    """Rows for a JSONL file of tasks with `faulty_code`, and what became of the rest.

    A row has the fields of `Task`, with the draft's number behind the task's id, and
    "failure" (its class) and "edit_distance". Programs of a task are unique.

    Args:
      rollouts: As from `draft`.
      writer: As for `draft`.
      sandbox: Says how the kept ones fail.
      config: As for `draft`.
    """
    kept, left_out = [], collections.Counter()
    seen: dict[int | str, set[str]] = collections.defaultdict(set)
    for rollout in rollouts:
        reason = _why_not(rollout, writer, seen[rollout.bug.task.task_id], config)
        if reason:
            left_out[reason] += 1
            continue
        seen[rollout.bug.task.task_id].add(rollout.code)
        kept.append(rollout)
    tasks = [r.bug.task for r in kept]
    results = sandbox.map(
        [
            (r.code, t.test_list, t.test_setup_code)
            for r, t in zip(kept, tasks, strict=True)
        ]
    )
    rows = [
        dataclasses.asdict(task)
        | {
            "task_id": f"{task.task_id}/{r.sample}",
            "faulty_code": r.code,
            "failure": failure_class(result),
            "edit_distance": levenshtein(r.code, task.code),
        }
        for r, task, result in zip(kept, tasks, results, strict=True)
    ]
    classes = collections.Counter(row["failure"] for row in rows)
    report = DraftReport(
        drafts=len(rollouts),
        passed=statistics.fmean([r.passed for r in rollouts] or [0.0]),
        left_out=dict(left_out),
        kept=len(rows),
        tasks=len({task.task_id for task in tasks}),
        classes={name: n / len(rows) for name, n in classes.most_common()},
        edit_distance=statistics.fmean([row["edit_distance"] for row in rows] or [0.0]),
    )
    return rows, report


def _why_not(rollout: Rollout, writer: Tokenizer, seen: set[str], config) -> str | None:
    """Why a draft is not kept, if so."""
    ids = rollout.episode.ids
    if not rollout.commands:
        return "no room for a draft"
    if rollout.status == "fault":
        return "the sandbox broke"
    if not writer.ends(ids[-1]):
        return "cut"
    if rollout.passed:
        return "passes"
    if not rollout.code.strip():
        return "empty"
    if rollout.code in seen:
        return "same program"
    return "enough of the task" if len(seen) >= config.keep else None

"""Demonstrations: broken programs and the exact edits that mend them.

A demonstration is replayed through the real environment and kept only if the tests
pass at its end (paper, SFT data). Two departures from the paper, both for the sake of
a model that has to predict the commands: it EXITs as soon as the tests pass, so no
edit to a passing program is ever shown, and `order="top_down"` derives the edits from
an alignment of the faulty with the correct program, which makes each command a
function of the two. `order="reversed"` replays the recorded inverses backwards as the
paper does.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

from repair.demos.edit_script import top_down
from repair.demos.records import Demo, DemoFile
from repair.demos.replay import Candidate, Outcome, replay
from repair.demos.statistics import DemoReport, summarise
from repair.env import editor
from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Bug, Task
from repair.tasks.bugs import (
    Breaker,
    CorruptionConfig,
    distinct_programs,
    judge_bugs,
    split_runnable,
)
from repair.tasks.corrupt import Corruption, apply_corruption, drawn_kinds

_CHUNK = 512  # episodes that go through the sandbox together


def make_demos(
    tasks: Sequence[Task],
    sandbox: Sandbox,
    config: CorruptionConfig,
    *,
    max_turns: int = 10,
    file: DemoFile | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Demo], DemoReport]:
    """Break each program `config.per_task` times and keep the solved episodes.

    Tasks of one reference program, such as a model's variants of a fault, count once.

    The same arguments give the same demonstrations, with any number of sandbox workers.

    Args:
      tasks: Tasks; those whose reference fails its own tests are left out. The others'
        programs are the donors of lines and words.
      sandbox: Runs the tests.
      config: Number and kind of corruptions, and the order of the edits.
      max_turns: Longest episode, EXIT included.
      file: Receives the demonstrations as they are made; those that it holds already
        are not replayed again.
      progress: Called with (candidates done, candidates).

    Returns:
      The demonstrations, in the order of the tasks, and a report on all candidates.

    Raises:
      UserError: No task has a reference that passes its own tests, or the file holds
        demonstrations of other tasks.
    """
    runnable, unrunnable = split_runnable(tasks, sandbox)
    runnable = distinct_programs(runnable)
    breaker = Breaker(runnable, config)
    candidates = itertools.chain.from_iterable(
        _candidates(task, breaker, config) for task in runnable
    )
    outcomes: list[Outcome] = []
    while chunk := list(itertools.islice(candidates, _CHUNK)):
        if file:
            chunk = [_look_up(candidate, file) for candidate in chunk]
        chunk = _leave_out_unsteady(chunk, sandbox.references)
        new = replay(chunk, sandbox.references, max_turns)
        if file:
            file.append(outcome.demo for outcome in new if outcome.demo)
        outcomes += new
        progress(len(outcomes), len(runnable) * config.per_task)
    demos = [outcome.demo for outcome in outcomes if outcome.demo]
    return demos, summarise(outcomes, unrunnable)


def _candidates(
    task: Task, breaker: Breaker, config: CorruptionConfig
) -> Iterator[Candidate | Outcome]:
    seen = set()
    for index in range(config.per_task):
        broken = breaker(task, f"{config.seed}/{task.task_id}/{index}")
        if broken is None:
            yield Outcome(None, "nothing to corrupt")
            continue
        faulty, made = broken
        if faulty in seen:
            yield Outcome(None, "same faulty program")
            continue
        seen.add(faulty)
        kinds = drawn_kinds(made)
        bug = Bug(f"{task.task_id}/{index}", task, faulty, len(kinds))
        edits = [edit.format() for edit in _edits(bug, made, config.order)]
        yield Candidate(bug, edits, editor.Exit().format(), kinds)


def _leave_out_unsteady(
    chunk: list[Candidate | Outcome], sandbox: Sandbox
) -> list[Candidate | Outcome]:
    """Drop candidates whose first state is near a limit: chance would judge it."""
    waiting = [each for each in chunk if isinstance(each, Candidate)]
    results = iter(judge_bugs([each.bug for each in waiting], sandbox))
    return [
        Outcome(None, "near a limit")
        if isinstance(each, Candidate) and next(results) is None
        else each
        for each in chunk
    ]


def _look_up(candidate: Candidate | Outcome, file: DemoFile) -> Candidate | Outcome:
    """Return a candidate, or its outcome where the file has its demonstration."""
    if isinstance(candidate, Outcome):
        return candidate
    known = file.known.get(candidate.bug.bug_id)
    if known is None:
        return candidate
    if known.bug != candidate.bug:
        raise UserError(
            f"the demonstration of {candidate.bug.bug_id!r} in the file is of another"
            " program than these tasks give; choose another folder"
        )
    return Outcome(known, kinds=candidate.kinds)


def inverses(
    lines: list[str], corruptions: Sequence[Corruption]
) -> list[editor.Command]:
    """Return the exact inverses of recorded corruptions, last corruption first."""
    commands = []
    for corruption in corruptions:
        commands.append(editor.invert(lines, _as_command(corruption)))
        lines = apply_corruption(lines, corruption)
    return commands[::-1]


def _as_command(corruption: Corruption) -> editor.Command:
    n = corruption.line
    if corruption.kind == "delete":
        return editor.DeleteLine(n)
    if corruption.kind == "add":
        return editor.AddLine(n, corruption.text)
    if corruption.kind == "replace":
        return editor.ReplaceLine(n, corruption.text)
    return editor.ReplaceWord(n, corruption.old, corruption.new)


def _edits(bug: Bug, made: Sequence[Corruption], order: str) -> list[editor.Command]:
    correct = editor.split_program(bug.task.code)
    if order == "top_down":
        return top_down(editor.split_program(bug.faulty_code), correct)
    return inverses(correct, made)

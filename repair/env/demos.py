"""Demonstrations: broken programs and the exact edits that mend them.

A demonstration is replayed through the real environment until the tests pass, and
only then kept (paper, SFT data). Two departures from the paper, both for what a
model can predict: it EXITs as soon as the tests pass, so no edit to a passing
program is ever shown, and `order="top_down"` derives the edits from an alignment of
the faulty with the correct program, which makes each command a function of the
two; "reversed" replays the recorded inverses backwards as the paper does.
"""

import collections
import dataclasses
import json
import os
import pathlib
import statistics
from collections.abc import Callable, Sequence

from repair.env import editor
from repair.env.alignment import levenshtein, top_down
from repair.env.bugs import Breaker, make_bugs, split_runnable
from repair.env.environment import Environment, Rewards, reset_all, step_all
from repair.env.sandbox import Sandbox
from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.tasks.corrupt import KINDS, Corruption, apply_corruption

__all__ = ["Demo", "DemoReport", "make_bugs", "make_demos", "read_demos", "write_demos"]

ORDERS = ("reversed", "top_down")
_CHUNK = 512  # episodes that go through the sandbox together


@dataclasses.dataclass(frozen=True)
class Demo:
    """A solved episode.

    Attributes:
      bug: What is repaired.
      states: states[e] is the state that command e answers.
      commands: One line each, the last one EXIT.
    """

    bug: Bug
    states: tuple[str, ...]
    commands: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DemoReport:
    """What became of the candidates.

    Attributes:
      made: Demonstrations kept; no two of a task have the same faulty program.
      dropped: Candidates left out, by reason.
      unrunnable: Ids of tasks whose reference fails its own tests.
      verbs: Commands by verb.
      by_edits: Demonstrations by their number of edits, EXIT not counted.
      edits: Mean number of edits of a demonstration.
      edit_distance: Mean Levenshtein distance in characters between the faulty and
        the correct program (paper: 39.93).
    """

    made: int
    dropped: dict[str, int]
    unrunnable: tuple[int | str, ...]
    verbs: dict[str, int]
    by_edits: dict[int, int]
    edits: float
    edit_distance: float


def make_demos(
    tasks: Sequence[Task],
    sandbox: Sandbox,
    *,
    per_task: int,
    corruptions: tuple[int, int] = (1, 5),
    order: str = "reversed",
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    max_turns: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Demo], DemoReport]:
    """Breaks each task `per_task` times and keeps what replays to a solution.

    Args:
      tasks: Tasks; those whose reference fails its own tests are left out. The
        others' programs are the donors of lines and words.
      sandbox: Runs the tests.
      per_task: Candidates of a task; equal faulty programs count once.
      corruptions: Lowest and highest number of corruptions, drawn uniformly.
      order: "reversed" or "top_down".
      kinds: Kinds of corruption, drawn uniformly.
      seed: A candidate depends on the seed, its task, its number and the set of
        tasks, not on the order of tasks nor on `per_task`.
      max_turns: Longest episode, EXIT included.
      progress: Called with (candidates done, candidates).

    Returns:
      The demonstrations, in the order of the tasks, and what became of the others.

    Raises:
      UserError: An argument is out of range, or no task has a reference that passes
        its own tests.
    """
    if order not in ORDERS:
        raise UserError(f"demos order is {order!r}; use one of {', '.join(ORDERS)}")
    runnable, unrunnable = split_runnable(tasks, sandbox)
    breaker = Breaker(runnable, corruptions, kinds)
    candidates, dropped = [], collections.Counter()
    for task in runnable:
        seen = set()
        for index in range(per_task):
            broken = breaker(task, f"{seed}/{task.task_id}/{index}")
            if broken is None:
                dropped["nothing to corrupt"] += 1
                continue
            faulty, made = broken
            if faulty in seen:
                dropped["same faulty program"] += 1
                continue
            seen.add(faulty)
            bug = Bug(f"{task.task_id}/{index}", task, faulty, len(made))
            candidates.append((bug, _edits(bug, made, order)))
    demos = []
    for start in range(0, len(candidates), _CHUNK):
        chunk = candidates[start : start + _CHUNK]
        for outcome in _replay(chunk, sandbox, max_turns):
            if isinstance(outcome, Demo):
                demos.append(outcome)
            else:
                dropped[outcome] += 1
        if progress:
            progress(start + len(chunk), len(candidates))
    return demos, _report(demos, dropped, unrunnable)


def inverses(
    lines: list[str], corruptions: Sequence[Corruption]
) -> list[editor.Command]:
    """The recorded corruptions' exact inverses, last corruption first."""
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


def _replay(candidates, sandbox, max_turns) -> list[Demo | str]:
    """Plays (bug, edits); for each a Demo, or the reason why there is none."""
    environments = [Environment(sandbox, Rewards(), max_turns) for _ in candidates]
    turns = reset_all(environments, [bug for bug, _ in candidates])
    outcomes: list[Demo | str | None] = [
        "starts passing" if turn.passed else None for turn in turns
    ]
    states: list[list[str]] = [[] for _ in candidates]
    said: list[list[str]] = [[] for _ in candidates]
    while live := [i for i, outcome in enumerate(outcomes) if outcome is None]:
        for i in live:
            left = candidates[i][1][len(said[i]) :]
            command = left[0] if left and not turns[i].passed else editor.Exit()
            states[i].append(turns[i].state_text)
            said[i].append(command.format())
        stepped = step_all([environments[i] for i in live], [said[i][-1] for i in live])
        for i, turn in zip(live, stepped, strict=True):
            turns[i] = turn
            if turn.malformed:
                outcomes[i] = "a command does not apply"
            elif turn.status == "solved":
                outcomes[i] = Demo(candidates[i][0], tuple(states[i]), tuple(said[i]))
            elif turn.status == "max_turns":
                outcomes[i] = "needs too many turns"
            elif turn.done:
                outcomes[i] = "ends failing"
    return outcomes


def _report(demos, dropped, unrunnable) -> DemoReport:
    verbs = collections.Counter(c.split(" ")[1] for d in demos for c in d.commands)
    edits = [len(demo.commands) - 1 for demo in demos]
    distances = [levenshtein(d.bug.faulty_code, d.bug.task.code) for d in demos]
    return DemoReport(
        made=len(demos),
        dropped=dict(dropped),
        unrunnable=unrunnable,
        verbs=dict(sorted(verbs.items())),
        by_edits=dict(sorted(collections.Counter(edits).items())),
        edits=statistics.fmean(edits or [0]),
        edit_distance=statistics.fmean(distances or [0]),
    )


def write_demos(path, demos: Sequence[Demo]) -> None:
    """Writes one JSON object a line, ASCII, the whole file or nothing of it.

    Fields: bug_id, corruptions (int), faulty_code, states and commands (lists of
    strings), and task, an object with the fields of `Task`.

    Raises:
      UserError: The file cannot be written.
    """
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="ascii", newline="\n") as file:
            for demo in demos:
                row = dataclasses.asdict(demo.bug)
                row |= {"states": demo.states, "commands": demo.commands}
                file.write(json.dumps(row) + "\n")
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"cannot write demonstrations to {path}: {error}; give a writable path"
        ) from error


def read_demos(path) -> list[Demo]:
    """Reads what `write_demos` wrote.

    Raises:
      UserError: The file cannot be read or a row is torn; the message has the line.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read demonstrations from {path}: {error}; give a file written by"
            " repair.make_data"
        ) from error
    numbered = enumerate(text.split("\n"), 1)
    return [_demo(line, f"{path}:{n}") for n, line in numbered if line]


def _demo(line: str, where: str) -> Demo:
    try:
        row = json.loads(line)
        states, commands = tuple(row.pop("states")), tuple(row.pop("commands"))
        fields = row.pop("task")
        for name in ("test_list", "hidden_test_list"):
            fields[name] = tuple(fields[name])
        return Demo(Bug(task=Task(**fields), **row), states, commands)
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{where} is no demonstration ({error!r}); make the file anew with"
            " repair.make_data"
        ) from error

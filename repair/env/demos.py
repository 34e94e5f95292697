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
import pathlib
import random
import re
from collections.abc import Callable, Sequence

import numpy as np

from repair.env import editor
from repair.env.environment import Environment, Rewards, reset_all, step_all
from repair.env.sandbox import Sandbox
from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.tasks.corrupt import KINDS, Corruption, apply_corruption, corrupt

ORDERS = ("reversed", "top_down")
_CHUNK = 512
_TRIES = 20
_TOKEN = re.compile(r"\w+|[^\w\s]+|\s+")


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
      made: Demonstrations kept.
      dropped: Candidates left out, by reason.
      unrunnable: Ids of tasks whose reference fails its own tests.
      verbs: Commands by verb.
      edits: Mean number of edits of a demonstration.
      edit_distance: Mean Levenshtein distance in characters between the faulty and
        the correct program.
    """

    made: int
    dropped: dict[str, int]
    unrunnable: tuple
    verbs: dict[str, int]
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
      tasks: Tasks; those whose reference fails its own tests are left out.
      sandbox: Runs the tests.
      per_task: Candidates of a task; equal faulty programs count once.
      corruptions: Lowest and highest number of corruptions, drawn uniformly.
      order: "reversed" or "top_down".
      kinds: Kinds of corruption, drawn uniformly.
      seed: Each candidate depends on (seed, task id, its number) and nothing else.
      max_turns: Longest episode, EXIT included.
      progress: Called with (candidates done, candidates).

    Raises:
      UserError: No task has a reference that passes its own tests.
    """
    if order not in ORDERS:
        raise UserError(f"demos order is {order!r}; use one of {', '.join(ORDERS)}")
    runnable, unrunnable = split_runnable(tasks, sandbox)
    candidates, dropped = [], collections.Counter()
    for task in runnable:
        donors = _Donors(runnable, task)
        seen = set()
        for index in range(per_task):
            candidate = _candidate(
                task, donors, f"{seed}/{task.task_id}/{index}", corruptions, kinds, order
            )
            if candidate is None:
                dropped["nothing to corrupt"] += 1
            elif candidate[0].faulty_code in seen:
                dropped["same faulty program"] += 1
            else:
                seen.add(candidate[0].faulty_code)
                candidates.append(candidate)
    demos = []
    for start in range(0, len(candidates), _CHUNK):
        chunk = candidates[start : start + _CHUNK]
        for outcome in _replay(chunk, sandbox, max_turns):
            if isinstance(outcome, Demo):
                demos.append(outcome)
            else:
                dropped[outcome] += 1
        if progress:
            progress(min(start + _CHUNK, len(candidates)), len(candidates))
    return demos, _report(demos, dropped, unrunnable)


def make_bugs(
    tasks: Sequence[Task],
    sandbox: Sandbox,
    *,
    per_task: int,
    corruptions: tuple[int, int] = (1, 5),
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> list[Bug]:
    """Faulty programs that fail their shown tests, `per_task` of every task.

    A task's own `faulty_code` is used where it has one. A candidate that happens to
    pass is drawn again, a bounded number of times.

    Raises:
      UserError: No task has a reference that passes its own tests.
    """
    runnable, _ = split_runnable(tasks, sandbox)
    found: dict[tuple[int, int], Bug] = {}
    wanted = [(t, k) for t in range(len(runnable)) for k in range(per_task)]
    for attempt in range(_TRIES):
        missing = [place for place in wanted if place not in found]
        proposals = []
        for t, k in missing:
            task = runnable[t]
            if task.faulty_code is not None:
                bug = Bug(f"{task.task_id}/{k}", task, task.faulty_code)
            else:
                name = f"bug/{seed}/{task.task_id}/{k}/{attempt}"
                made = _candidate(
                    task, _Donors(runnable, task), name, corruptions, kinds, None
                )
                if made is None:
                    continue
                bug = dataclasses.replace(made[0], bug_id=f"{task.task_id}/{k}")
            proposals.append(((t, k), bug))
        jobs = [
            (bug.faulty_code, bug.task.test_list, bug.task.test_setup_code)
            for _, bug in proposals
        ]
        for (place, bug), result in zip(proposals, sandbox.map(jobs), strict=True):
            if not result.passed:
                found[place] = bug
    return [found[place] for place in wanted if place in found]


def split_runnable(tasks: Sequence[Task], sandbox: Sandbox) -> tuple[list[Task], tuple]:
    """Tasks whose reference passes its own tests, and the ids of the others."""
    jobs = [
        (task.code, (*task.test_list, *task.hidden_test_list), task.test_setup_code)
        for task in tasks
    ]
    results = sandbox.map(jobs)
    runnable = [t for t, r in zip(tasks, results, strict=True) if r.passed]
    unrunnable = tuple(
        t.task_id for t, r in zip(tasks, results, strict=True) if not r.passed
    )
    if not runnable:
        reasons = "; ".join(r.feedback for r in results[:3])
        raise UserError(
            f"none of {len(tasks)} tasks has a reference that passes its own tests"
            f" ({reasons}); check code, test_list and test_setup_code"
        )
    return runnable, unrunnable


class _Donors(Sequence):
    """The programs of all tasks but one, without copying the list for each task."""

    def __init__(self, tasks: Sequence[Task], task: Task):
        self._tasks, self._task = tasks, task

    def __len__(self):
        return len(self._tasks)

    def __getitem__(self, index):
        donor = self._tasks[index]
        # A task alone in its list has to donate to itself.
        if donor is self._task and len(self._tasks) > 1:
            donor = self._tasks[index - 1]
        return donor.code


def _candidate(task, donors, name, corruptions, kinds, order):
    """(bug, commands) or None where nothing can be corrupted."""
    rng = random.Random(name)
    count = rng.randint(*corruptions)
    try:
        faulty, made = corrupt(task.code, donors, rng, count, kinds)
    except ValueError:
        return None
    bug = Bug(name, task, faulty, count)
    if order is None:
        return bug, []
    lines = editor.split_program(task.code)
    commands = (
        top_down(editor.split_program(faulty), lines)
        if order == "top_down"
        else inverses(lines, made)
    )
    return bug, commands


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


def top_down(faulty: list[str], correct: list[str]) -> list[editor.Command]:
    """Fewest edits from one program to the other, from the top line down.

    Adding, deleting and changing a line cost one each; among equally short scripts
    the one is taken that keeps or changes a line rather than deletes, and deletes
    rather than adds, at the earliest line. Line numbers hold when a command's turn
    comes.
    """
    cost = _costs(faulty, correct)
    commands, i, j = [], 0, 0
    while i < len(faulty) or j < len(correct):
        n = j + 1  # all above is already as it should be
        rest = cost[i, j]
        both = i < len(faulty) and j < len(correct)
        if both and faulty[i] == correct[j] and rest == cost[i + 1, j + 1]:
            i, j = i + 1, j + 1
        elif both and rest == cost[i + 1, j + 1] + 1:
            commands.append(_change(n, faulty[i], correct[j]))
            i, j = i + 1, j + 1
        elif i < len(faulty) and rest == cost[i + 1, j] + 1:
            commands.append(editor.DeleteLine(n))
            i += 1
        else:
            commands.append(editor.AddLine(n, correct[j]))
            j += 1
    return commands


def _costs(faulty: list[str], correct: list[str]) -> np.ndarray:
    """Edits from faulty[i:] to correct[j:], for every i and j."""
    n, m = len(faulty), len(correct)
    cost = np.zeros((n + 1, m + 1), np.int64)
    cost[n, :] = np.arange(m, -1, -1)
    cost[:, m] = np.arange(n, -1, -1)
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            change = cost[i + 1, j + 1] + (faulty[i] != correct[j])
            cost[i, j] = min(change, cost[i + 1, j] + 1, cost[i, j + 1] + 1)
    return cost


def _change(line: int, before: str, after: str) -> editor.Command:
    """REPW where a single word differs and replacing it gives the line, else REPL."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if len(old) == len(new):
        pairs = {(a, b) for a, b in zip(old, new, strict=True) if a != b}
        if len(pairs) == 1:
            ((a, b),) = pairs
            command = editor.ReplaceWord(line, a, b)
            exact = before.replace(a, b) == after and a.strip() and b.strip()
            if exact and editor.parse(command.format()) == command:
                return command
    return editor.ReplaceLine(line, after)


def _replay(candidates, sandbox, max_turns) -> list[Demo | str]:
    """Plays the commands; a Demo, or the reason why there is none, for each."""
    outcomes: list[Demo | str] = [""] * len(candidates)
    environments = [Environment(sandbox, Rewards(), max_turns) for _ in candidates]
    turns = reset_all(environments, [bug for bug, _ in candidates])
    states: list[list[str]] = [[turn.state_text] for turn in turns]
    said: list[list[str]] = [[] for _ in candidates]
    live = []
    for i, (turn, (_, commands)) in enumerate(zip(turns, candidates, strict=True)):
        if turn.passed:
            outcomes[i] = "starts passing"
        elif len(commands) + 1 > max_turns:
            outcomes[i] = "needs too many turns"
        else:
            live.append(i)
    passing = {i: False for i in live}
    while live:
        for i in live:
            edits = candidates[i][1]
            position = len(said[i])
            at_end = passing[i] or position >= len(edits)
            command = editor.Exit() if at_end else edits[position]
            said[i].append(command.format())
        turns = step_all([environments[i] for i in live], [said[i][-1] for i in live])
        still = []
        for i, turn in zip(live, turns, strict=True):
            if turn.malformed:
                outcomes[i] = "a command does not apply"
            elif turn.status == "solved":
                outcomes[i] = Demo(candidates[i][0], tuple(states[i]), tuple(said[i]))
            elif turn.done:
                outcomes[i] = "ends failing"
            else:
                passing[i] = turn.passed
                states[i].append(turn.state_text)
                still.append(i)
        live = still
    return outcomes


def _report(demos, dropped, unrunnable) -> DemoReport:
    verbs = collections.Counter(c.split(" ")[1] for d in demos for c in d.commands)
    edits = [len(d.commands) - 1 for d in demos]
    distances = [levenshtein(d.bug.faulty_code, d.bug.task.code) for d in demos]
    return DemoReport(
        made=len(demos),
        dropped=dict(dropped),
        unrunnable=unrunnable,
        verbs=dict(verbs),
        edits=float(np.mean(edits or [0.0])),
        edit_distance=float(np.mean(distances or [0.0])),
    )


def levenshtein(a: str, b: str) -> int:
    """Least number of character insertions, deletions and replacements from a to b."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    a, b = a[start:], b[start:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    row = np.arange(len(b) + 1)
    letters = np.array([ord(c) for c in b], np.int64)
    steps = np.arange(len(b) + 1)
    for i, char in enumerate(a, 1):
        best = np.empty(len(b) + 1, np.int64)
        best[0] = i
        best[1:] = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(char)))
        # Insertions chain along the row: a running minimum of cost minus column.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def write_demos(path, demos: Sequence[Demo]) -> None:
    """Writes one JSON object a line: bug_id, task_id, text, code, test_list,
    test_setup_code, hidden_test_list, faulty_code, corruptions, states, commands.
    """
    with pathlib.Path(path).open("w", encoding="utf-8") as file:
        for demo in demos:
            row = dataclasses.asdict(demo.bug.task) | {
                "faulty_code": demo.bug.faulty_code,
                "bug_id": demo.bug.bug_id,
                "corruptions": demo.bug.corruptions,
                "states": demo.states,
                "commands": demo.commands,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_demos(path) -> list[Demo]:
    """Reads what `write_demos` wrote.

    Raises:
      UserError: The file is missing or a row of it is torn.
    """
    path, demos = pathlib.Path(path), []
    try:
        rows = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"cannot read demonstrations from {path}: {error}") from error
    names = {field.name for field in dataclasses.fields(Task)} - {"faulty_code"}
    for number, line in enumerate(rows, 1):
        if not line:
            continue
        try:
            row = json.loads(line)
            fields = {name: row[name] for name in names}
            for name in ("test_list", "hidden_test_list"):
                fields[name] = tuple(fields[name])
            bug = Bug(row["bug_id"], Task(**fields), row["faulty_code"], row["corruptions"])
            demos.append(Demo(bug, tuple(row["states"]), tuple(row["commands"])))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}:{number} is no demonstration ({error!r}); make the file anew"
                " with repair.make_data"
            ) from error
    return demos

"""Reader of workdirs: config, results, metrics, and the episodes of their steps."""

import dataclasses
import json
import pathlib
import re

from repair.errors import UserError
from repair.report_page.endings import Ending, ending_of
from repair.training.metrics import read_metrics

# Fields that a record must have; see `repair.training.trajectories`.
_FIELDS = {"bug_id", "sample", "text", "tests", "status", "turns", "code", "return"}
# Place in a run and title of each evaluation; the steps of RLVR have place 2.
_EVALUATIONS = {
    "eval_init": (0, "evaluation before training"),
    "eval_sft": (1, "evaluation after SFT"),
    "eval_sft_best": (1, "evaluation of SFT's best step"),
    "eval_rlvr": (3, "evaluation after RLVR"),
    "eval_rlvr_best": (3, "evaluation of RLVR's best step"),
    # The file that repair.evaluate writes, beside its results.json.
    "trajectories": (3, "evaluation"),
}
# Least episodes of a step on a page; with less room, it shows fewer steps.
_WORTH_A_STEP = 16


@dataclasses.dataclass(frozen=True)
class Run:
    """One workdir, of a run that may still be under way, or a folder of an evaluation.

    Attributes:
      name: The shortest end of its path that no other run of the report has.
      folder: Its path.
      config: Content of config.json.
      results: Content of results.json; no stages before the first evaluation.
      machine: Last session of machine.json, or an evaluation's own; may be empty.
      metrics: Lines of metrics.jsonl.
      steps: Files of episodes by name ("eval_sft", "rlvr_10"), in the run's order.
    """

    name: str
    folder: pathlib.Path
    config: dict
    results: dict
    machine: dict
    metrics: list[dict]
    steps: dict[str, pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Part:
    """The groups of a step that are shown."""

    step: str
    groups: dict[str, list[dict]]  # records by bug, each with its "label"
    of: int  # number of all groups of the step
    endings: list[Ending]  # of all episodes of the step


def open_runs(workdirs) -> list[Run]:
    """Read each workdir without its episodes; UserError if one is bad or repeated."""
    folders = [pathlib.Path(workdir) for workdir in workdirs]
    paths = [folder.absolute().resolve() for folder in folders]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise UserError(f"{folders[place]} is given twice; give each run once")
    return [
        _open(folder, name) for folder, name in zip(folders, _names(paths), strict=True)
    ]


def alarm_lines(run: Run) -> list[str]:
    """Return the alarms that the run's steps have raised, one a line."""
    return [
        f"{row['stage']}, step {row['step']}: {text}"
        for row in run.metrics
        if isinstance(row.get("alarms"), dict)
        for text in row["alarms"].values()
    ]


def title(step: str) -> str:
    """Return a step's name in words."""
    if step.startswith("rlvr_"):
        return f"RLVR, step {step.removeprefix('rlvr_')}"
    return _EVALUATIONS.get(step, (4, step))[1]


def is_evaluation(step: str) -> bool:
    """Return True for the name of an evaluation, false for a step of RLVR."""
    return step in _EVALUATIONS


def last_step(run: Run) -> str:
    """Return the step that a view opens at: the last stage's evaluation.

    A stage's last parameters, not its best ones. Without an evaluation it is the last
    step; "" if there is none.
    """
    names = [name for name in run.steps if is_evaluation(name)]
    last = [name for name in names if not name.endswith("_best")] or names
    return (last or list(run.steps) or [""])[-1]


def find_steps(run: Run, step: str) -> list[str]:
    """Return the names of a run's steps that match; UserError if there is none.

    Args:
      run: The run.
      step: A name, a number (of RLVR), or "" for all.
    """
    name = f"rlvr_{step}" if step.isdecimal() else step
    if not name:
        return list(run.steps)
    if name not in run.steps:
        there = ", ".join(run.steps) or "none yet"
        raise UserError(
            f"{run.folder} has no episodes of step {step!r}; it has those of: {there}"
        )
    return [name]


def read_groups(path: pathlib.Path) -> dict[str, list[dict]]:
    """Return the records of a file by bug, in the file's order.

    Each gets a "label", unique in its group: "greedy", or its sample's number; where a
    step took the same bug twice, "0.2" is the second sample 0. A line that is no
    record raises UserError.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); move it away") from error
    groups: dict[str, list[dict]] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not _is_record(record):
            raise UserError(
                f"{path}, line {number}: expected the record of an episode; move the"
                " file away"
            )
        group = groups.setdefault(str(record["bug_id"]), [])
        name = str(record["sample"])
        if record.get("temperature") == 0:
            name = "greedy"
        before = sum(r["label"].split(".")[0] == name for r in group)
        group.append(record | {"label": f"{name}.{before + 1}" if before else name})
    return groups


def _is_record(record) -> bool:
    """Return True for an object with the fields of an episode, of their types."""
    return (
        isinstance(record, dict)
        and record.keys() >= _FIELDS
        and isinstance(record["turns"], list)
        and isinstance(record["tests"], list)
        and all(
            isinstance(turn, dict) and isinstance(turn.get("state"), str)
            for turn in record["turns"]
        )
        and all(isinstance(record[name], str) for name in ("text", "code"))
    )


def pick_group(run: Run, step: str, groups: dict, group: str) -> list[dict]:
    """Return the records of a group; UserError names some others if it is missing."""
    if group not in groups:
        some = ", ".join(list(groups)[:8]) + (", ..." if len(groups) > 8 else "")
        raise UserError(
            f"step {step} of {run.folder} has no group {group!r}; it has"
            f" {len(groups)}: {some}"
        )
    return groups[group]


def parts(run: Run, episodes: int, step: str = "", group: str = "") -> list[Part]:
    """Return whole groups of a run's steps, up to a number of episodes.

    The last stage's evaluation takes up to half of the episodes. The rest is shared by
    the other evaluations and steps of RLVR, the first and the last and some at even
    gaps. Of each step failures come first, in the file's order, at least one group.

    Args:
      run: The run.
      episodes: Approximate number in all; 0 for all there are.
      step: See `find_steps`.
      group: Only this bug's; "" for any. UserError if no step has it.
    """
    names = find_steps(run, step)
    if group:
        kept = []
        for name in names:  # one at a time: all files may not fit into memory
            groups = read_groups(run.steps[name])
            if group in groups:
                part = {group: groups[group]}
                kept.append(Part(name, part, len(groups), _endings(groups)))
        if not kept and names:  # raises an error that lists the groups
            pick_group(run, names[0], read_groups(run.steps[names[0]]), group)
        return kept
    if not episodes:
        return [_part(name, run.steps[name], 0) for name in names]
    names = _spread(names, max(episodes // _WORTH_A_STEP, 1))
    found, last = {}, last_step(run)
    for name in sorted(names, key=lambda name: name != last):
        left = len(names) - len(found)
        alone = name == last and left > 1
        room = episodes // 2 if alone else episodes // left
        found[name] = _part(name, run.steps[name], max(room, 1))
        shown = sum(len(records) for records in found[name].groups.values())
        episodes = max(episodes - shown, 0)
    return [found[name] for name in names]


def _part(step: str, path: pathlib.Path, episodes: int) -> Part:
    groups = read_groups(path)
    endings = _endings(groups)
    failing = {ending.group for ending in endings if ending.failed}
    kept, count = set[str](), 0
    for name in sorted(groups, key=lambda name: name not in failing):
        count += len(groups[name])
        if kept and episodes and count > episodes:
            break
        kept.add(name)
    shown = {name: records for name, records in groups.items() if name in kept}
    return Part(step, shown, len(groups), endings)


def _endings(groups: dict[str, list[dict]]) -> list[Ending]:
    return [ending_of(record) for records in groups.values() for record in records]


def _spread(names: list[str], most: int) -> list[str]:
    """Return about so many names: all evaluations, and others at even gaps."""
    kept = [name for name in names if is_evaluation(name)]
    others = [name for name in names if not is_evaluation(name)]
    room = min(max(most - len(kept), 0), len(others))
    gaps = max(room - 1, 1)
    kept += [others[round(i * (len(others) - 1) / gaps)] for i in range(room)]
    return [name for name in names if name in kept]


def _open(folder: pathlib.Path, name: str) -> Run:
    if not (folder / "config.json").exists() and not (folder / "results.json").exists():
        raise UserError(
            f"{folder} holds no run (no config.json, no results.json); give the"
            " --workdir of a repair.train, or the --out of a repair.evaluate"
        )
    results = {"stages": {}} | _read_json(folder / "results.json")
    _check_results(results, folder / "results.json")
    files = {path.stem: path for path in (folder / "trajectories").glob("*.jsonl")}
    if (own := folder / "trajectories.jsonl").exists():
        files[own.stem] = own
    sessions = _read_json(folder / "machine.json").get("sessions")
    machine = sessions[-1] if isinstance(sessions, list) and sessions else None
    machine = machine or results.get("machine")
    return Run(
        name,
        folder,
        _read_json(folder / "config.json"),
        results,
        machine if isinstance(machine, dict) else {},
        read_metrics(folder / "metrics.jsonl"),
        {step: files[step] for step in sorted(files, key=_order)},
    )


def _check_results(results: dict, path: pathlib.Path) -> None:
    """Refuse results that are not figures by stage, each with its pass@1."""
    stages = results["stages"]
    whole = isinstance(stages, dict) and all(
        isinstance(figures, dict)
        and isinstance(figures.get("pass@1"), dict)
        and all(
            isinstance(figures["pass@1"].get(name), int | float)
            for name in ("mean", "low", "high")
        )
        for figures in stages.values()
    )
    if not whole:
        raise UserError(
            f"{path} has no figures by stage, each with a pass@1; move it away, or"
            " resume the run, which makes it anew"
        )


def _order(step: str) -> tuple:
    """Return a key for the order of a run: eval_init, eval_sft, rlvr_1, eval_rlvr."""
    number = re.fullmatch(r"rlvr_([0-9]+)", step)
    if number:
        return 2, int(number[1]), step
    return _EVALUATIONS.get(step, (4, step))[0], 0, step


def _read_json(path: pathlib.Path) -> dict:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); move it away or restore it"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; move it away or restore it")
    return value


def _names(paths: list[pathlib.Path]) -> list[str]:
    """Return the shortest ends of the paths that differ from one another."""
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names

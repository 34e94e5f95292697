"""One self-contained HTML page about some runs."""

import base64
import dataclasses
import hashlib
import importlib.resources
import json
import math
import shlex
import string
from collections.abc import Sequence
from html import escape

from repair.env.state_text import split_state
from repair.report_page import curves
from repair.report_page.endings import has_failed
from repair.report_page.failures import CLASSES, failure_rows, failures_section
from repair.report_page.markup import html_table
from repair.report_page.origins import origins_section
from repair.report_page.runs import (
    Part,
    Run,
    alarm_lines,
    is_evaluation,
    last_step,
    parts,
    title,
)
from repair.report_page.stages import results_section
from repair.report_page.turns import turns_of

_STAGES = {
    "sft": "Supervised finetuning",
    "sft_eval": "Evaluation during supervised finetuning",
    "rlvr": "Reinforcement learning",
    "rlvr_eval": "Evaluation during reinforcement learning",
}
# In this order: the last one starts the page.
_SCRIPTS = ("list.js", "hover.js", "report.js")
# Fields of a record, and of a turn apart from its edit, that the page shows.
_RECORD = ("label", "status", "return", "passed", "learnt")
_TURN = (
    *("command", "reward", "malformed", "return_to_go", "advantage"),
    *("tokens", "log_probs", "feedback"),
)


def write_page(
    runs: Sequence[Run], episodes: int, step: str = "", group: str = ""
) -> str:
    """Return the text of the page.

    Args:
      runs: The runs to show.
      episodes: Approximate number of episodes; 0 for all.
      step: Only episodes of this step; "" for any. UserError if there is none.
      group: Only episodes of this bug; "" for any. UserError if there is none.
    """
    share = episodes and max(episodes // len(runs), 1)  # 0 stays 0, which is all
    shown = [parts(run, share, step, group) for run in runs]
    data = {
        "classes": {by: heading for by, (heading, _) in CLASSES.items()},
        "runs": [
            {
                "name": run.name,
                "opens": last_step(run),
                "steps": [_step(part) for part in some],
            }
            for run, some in zip(runs, shown, strict=True)
        ],
    }
    style, script = _asset("report.css"), "\n".join(map(_asset, _SCRIPTS))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return string.Template(_asset("report.html")).substitute(
        heading=escape(", ".join(run.name for run in runs)),
        digest=digest,
        style=style,
        script=script,
        missing=_missing(runs, shown),
        results=results_section(runs),
        failures=failures_section(runs, shown),
        curves=_alarms(runs) + _curves(runs),
        shown=_shown(runs, shown),
        origins=origins_section(runs),
        data=_json(data),
    )


def _asset(name: str) -> str:
    path = importlib.resources.files("repair.report_page") / "assets" / name
    return path.read_text(encoding="utf-8")


def _json(value) -> str:
    """Return JSON that is safe in a script element."""
    text = json.dumps(
        _finite(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(value):
    """Replace nan and inf, which diverged runs have and JSON lacks, by None."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step(part: Part) -> dict:
    groups = [_group(name, records) for name, records in part.groups.items()]
    step = {"name": part.step, "title": title(part.step), "groups": groups}
    return step | ({"failures": failure_rows(part)} if is_evaluation(part.step) else {})


def _group(name: str, records: list[dict]) -> dict:
    first = records[0]
    turns = first["turns"]
    return {
        "name": name,
        "text": first["text"],
        "tests": first["tests"],
        "start": split_state(turns[0]["state"])[1] if turns else "",
        "episodes": [_episode(record) for record in records],
    }


def _episode(record: dict) -> dict:
    turns = []
    for turn in turns_of(record):
        kept = {key: turn[key] for key in _TURN if turn.get(key) is not None}
        rows = [list(dataclasses.astuple(row)) for row in turn["rows"]]
        # Saves space: most of the many rows have nothing marked.
        kept["rows"] = [row if row[3] or row[4] else row[:3] for row in rows]
        turns.append(kept)
    kept = {key: record[key] for key in _RECORD if record.get(key) is not None}
    return kept | {"failed": has_failed(record), "turns": turns}


def _alarms(runs: Sequence[Run]) -> str:
    """Return a list of the alarms of all runs; nothing where there is none."""
    several = len(runs) > 1
    items = "".join(
        f"<li>{escape(f'{run.name}, {line}' if several else line)}</li>"
        for run in runs
        for line in alarm_lines(run)
    )
    return f"<h3>Alarms</h3><ul>{items}</ul>" if items else ""


def _curves(runs: Sequence[Run]) -> str:
    """Return a section per stage, under a legend if there are several runs."""
    legend = ""
    if len(runs) > 1:
        items = (
            f"<li>{curves.swatch(i)}{escape(run.name)}</li>"
            for i, run in enumerate(runs)
        )
        legend = f'<ul class="legend" aria-label="Runs">{"".join(items)}</ul>'
    sections = []
    for stage, heading in _STAGES.items():
        plots = "".join(
            f'<figure class="plot"><figcaption>{plot.title}'
            f" <small>{plot.unit}</small></figcaption>"
            f'<div role="img" tabindex="0" aria-label="{escape(plot.words)}"'
            f' data-values="{escape(_json(plot.values))}">{plot.svg}</div>'
            "<output></output></figure>"
            for plot in curves.draw_curves(runs, stage)
        )
        if plots:
            sections.append(f'<h3>{heading}</h3><div class="plots">{plots}</div>')
    if not sections:
        return "<p>No run has made a step of training yet.</p>"
    note = (
        "<p>Values stand below a curve under the pointer, or with the arrow keys."
        " Where steps are many, thin lines are the steps and thick ones the mean of"
        f" the {curves.SMOOTH}th part of them around each.</p>"
    )
    return legend + "".join(sections) + note


def _missing(runs: Sequence[Run], shown: Sequence[Sequence[Part]]) -> str:
    """Return a paragraph on the evaluations whose groups are not all on the page."""
    several = len(runs) > 1
    parted = "; ".join(
        (f"{run.name}, " if several else "")
        + f"{title(part.step)} ({len(part.groups)} of {part.of})"
        for run, some in zip(runs, shown, strict=True)
        for part in some
        if is_evaluation(part.step) and len(part.groups) < part.of
    )
    if not parted:
        return ""
    return (
        "<p>Not all groups of these evaluations can be read on this page, though all"
        f' are counted: {escape(parted)}. <a href="#shown">How to get the others</a>'
        "</p>"
    )


def _shown(runs: Sequence[Run], shown: Sequence[Sequence[Part]]) -> str:
    """Return a table of the steps and groups on the page, and commands for others."""
    rows, left = [], ""
    for run, some in zip(runs, shown, strict=True):
        for part in some:
            count = f"{len(part.groups)} of {part.of}"
            rows.append([run.name, title(part.step), count])
        there = {part.step for part in some}
        if names := ", ".join(name for name in run.steps if name not in there):
            left += f"<p>Of {escape(run.name)} these steps are left out:"
            left += f" {escape(names)}.</p>"
    caption = "Groups are the samples of one faulty program."
    command = "python -m repair.report " + shlex.quote(str(runs[0].folder))
    return (
        html_table(caption, ["Run", "Step", "Groups here"], rows)
        + f"{left}<p>A page with others:</p><pre>{escape(command)} --step=STEP"
        f" --group=GROUP\n{escape(command)} --episodes=0</pre>"
        "<p>The second puts every episode into the page.</p>"
    )

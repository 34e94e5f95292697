"""One HTML page about some runs, which needs no network and nothing beside it."""

import base64
import dataclasses
import hashlib
import html
import importlib.resources
import json
import math
import shlex
import string
from collections.abc import Sequence

from repair.env.state_text import split_state
from repair.report_page import curves
from repair.report_page.runs import Part, Run, parts, title
from repair.report_page.turns import turns_of
from repair.training.metrics import rate

_STAGES = {"sft": "Supervised finetuning", "rlvr": "Reinforcement learning"}
# What the page shows of a record, and of a turn beside its edit and feedback.
_RECORD = ("label", "status", "return", "passed", "learnt")
_TURN = (
    *("command", "reward", "malformed", "return_to_go", "advantage"),
    *("tokens", "log_probs", "feedback"),
)


def write_page(
    runs: Sequence[Run], episodes: int, step: str = "", group: str = ""
) -> str:
    """The page as text.

    Args:
      runs: What it is about.
      episodes: About so many episodes are put into it; 0 for all.
      step: Only episodes of this step, if given.
      group: Only episodes of this bug, if given.

    Raises:
      UserError: There is no such step or group, or matplotlib is missing.
    """
    share = episodes and max(episodes // len(runs), 1)  # 0 stays 0, which is all
    shown = [parts(run, share, step, group) for run in runs]
    data = [_run(run, some) for run, some in zip(runs, shown, strict=True)]
    style, script = _asset("report.css"), _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return string.Template(_asset("report.html")).substitute(
        title=html.escape("repair: " + ", ".join(run.name for run in runs)),
        heading=html.escape(", ".join(run.name for run in runs)),
        digest=digest,
        style=style,
        script=script,
        results=_results(runs),
        curves=_curves(runs),
        shown=_shown(runs, shown),
        data=_json(data),
    )


def _asset(name: str) -> str:
    path = importlib.resources.files("repair.report_page") / "assets" / name
    return path.read_text(encoding="utf-8")


def _json(value) -> str:
    """JSON that can stand in a script element, whatever its strings hold."""
    text = json.dumps(
        _finite(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(value):
    """With None for numbers that JSON has no word for, as runs that broke have them."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _run(run: Run, some: Sequence[Part]) -> dict:
    """What the page's script gets of a run."""
    return {
        "name": run.name,
        "steps": [
            {
                "name": part.step,
                "title": title(part.step),
                "groups": [_group(name, part.groups[name]) for name in part.groups],
            }
            for part in some
        ],
    }


def _group(name: str, records: list[dict]) -> dict:
    first = records[0]
    turns = first["turns"]
    start = split_state(turns[0]["state"])[1] if turns else ""
    return {
        "name": name,
        "text": first["text"],
        "tests": first["tests"],
        "start": start,
        "episodes": [_episode(record) for record in records],
    }


def _episode(record: dict) -> dict:
    turns = []
    for turn in turns_of(record):
        kept = {key: turn[key] for key in _TURN if turn.get(key) is not None}
        rows = [list(dataclasses.astuple(row)) for row in turn["rows"]]
        # Most rows have nothing marked, and a page has many rows.
        kept["rows"] = [row if row[3] or row[4] else row[:3] for row in rows]
        turns.append(kept)
    kept = {key: record[key] for key in _RECORD if record.get(key) is not None}
    return kept | {"turns": turns}


def _results(runs: Sequence[Run]) -> str:
    """The table of results: a row a run and stage, rates with their intervals."""
    figures = [f for run in runs for f in run.results["stages"].values()]
    names = dict.fromkeys(name for each in figures for name in each)
    names = [name for name in names if name.startswith("pass@")]
    if not names:
        return "<p>No run has been evaluated yet.</p>"
    heads = ["Run", "Stage", *names, "Malformed", "Turns", "Programs"]
    rows = "".join(
        _row(heads, run.name, stage, each, names)
        for run in runs
        for stage, each in run.results["stages"].items()
    )
    waiting = [run.name for run in runs if not run.results["stages"]]
    note = f"<p>Not evaluated yet: {html.escape(', '.join(waiting))}.</p>"
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    return (
        "<table><caption>Rates in percent, with 95% intervals; malformed commands and"
        " turns of the greedy episodes.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        + (note if waiting else "")
    )


def _row(heads, run: str, stage: str, figures: dict, names: list[str]) -> str:
    cells = [stage, *(rate(figures.get(name)) for name in names)]
    malformed, turns = figures.get("malformed"), figures.get("turns")
    cells += ["-" if malformed is None else f"{100 * malformed:.1f}"]
    cells += ["-" if turns is None else f"{turns:.2f}", str(figures.get("bugs", "-"))]
    told = "".join(
        f'<td data-label="{html.escape(head)}">{html.escape(cell)}</td>'
        for head, cell in zip(heads[1:], cells, strict=True)
    )
    return f'<tr><th scope="row">{html.escape(run)}</th>{told}</tr>'


def _curves(runs: Sequence[Run]) -> str:
    """A section a stage, with one legend for all where there is more than one run."""
    legend = ""
    if len(runs) > 1:
        items = (
            f"<li>{curves.swatch(i)}{html.escape(run.name)}</li>"
            for i, run in enumerate(runs)
        )
        legend = f'<ul class="legend" aria-label="Runs">{"".join(items)}</ul>'
    sections = []
    for stage, heading in _STAGES.items():
        plots = "".join(
            f'<figure class="plot"><figcaption>{plot.title}'
            f" <small>{plot.unit}</small></figcaption>"
            f'<div role="img" aria-label="{html.escape(plot.words)}">{plot.svg}</div>'
            "</figure>"
            for plot in curves.draw(runs, stage)
        )
        if plots:
            sections.append(f'<h3>{heading}</h3><div class="plots">{plots}</div>')
    if not sections:
        return "<p>No run has made a step of training yet.</p>"
    note = (
        f"<p>Where steps are many, thin lines are the steps and thick ones the mean of"
        f" the last {curves.SMOOTH}th part of them.</p>"
    )
    return legend + "".join(sections) + note


def _shown(runs: Sequence[Run], shown: Sequence[Sequence[Part]]) -> str:
    """Which steps and groups the page holds, and how to get the others."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(run.name)}</th>'
        f'<td data-label="Step">{html.escape(title(part.step))}</td>'
        f'<td data-label="Groups here">{len(part.groups)} of {part.of}</td></tr>'
        for run, some in zip(runs, shown, strict=True)
        for part in some
    )
    left = "".join(
        f"<p>Of {html.escape(run.name)} these steps are left out:"
        f" {html.escape(', '.join(names))}.</p>"
        for run, some in zip(runs, shown, strict=True)
        if (names := [n for n in run.steps if n not in {part.step for part in some}])
    )
    command = "python -m repair.report " + shlex.quote(str(runs[0].folder))
    return (
        "<table><caption>Groups are the samples of one faulty program.</caption>"
        '<thead><tr><th scope="col">Run</th><th scope="col">Step</th>'
        f'<th scope="col">Groups here</th></tr></thead><tbody>{rows}</tbody></table>'
        f"{left}<p>A page with others:</p><pre>{html.escape(command)} --step=STEP"
        f" --group=GROUP\n{html.escape(command)} --episodes=0</pre>"
        "<p>The second puts every episode into the page.</p>"
    )

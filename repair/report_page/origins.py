"""Origins of the figures: config, seed, commit, versions, machine and duration."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from repair.report_page.markup import html_table
from repair.report_page.runs import Run
from repair.training.config import Config
from repair.training.fields import flatten

_ABSENT = "-"
_LONG = "instruction set"


def origins_section(runs: Sequence[Run]) -> str:
    """Return the facts of one run, or those in which several differ; the rest folded.

    Of the config of one run the fields that differ from their defaults stand first.
    """
    facts = [_facts(run) for run in runs]
    configs = [flatten(run.config) for run in runs]
    defaults = flatten(json.loads(json.dumps(dataclasses.asdict(Config()))))
    first, rest = [], []
    for name in dict.fromkeys(name for each in facts for name in each):
        cells = [each.get(name, _ABSENT) for each in facts]
        alone = len(runs) == 1 and name != _LONG
        (first if alone or len(set(cells)) > 1 else rest).append([name, *cells])
    for name in dict.fromkeys(name for each in configs for name in each):
        if name.split(".")[0] in ("seed", "history"):
            continue  # among the facts
        cells = [_text(each.get(name, _ABSENT)) for each in configs]
        own = len(runs) == 1 and cells[0] != _text(defaults.get(name, _ABSENT))
        (first if own or len(set(cells)) > 1 else rest).append([name, *cells])
    heads = ["", *(run.name for run in runs)]
    if not any(configs):  # of an evaluation, which keeps none
        caption, folded = "", "More"
    elif len(runs) == 1:
        caption = "Last: the fields of the config that differ from their defaults."
        folded = "The rest of the config, at its defaults"
    else:
        caption = "Facts and fields of the config in which the runs differ."
        folded = "The same in all runs"
    shown = html_table(caption, heads, first)
    if not first:
        shown = "<p>The runs differ in nothing that was recorded.</p>"
    if not rest:
        return shown
    more = html_table("", heads, rest)
    return f"{shown}<details><summary>{folded}</summary>{more}</details>"


def _facts(run: Run) -> dict[str, str]:
    """Return what is known about a run beside its config."""
    results, machine = run.results, run.machine
    facts = {"folder": str(run.folder)}
    facts |= {name: results.get(name) for name in ("checkpoint", "tasks")}
    facts["seed"] = run.config.get("seed", results.get("seed"))
    facts["changed when resumed"] = _history(run.config.get("history"))
    facts |= {"commit": machine.get("commit")} | machine
    if flags := machine.get(_LONG):
        digest = hashlib.sha256(str(flags).encode()).hexdigest()[:12]
        facts[_LONG] = f"{len(str(flags).split())} flags, digest {digest}"
    seconds = results.get("seconds")
    spent = dict(seconds) if isinstance(seconds, dict) else {}
    spent["evaluations"] = sum(
        figures.get("seconds", 0) for figures in results["stages"].values()
    )
    for name, value in spent.items():
        facts[f"duration of {name}"] = _duration(value) if value else None
    return {name: _text(value) for name, value in facts.items() if value is not None}


def _history(changes) -> str | None:
    """Return the changes of a resumed run's config, as config.json keeps them."""
    if not isinstance(changes, list) or not changes:
        return None
    return "; ".join(
        f"{name} {_text(old)} -> {_text(new)}"
        for each in changes
        for name, (old, new) in each.items()
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _text(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return _ABSENT if value == "" else str(value)

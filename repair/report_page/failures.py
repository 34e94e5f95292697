"""Failures of the evaluations, counted by class; each count opens their list."""

import collections
from collections.abc import Callable, Sequence
from html import escape

from repair.report_page.endings import UNKNOWN, Ending
from repair.report_page.markup import Html, choice_link, html_table
from repair.report_page.runs import Part, Run, is_evaluation, last_step, title
from repair.training.tables import ENDINGS

# By the name that links use: the heading of a table, and the class of an ending.
CLASSES: dict[str, tuple[str, Callable[[Ending], str]]] = {
    "status": ("Ended as", lambda ending: ending.status),
    "turns": ("Turns made", lambda ending: str(ending.turns)),
    "corruptions": ("Corruptions", lambda ending: ending.corruptions),
    "start": ("Error at the start", lambda ending: ending.start),
    "error": ("Error at the end", lambda ending: ending.error),
}
_BY_NUMBER = ("turns", "corruptions")


def failures_section(runs: Sequence[Run], shown: Sequence[Sequence[Part]]) -> str:
    """Return tables of each evaluation's failures; those of the last stage are open."""
    found = "".join(
        _evaluation(run, part, len(runs) > 1)
        for run, some in zip(runs, shown, strict=True)
        for part in some
        if is_evaluation(part.step)
    )
    if not found:
        return "<p>No evaluation has kept its episodes yet.</p>"
    return (
        "<p>An episode fails if its program fails a test at the end, a hidden one"
        " included. A number opens the list of its failures.</p>" + found
    )


def failure_rows(part: Part) -> list[list]:
    """Return the failures of an evaluation for the page's script, by bug.

    Returns:
      [group, corruptions, error at the start, episodes] of each bug; an episode is
      [label, status, turns, error at the end, return].
    """
    rows: dict[str, list] = {}
    for e in part.endings:
        if e.failed:
            row = rows.setdefault(e.group, [e.group, e.corruptions, e.start, []])
            row[-1].append([e.label, e.status, e.turns, e.error, e.value])
    return list(rows.values())


def _evaluation(run: Run, part: Part, several: bool) -> str:
    kinds = {
        "greedy": [ending for ending in part.endings if ending.greedy],
        "sampled": [ending for ending in part.endings if not ending.greedy],
    }
    kinds = {kind: endings for kind, endings in kinds.items() if endings}
    told = ", ".join(
        f"{sum(ending.failed for ending in endings)} of {len(endings)} {kind} episodes"
        " fail"
        for kind, endings in kinds.items()
    )
    name = f"{run.name}, {title(part.step)}" if several else title(part.step)
    tables = "".join(
        _class_table({"run": run.name, "step": part.step, "by": by}, kinds)
        for by in CLASSES
        if by != "corruptions" or any(e.corruptions != UNKNOWN for e in part.endings)
    )
    state = " open" if part.step == last_step(run) else ""
    return (
        f"<details{state}><summary>{escape(name)}: {told}</summary>"
        f'<div class="tables">{tables}</div></details>'
    )


def _class_table(chosen: dict[str, str], kinds: dict[str, list[Ending]]) -> Html:
    """Return the failures of each class, out of the episodes of that class."""
    by = chosen["by"]
    heading, class_of = CLASSES[by]
    counts = {
        kind: (
            collections.Counter(class_of(e) for e in endings),
            collections.Counter(class_of(e) for e in endings if e.failed),
        )
        for kind, endings in kinds.items()
    }
    failed = sum((fails for _, fails in counts.values()), collections.Counter())
    names = sorted(failed, key=lambda name: (-failed[name], name))
    if by in _BY_NUMBER:
        names.sort(key=lambda name: (not name.isdecimal(), name.zfill(9)))
    rows = []
    for name in names:
        words = ENDINGS.get(name, name) if by == "status" else name
        cells = []
        for kind, (everything, fails) in counts.items():
            count, of = fails[name], everything[name]
            cell = f"{count}"
            if count:
                said = f"failures: {count}, {kind}, {heading.lower()}: {words}"
                cell = choice_link(cell, said, **chosen, value=name, kind=kind)
            # All that end with an error are failures.
            cells.append(cell if by == "error" else Html(f"{cell} of {of}"))
        rows.append([words, *cells])
    return html_table("", [heading, *(kind.capitalize() for kind in kinds)], rows)

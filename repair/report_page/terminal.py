"""A run's episodes as text in a terminal."""

import collections
import dataclasses

from rich.console import Console
from rich.table import Table
from rich.text import Text

from repair.env.state_text import split_state
from repair.errors import UserError
from repair.report_page.endings import SORTS, Ending, ending_of
from repair.report_page.runs import (
    Run,
    alarm_lines,
    find_steps,
    last_step,
    pick_group,
    read_groups,
    title,
)
from repair.report_page.stages import change_line, changes_between
from repair.report_page.turns import turns_of
from repair.training.tables import results_table

_STYLES = {"+": "green", "-": "red", " ": ""}


def show(
    run: Run,
    console: Console,
    step: str = "",
    group: str = "",
    sample: str = "",
    status: str = "",
) -> None:
    """Print episodes, or a list of steps or groups to choose from.

    Args:
      run: The run.
      console: The terminal.
      step: The step; "" to list the steps.
      group: The bug; "" to list the step's groups.
      sample: Label of the only sample to print; "" for all.
      status: Status of the episodes to print; "" for any.

    Raises:
      UserError: There is no such episode, or a choice lacks the choice before it.
    """
    if not step:
        if group or sample or status:
            raise UserError(
                "--group, --sample and --status choose among a step's episodes; give"
                " --step too"
            )
        _list_steps(run, console)
        return
    (name,) = find_steps(run, step)
    groups = read_groups(run.steps[name])
    if status:
        groups = _ended(run, name, groups, status)
    if not group:
        if sample:
            raise UserError("--sample chooses among a group's; give --group too")
        _list_groups(run, name, groups, console)
        return
    records = pick_group(run, name, groups, group)
    chosen = [r for r in records if not sample or r["label"] == sample]
    if not chosen:
        there = ", ".join(record["label"] for record in records)
        raise UserError(f"group {group} has no sample {sample!r}; it has: {there}")
    _show_task(run, name, chosen[0], console)
    for record in chosen:
        _show_episode(record, console)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The episodes that a list shows; "" in a field is any.

    Attributes:
      step: Their step; "" for the last stage's evaluation.
      group: Their bug.
      sample: Their label.
      status: Their status.
      error: Their class of error at the end.
      failed: True for failures alone.
      sort: One of `SORTS`, with "-" in front for the highest first; "" for the order
        of the file.
    """

    step: str = ""
    group: str = ""
    sample: str = ""
    status: str = ""
    error: str = ""
    failed: bool = False
    sort: str = ""


def list_episodes(run: Run, listing: Listing) -> list[str]:
    """Return a line of headings and a line an episode, for a pager, grep or sort.

    Raises:
      UserError: The run has no such step, or no episode of it is as chosen.
    """
    names = find_steps(run, listing.step or last_step(run))
    if not names:
        return [f"{run.name}: no episodes yet"]
    groups = read_groups(run.steps[names[0]])
    if listing.group:
        groups = {listing.group: pick_group(run, names[0], groups, listing.group)}
    found = [ending_of(record) for records in groups.values() for record in records]
    kept = [
        ending
        for ending in found
        if (ending.failed or not listing.failed)
        and listing.sample in ("", ending.label)
        and listing.status in ("", ending.status)
        and listing.error in ("", ending.error)
    ]
    if not kept:
        raise UserError(
            f"none of the {len(found)} episodes of step {names[0]} of {run.folder} is"
            " as chosen; they have status"
            f" {', '.join(sorted({e.status for e in found}))}; error"
            f" {', '.join(sorted({e.error for e in found}))}"
        )
    if field := SORTS.get(listing.sort.removeprefix("-")):
        kept.sort(
            key=lambda ending: _key(getattr(ending, field)),
            reverse=listing.sort.startswith("-"),
        )
    rows = [tuple(SORTS), *(_cells(ending) for ending in kept)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows]


def _key(value):
    """Return a sort key: numbers in words, such as samples, by their value."""
    return value.zfill(9) if isinstance(value, str) and value.isdecimal() else value


def _cells(ending: Ending) -> tuple[str, ...]:
    values = [getattr(ending, field) for field in SORTS.values()]
    shown = (f"{v:+.2f}" if isinstance(v, float) else str(v) for v in values)
    return tuple(_plain(text).plain.replace("\n", " ") for text in shown)


def _ended(run: Run, step: str, groups: dict, status: str) -> dict:
    """Return the groups with the records of a status; UserError if there is none."""
    kept = {
        name: some
        for name, records in groups.items()
        if (some := [r for r in records if r["status"] == status])
    }
    if not kept:
        found = sorted({r["status"] for records in groups.values() for r in records})
        raise UserError(
            f"no episode of step {step} of {run.folder} ended as {status!r}; they ended"
            f" as: {', '.join(found)}"
        )
    return kept


def _list_steps(run: Run, console: Console) -> None:
    console.rule(_plain(run.name))
    if run.results["stages"]:
        console.print(results_table(run.results))
    for pair in changes_between([run]):
        console.print(_plain(change_line(pair)), soft_wrap=True)
    for line in alarm_lines(run):
        console.print(_plain(f"alarm: {line}"), soft_wrap=True)
    table = Table("step", "title", caption="choose one with --step")
    for step in run.steps:
        table.add_row(step, title(step))
    console.print(table if run.steps else "no episodes yet")


def _list_groups(run: Run, step: str, groups: dict, console: Console) -> None:
    console.rule(_plain(f"{run.name}, {title(step)}"))
    table = Table(
        "group", "samples ended as", "return", caption="choose one with --group"
    )
    for name, records in groups.items():
        counts = collections.Counter(record["status"] for record in records)
        ended = ", ".join(f"{n} {status}" for status, n in counts.most_common())
        mean = sum(record["return"] for record in records) / len(records)
        table.add_row(_plain(name), ended, f"{mean:+.2f}")
    console.print(table)


def _show_task(run: Run, step: str, record: dict, console: Console) -> None:
    console.rule(_plain(f"{run.name}, {title(step)}, {record['bug_id']}"))
    for line in (record["text"], *record["tests"]):
        console.print(_plain(line))
    if record["turns"]:
        feedback = split_state(record["turns"][0]["state"])[1]
        console.print(_plain(f"feedback at the start: {feedback or 'all tests pass'}"))


def _show_episode(record: dict, console: Console) -> None:
    label = record["label"]
    name = label if label == "greedy" else f"sample {label}"
    told = f"{name}: {record['status']}, return {record['return']:+.2f}"
    if "passed" in record:
        told += f", hidden tests {'pass' if record['passed'] else 'fail'}"
    if record.get("learnt") is False:
        told += ", not learnt from"
    console.print()
    console.rule(told, align="left")
    for number, turn in enumerate(turns_of(record), 1):
        console.print()
        console.print(Text(f"turn {number}  ", "dim") + _plain(turn["command"], "bold"))
        for row in turn["rows"]:
            style = _STYLES[row.sign]
            line = Text(f"{row.sign} {row.number:>3} ", style or "dim")
            line += _plain(row.head, style) + _plain(row.changed, f"{style} underline")
            console.print(line + _plain(row.tail, style), soft_wrap=True)
        feedback = turn["feedback"] or "all tests pass"
        console.print(_plain(f"feedback: {feedback}"), soft_wrap=True)
        console.print(_figures(turn), style="dim")
        if turn.get("tokens"):
            console.print(_tokens(turn))


def _figures(turn: dict) -> Text:
    told = [f"reward {turn['reward']:+.2f}"]
    for name, words in (("return_to_go", "return"), ("advantage", "advantage")):
        if turn.get(name) is not None:
            told.append(f"{words} {turn[name]:+.2f}")
    if turn.get("log_probs"):
        told.append(f"log-prob {sum(turn['log_probs']):.2f}")
    return Text("  ".join(told))


def _tokens(turn: dict) -> Text:
    """Return each token with its log-prob; those below 50% are bold."""
    line = Text()
    for token, log_prob in zip(turn["tokens"], turn["log_probs"], strict=True):
        shown = token.replace(" ", "\u2423").replace("\n", "\u23ce")
        line += _plain(shown, "bold" if log_prob < -0.7 else "")
        line += Text(f" {log_prob:.2f}  ", "dim")
    return line


def _plain(text: str, style: str = "") -> Text:
    """Return text with the control characters of terminals escaped."""
    kept = (c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return Text("".join(kept), style)

"""Results of the stages: their rates, and each stage against the one before it."""

from collections.abc import Iterator, Sequence
from html import escape

from repair.report_page.markup import html_table
from repair.report_page.runs import Run
from repair.training.comparison import compare, count_changes, is_outcomes
from repair.training.tables import changes, headline, points, rate, sign_test

_STAGES = ("init", "sft", "rlvr")


def results_section(runs: Sequence[Run]) -> str:
    """Return the table of rates, and that of the comparisons."""
    rows = [
        row
        for run in runs
        for stage, figures in run.results["stages"].items()
        for row in _result_rows(run.name, stage, figures)
    ]
    if not rows:
        return "<p>No run has been evaluated yet.</p>"
    heads = ("Episodes", "pass@1", "pass@k", "Gave up", "Malformed", "Turns", "Bugs")
    table = html_table(
        "Rates in percent, with 95% intervals; k is the number of samples.",
        ["Run", "Stage", *heads],
        rows,
    )
    waiting = ", ".join(run.name for run in runs if not run.results["stages"])
    note = f"<p>Not evaluated yet: {escape(waiting)}.</p>"
    return table + (note if waiting else "") + _changes(runs)


def changes_between(runs: Sequence[Run]) -> list[tuple[str, str, dict, dict]]:
    """Compare each stage with the one before it, and with that of the first run.

    Returns:
      (stage, the other, difference of greedy pass@1 as from
      `repair.training.comparison.compare`, counts as from its `count_changes`) of each
      pair that was measured on the same bugs.
    """
    several, found = len(runs) > 1, []

    def name(run: Run, stage: str) -> str:
        return f"{run.name}, {stage}" if several else stage

    for run, stage, other_run, other in _pairs(runs):
        mine = run.results["stages"][stage].get("outcomes")
        theirs = other_run.results["stages"][other].get("outcomes")
        if is_outcomes(mine) and is_outcomes(theirs) and mine["bugs"] == theirs["bugs"]:
            counts = count_changes(mine, theirs)
            if counts["bugs"]:
                gap = compare(mine, theirs)["pass@1"]
                found.append((name(run, stage), name(other_run, other), gap, counts))
    return found


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[Run, str, Run, str]]:
    """Yield the pairs of a stage and another."""
    for run in runs:
        stages = run.results["stages"]
        for stage in stages:
            part = stage.split("/")[0]
            before = _STAGES[: _STAGES.index(part)] if part in _STAGES else ()
            if others := [other for other in before if other in stages]:
                yield run, stage, run, others[-1]
    for run in runs[1:]:
        for stage in run.results["stages"]:
            if stage in runs[0].results["stages"]:
                yield run, stage, runs[0], stage


def change_line(pair: tuple[str, str, dict, dict]) -> str:
    """Return one comparison of `changes_between` as a sentence."""
    stage, other, gap, counts = pair
    return f"{stage} against {other}: {changes(counts)}; pass@1 {points(gap)} points"


def _changes(runs: Sequence[Run]) -> str:
    pairs = changes_between(runs)
    if not pairs:
        return ""
    rows = [
        [stage, other, str(counts["mended"]), str(counts["broken"])]
        + [str(counts["bugs"]), points(gap), sign_test(counts)]
        for stage, other, gap, counts in pairs
    ]
    heads = ["Stage", "Against", "Mended", "Broken", "Bugs", "pass@1, points"]
    caption = (
        "Greedy episodes on the same bugs. Mended: the stage repairs the bug and the"
        " other does not; broken: the other way round. Interval (95%) and sign test"
        " take the bugs of one program as one; the test is of the programs with more"
        " mended than broken bugs against those with fewer."
    )
    return "<h3>Bug by bug</h3>" + html_table(caption, [*heads, "Sign test"], rows)


def _result_rows(run: str, stage: str, figures: dict) -> list[list[str]]:
    """Return the rows of a stage: of its greedy and of its sampled episodes."""
    rows, bugs = [], str(figures.get("bugs", "-"))
    if "pass@1" in figures:
        cells = [run, stage, "greedy", rate(figures["pass@1"]), "-"]
        rows.append([*cells, *_episode_cells(figures), bugs])
    if sampled := figures.get("sampled"):
        heat, (*_, highest) = figures.get("temperature", "-"), headline({"": figures})
        cells = [run, stage, f"sampled at {heat}", rate(figures["sampled_pass@1"])]
        k = "-" if highest == "pass@1" else f"{highest}: {rate(figures[highest])}"
        rows.append([*cells, k, *_episode_cells(sampled), bugs])
    return rows


def _episode_cells(figures: dict) -> list[str]:
    """Return the shares that gave up and were malformed, and the turns."""
    statuses, shares = figures.get("by_status") or {}, [None, figures.get("malformed")]
    if statuses:
        shares[0] = statuses.get("exited_unsolved", 0) / sum(statuses.values())
    turns = figures.get("turns")
    cells = ["-" if share is None else f"{100 * share:.1f}" for share in shares]
    return [*cells, "-" if turns is None else f"{turns:.2f}"]

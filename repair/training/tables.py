"""Tables of an evaluation's figures, for the terminal."""

from rich.table import Table

# Words for the ways in which an episode ends, in the order of a table.
ENDINGS = {
    "solved": "EXIT with the shown tests passed",
    "exited_unsolved": "gave up: EXIT with a shown test failing",
    "max_turns": "out of turns",
    "truncated": "out of context",
    "fault": "broken",
}


def results_table(results: dict) -> Table:
    """Return a table with a row a stage, for pass@1 and the highest k, in percent.

    Args:
      results: {"stages": {stage: {"pass@1": {"mean", "low", "high"}, ...}}}, rates
        in [0, 1]; a stage's other figures are left out.
    """
    stages = results["stages"]
    metrics = headline(stages)
    table = Table(caption="in percent, with 95% intervals")
    table.add_column("stage")
    for name in metrics:
        table.add_column(name, justify="right", no_wrap=True)
    for stage, figures in stages.items():
        table.add_row(stage, *(rate(figures.get(name)) for name in metrics))
    return table


def headline(stages: dict) -> list[str]:
    """Return the rates that a table shows: "pass@1" and the "pass@k" of highest k."""
    names = {name for figures in stages.values() for name in figures}
    ks = sorted(int(n.removeprefix("pass@")) for n in names if n.startswith("pass@"))
    return [f"pass@{k}" for k in dict.fromkeys((*ks[:1], *ks[-1:]))]


def rate(figure: dict | None) -> str:
    """Return a rate with its interval, like "12.5 (7.9 to 19.3)"; "-" for none."""
    if figure is None:
        return "-"
    mean, low, high = (100 * figure[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def points(gap: dict) -> str:
    """Return a difference of rates with its interval, like "+3.1 (-2.0 to +8.2)"."""
    mean, low, high = (100 * gap[name] for name in ("mean", "low", "high"))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def changes(counts: dict) -> str:
    """Return the counts of `repair.training.comparison.count_changes` in words."""
    return (
        f"{counts['mended']} bugs mended, {counts['broken']} broken of"
        f" {counts['bugs']}, sign test {sign_test(counts)}"
    )


def sign_test(counts: dict) -> str:
    """Return the p of a sign test over programs, and how many are on either side."""
    p = "p < 0.001" if counts["p"] < 0.001 else f"p = {counts['p']:.2g}"
    return f"{p} ({counts['better']} to {counts['worse']})"


def episode_tables(figures: dict) -> list[Table]:
    """Return tables of an evaluation's episodes: endings, turns, corruptions.

    Args:
      figures: As from `repair.training.evaluation.measure`.
    """
    kinds = {"greedy": figures} | (
        {"sampled": figures["sampled"]} if "sampled" in figures else {}
    )
    endings = Table(
        title="percent of episodes",
        caption="pass@k asks for the hidden tests too",
    )
    turns = Table(title="percent of episodes")
    for table, name in ((endings, "episode ended"), (turns, "first passed at turn")):
        table.add_column(name)
        for kind in kinds:
            table.add_column(kind, justify="right")
    for status, words in ENDINGS.items():
        shares = [
            each["by_status"].get(status, 0) / max(sum(each["by_status"].values()), 1)
            for each in kinds.values()
        ]
        if any(shares):
            endings.add_row(words, *map(_percent, shares))
    endings.add_section()
    malformed = [_percent(each["malformed"]) for each in kinds.values()]
    endings.add_row("malformed, of all commands", *malformed)
    mean = [f"{each['turns']:.1f}" for each in kinds.values()]
    endings.add_row("turns of an episode (mean)", *mean)
    # Results of older versions lack it.
    if all("sampled_tokens" in each for each in kinds.values()):
        mean = [f"{each['sampled_tokens']:.1f}" for each in kinds.values()]
        endings.add_row("sampled tokens of an episode (mean)", *mean)
    for turn in sorted({int(t) for each in kinds.values() for t in each["by_turn"]}):
        shares = [each["by_turn"].get(str(turn), 0.0) for each in kinds.values()]
        turns.add_row(str(turn), *map(_percent, shares))
    by_corruptions = Table(
        "corruptions", "greedy pass@1", caption="percent of the bugs"
    )
    for number, share in figures["by_corruptions"].items():
        by_corruptions.add_row(number, _percent(share))
    return [table for table in (endings, turns, by_corruptions) if table.row_count]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"

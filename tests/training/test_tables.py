"""Tables of figures, as they are printed."""

import io

from rich.console import Console

from repair.training.tables import episode_tables, results_table


def test_results_table():
    results = {
        "stages": {
            "init": {"pass@1": {"mean": 0.0, "low": 0.0, "high": 0.019}, "bugs": 200},
            "sft": {
                "pass@1": {"mean": 0.5, "low": 0.431, "high": 0.569},
                "pass@4": {"mean": 0.625, "low": 0.56, "high": 0.69},
                "by_turn": {"1": 0.2},
            },
        }
    }
    out = io.StringIO()
    Console(file=out, width=80).print(results_table(results))
    init, sft = (
        li for li in out.getvalue().splitlines() if "init" in li or "sft" in li
    )
    assert init.split() == "│ init │ 0.0 (0.0 to 1.9) │ - │".split()
    assert sft.split() == "│ sft │ 50.0 (43.1 to 56.9) │ 62.5 (56.0 to 69.0) │".split()
    assert "bugs" not in out.getvalue() and "by_turn" not in out.getvalue()


def test_episode_tables():
    greedy = {
        "by_status": {"truncated": 1, "solved": 3},
        "by_turn": {"2": 0.25, "10": 0.5},
        "malformed": 0.0625,
        "turns": 5.25,
        "sampled_tokens": 40.0,
    }
    sampled = {"by_status": {"exited_unsolved": 2, "solved": 6}, "by_turn": {"1": 0.75}}
    sampled |= {"malformed": 0.5, "turns": 2.0, "sampled_tokens": 31.26}
    figures = greedy | {"sampled": sampled, "by_corruptions": {"1": 1.0, "2": 0.125}}
    out = io.StringIO()
    for table in episode_tables(figures):
        Console(file=out, width=80).print(table)
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in out.getvalue().splitlines()
        if line.startswith("│")
    ]
    assert rows == [
        ["EXIT with the shown tests passed", "75.0", "75.0"],
        ["gave up: EXIT with a shown test failing", "0.0", "25.0"],
        ["out of context", "25.0", "0.0"],
        ["malformed, of all commands", "6.2", "50.0"],
        ["turns of an episode (mean)", "5.2", "2.0"],
        ["sampled tokens of an episode (mean)", "40.0", "31.3"],
        ["1", "0.0", "75.0"],
        ["2", "25.0", "0.0"],
        ["10", "50.0", "0.0"],
        ["1", "100.0"],
        ["2", "12.5"],
    ]


def test_tables_without_samples_or_episodes():
    figures = {"by_status": {}, "by_turn": {}, "by_corruptions": {}}
    (table,) = episode_tables(figures | {"malformed": 0.0, "turns": 1.0})
    assert [column.header for column in table.columns] == ["episode ended", "greedy"]

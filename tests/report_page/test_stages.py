"""Stages against one another, bug by bug."""

import dataclasses
import re

from repair.report_page.stages import change_line, changes_between, results_section
from repair.tasks import Bug, Task
from repair.training.comparison import by_bug

RATE = {"mean": 0.5, "low": 0.25, "high": 0.75}
BUGS = [Bug(f"{n}", Task(n, "", f"{n}", ("t",)), "") for n in range(8)]


def evaluated(run, **greedy):
    """Return a run with stages of these greedy outcomes, a digit a bug."""
    stages = {
        stage: {
            "pass@1": RATE,
            "outcomes": by_bug(BUGS, {str(n): int(x) for n, x in enumerate(digits)}),
        }
        for stage, digits in greedy.items()
    }
    return dataclasses.replace(run, results={"stages": stages})


def test_each_stage_is_compared_with_the_one_before(runs):
    run = evaluated(
        runs[0],
        init="00000000",
        sft="11100000",
        **{"sft/best": "11110000"},
        rlvr="11011100",
    )
    found = {(pair[0], pair[1]): pair[3] for pair in changes_between([run])}
    assert list(found) == [("sft", "init"), ("sft/best", "init"), ("rlvr", "sft")]
    # Three mended, one broken: of 16 outcomes of 4 coins 10 are as uneven.
    counts = {"bugs": 8, "mended": 3, "broken": 1, "better": 3, "worse": 1}
    assert found["rlvr", "sft"] == counts | {"p": 0.625}
    line = change_line(changes_between([run])[-1])
    assert line.startswith(
        "rlvr against sft: 3 bugs mended, 1 broken of 8, sign test p = 0.62 (3 to 1);"
        " pass@1 +25.0 ("
    )
    section = results_section([run])
    table = section[section.index("Bug by bug") :]
    cells = re.findall(">([^<>]+)</t[hd]>", table.split("<tr>")[-1])
    assert cells[:5] == ["rlvr", "sft", "3", "1", "8"]
    assert cells[5].startswith("+25.0 (") and cells[6] == "p = 0.62 (3 to 1)"


def test_runs_are_compared_with_the_first(runs):
    first = evaluated(runs[0], sft="11100000")
    second = evaluated(runs[1], sft="11111110")
    ((stage, other, gap, counts),) = changes_between([first, second])
    assert (stage, other) == ("second, sft", "first <b>, sft")
    assert (gap["mean"], counts["mended"], counts["broken"]) == (0.5, 4, 0)


def test_other_bugs_and_stages_without_outcomes_are_not_compared(runs):
    first = evaluated(runs[0], sft="11100000")
    second = evaluated(runs[1], sft="11111110")
    second.results["stages"]["sft"]["outcomes"]["bugs"] = "other"
    assert changes_between([first, second]) == []
    del second.results["stages"]["sft"]["outcomes"]
    assert changes_between([first, second]) == []
    assert "Bug by bug" not in results_section([first, second])

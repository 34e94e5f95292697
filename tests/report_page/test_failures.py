"""Failures counted by class, with a link to each list."""

import html
import re

from repair.report_page.failures import failure_rows, failures_section
from repair.report_page.runs import parts


def tables_of(section):
    """Return the rows of each table by its first heading: texts of the cells."""
    found = {}
    for table in re.findall("<table>.*?</table>", section):
        rows = [
            [
                html.unescape(re.sub("<[^>]*>", "", cell))
                for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)
            ]
            for row in re.findall("<tr>(.*?)</tr>", table)
        ]
        found[rows[0][0]] = rows[1:]
    return found


def test_failures_are_counted_by_five_classes(runs):
    """Of one/1 a sample fails after two turns, of one/2 all do after one."""
    section = failures_section(runs[:1], [parts(runs[0], 0)])
    assert section.count("<details open>") == section.count("<details") == 1
    assert "1 of 2 greedy episodes fail, 3 of 4 sampled episodes fail" in section
    words = "gave up: EXIT with a shown test failing"
    assert tables_of(section) == {
        "Ended as": [[words, "1 of 1", "3 of 3"]],
        "Turns made": [["1", "1 of 1", "2 of 2"], ["2", "0 of 1", "1 of 2"]],
        "Corruptions": [["1", "1 of 2", "3 of 4"]],
        "Error at the start": [["wrong value", "1 of 2", "3 of 4"]],
        "Error at the end": [["wrong value", "1", "3"]],
    }
    links = [html.unescape(link) for link in re.findall('href="([^"]*)"', section)]
    assert links[0] == (
        "#run=first+%3Cb%3E&step=eval_sft&by=status&value=exited_unsolved&kind=greedy"
    )
    assert len(links) == 11  # no link where none fails


def test_failures_off_the_page_are_counted_too(runs):
    (part,) = parts(runs[0], 1)
    assert len(part.groups) == 1
    assert "3 of 4 sampled" in failures_section(runs[:1], [[part]])
    lost = ["1", "exited_unsolved", 2, "wrong value", -0.5]
    first, second = failure_rows(part)
    assert first == ["one/1", "1", "wrong value", [lost]]
    assert [episode[0] for episode in second[3]] == ["greedy", "0", "1"]


def test_without_an_evaluation_that_is_said(runs):
    trained = parts(runs[0], 0, "1")
    assert "No evaluation has kept" in failures_section(runs[:1], [trained])

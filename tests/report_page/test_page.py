"""The text of the page: complete, escaped, with a list of the parts left out."""

import base64
import dataclasses
import hashlib
import html
import json
import re

import pytest

from repair.errors import UserError
from repair.report_page import curves
from repair.report_page.page import write_page


def data_of(page):
    (text,) = re.findall(r'<script id="data"[^>]*>(.*?)</script>', page)
    return json.loads(text)["runs"]


def rows_of(table):
    return re.findall("<tr>.*?</tr>", table)


@pytest.fixture
def page(page_text):
    return page_text


def test_results_stand_in_one_table_with_intervals(page):
    table = page[page.index("<table>") : page.index("</table>")]
    assert table.count("<tr>") == 5
    assert table.count('<th scope="row">') == 4 and 'scope="col">pass@k' in table
    greedy, sampled = (re.findall(">([^<>]+)<", row) for row in rows_of(table)[1:3])
    assert greedy[2:] == ["greedy", "50.0 (25.0 to 75.0)", "-"] + (
        ["50.0", "10.0", "1.50", "2"]
    )
    assert sampled[2:4] == ["sampled at 0.8", "45.0 (25.0 to 75.0)"]
    assert sampled[4:] == ["pass@2: 60.0 (25.0 to 75.0)", "0.0", "20.0", "2.50", "2"]
    assert "first &lt;b&gt;" in table


def test_results_of_greedy_episodes_alone_have_one_row(runs):
    figures = {"pass@1": runs[0].results["stages"]["sft"]["pass@1"]}
    bare = dataclasses.replace(runs[0], results={"stages": {"init": figures}})
    page = write_page([bare], 1)
    table = page[page.index("<table>") : page.index("</table>")]
    cells = re.findall(">([^<>]+)<", rows_of(table)[1])
    assert cells[1:] == ["init", "greedy", "50.0 (25.0 to 75.0)", *"-----"]


def test_alarms_stand_above_the_curves(page, runs):
    said = "rlvr, step 2: 40% give up &lt;now&gt;; try more</li>"
    assert page.count(said) == 2 and f"second, {said}" in page
    assert page.index("<h3>Alarms</h3>") < page.index("<h3>Supervised")
    calm = dataclasses.replace(runs[0], metrics=runs[0].metrics[:10])
    assert "Alarms" not in write_page([calm], 1)


def test_nothing_in_a_program_gets_out_of_its_place(page, rollouts):
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page and "<b>" not in page and "\u2028" not in page
    episode = data_of(page)[0]["steps"][1]["groups"][0]["episodes"][0]
    shown = "".join(episode["turns"][0]["rows"][1][2:])
    assert shown == rollouts[0].bug.faulty_code.split("\n")[1]


def test_it_needs_no_network(page):
    assert not re.findall(r"(?:src|href|action)=\"(?!#|data:)[^\"]*\"", page)
    assert "@import" not in page and not re.findall(r"url\((?!#)", page)
    policy = html.unescape(re.search(r'content="(default-src[^"]*)"', page)[1])
    script = page[page.rindex("<script>") + 8 : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"'sha256-{digest}'" in policy


def test_episodes_have_what_training_knew_of_them(page):
    step = data_of(page)[0]["steps"][1]
    assert (step["name"], step["title"]) == ("rlvr_1", "RLVR, step 1")
    first, second = step["groups"][0]["episodes"]
    assert [first["status"], second["status"]] == ["solved", "exited_unsolved"]
    turn = first["turns"][0]
    assert turn["advantage"] == 1.5 and turn["return_to_go"] == 1.0
    assert len(turn["tokens"]) == len(turn["log_probs"]) > 3
    assert turn["feedback"] == "" and turn["rows"][1][3] == "-"
    assert step["groups"][1]["episodes"][0]["learnt"] is False


def test_a_run_that_broke_is_shown(runs, tmp_path):
    """Show log-probs of nan, which JSON lacks."""
    path = tmp_path / "rlvr_1.jsonl"
    rows = list(map(json.loads, runs[0].steps["rlvr_1"].read_text().splitlines()))
    rows[0]["turns"][0]["log_probs"][0] = float("nan")
    rows[0]["turns"][0]["advantage"] = float("inf")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    broken = dataclasses.replace(runs[0], steps={"rlvr_1": path})
    (step,) = data_of(write_page([broken], 0))[0]["steps"]
    turn = step["groups"][0]["episodes"][0]["turns"][0]
    assert turn["log_probs"][0] is None and turn["advantage"] is None


def test_what_is_left_out_is_said(runs, monkeypatch):
    monkeypatch.setattr(curves, "draw_curves", lambda runs, stage: [])
    page = write_page(runs[:1], 1)
    assert "1 of 2" in page and "left out: rlvr_1, rlvr_2." in page
    assert "--episodes=0" in page
    said = "counted: evaluation after SFT (1 of 2)."
    assert page.index(said) < page.index('id="results"')
    assert "(1 of 2)" not in write_page(runs[:1], 1000)
    assert [s["name"] for s in data_of(page)[0]["steps"]] == ["eval_sft"]
    pair = write_page(runs, 1)  # less than one episode for each run
    assert "; second, evaluation after SFT (1 of 2)." in pair
    both = data_of(pair)
    assert [[s["name"] for s in run["steps"]] for run in both] == [["eval_sft"]] * 2
    one = data_of(write_page(runs[:1], 1, "2", "one/2"))[0]["steps"]
    assert [[g["name"] for g in step["groups"]] for step in one] == [["one/2"]]


def test_what_is_not_there_is_refused(runs):
    with pytest.raises(UserError, match="no episodes of step '9'"):
        write_page(runs, 1000, "9")
    with pytest.raises(UserError, match="no group 'x'"):
        write_page(runs, 1000, "1", "x")

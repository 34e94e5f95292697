"""Curves: the numbers drawn, and SVG of which a page can hold many."""

import re

import numpy as np

from repair.report_page import curves


def found(run, stage, title):
    (curve,) = (c for c in curves.CURVES[stage] if c.title == title)
    steps, values = curves.series(run, stage, curve)
    return steps.tolist(), values.tolist()


def test_numbers_are_those_of_the_lines_that_have_them(runs):
    assert found(runs[0], "rlvr", "Solve rate") == ([1, 2], [0.25, 0.5])
    assert found(runs[0], "rlvr", "KL") == ([2], [0.01])
    assert found(runs[0], "rlvr", "Entropy") == ([], [])  # nan is written as null


def test_throughput_is_of_tokens_and_seconds(runs):
    assert found(runs[0], "rlvr", "Throughput") == ([1, 2], [200.0, 200.0])
    assert found(runs[0], "rlvr", "Episodes") == ([1, 2], [2.0, 2.0])
    batch = runs[0].config["sft"]["rows"] * runs[0].config["sft"]["row_length"]
    _, values = found(runs[0], "sft", "Throughput")
    np.testing.assert_allclose(values, 0.9 * batch / 0.5)


def test_the_mean_is_centred():
    values = np.arange(160.0) ** 2
    smooth = curves.smoothed(values)
    # A window of five: (4 + 1 + 0 + 1 + 4) / 5 above the square of the middle, narrower
    # at the ends.
    np.testing.assert_allclose(
        (smooth - values)[[0, 1, 2, 80, 157, 158, 159]],
        [
            *(0, 2 / 3, 2, 2, 2, 2 / 3, 0),
        ],
    )
    few = np.arange(9.0)
    assert curves.smoothed(few) is few


def test_values_are_read_off_within_the_frame(runs, monkeypatch):
    monkeypatch.setattr(curves, "_MOST", 45)
    loss = curves.draw_curves(runs, "sft")[0].values
    left, top, right, bottom = loss["frame"]
    assert 0 < left < right < 1 and 0 < top < bottom < 1
    low, high = loss["steps"]
    assert low < 1 and 90 < high
    name, steps, values, means = loss["lines"][1]
    assert name == "second" and steps == list(range(2, 91, 2))
    assert values[:3] == [1.5, 0.75, 0.5] and values[-1] == 0.03333
    assert means[0] == round((3 + 1.5 + 1) / 3, 3)  # of steps 1 to 3
    (solved,) = (p for p in curves.draw_curves(runs, "rlvr") if p.title == "Solve rate")
    assert solved.values["lines"][0] == ["first <b>", [1, 2], [0.25, 0.5], None]


def test_all_runs_are_in_one_plot(runs):
    plots = {plot.title: plot for plot in curves.draw_curves(runs, "sft")}
    assert list(plots) == ["Loss", "Command loss", "Throughput"]
    loss = plots["Loss"]
    assert "var(--series-0)" in loss.svg and "var(--series-1)" in loss.svg
    assert "stroke-dasharray" in loss.svg
    assert "first <b>: 3 at step 1, 0.0333 at step 90; second: 3" in loss.words
    (alone,) = (p for p in curves.draw_curves(runs[:1], "sft") if p.title == "Loss")
    assert "var(--series-1)" not in alone.svg


def test_svgs_share_no_id_and_bring_nothing_of_their_own(runs):
    plots = curves.draw_curves(runs, "sft") + curves.draw_curves(runs, "rlvr")
    text = "".join(plot.svg for plot in plots) + curves.swatch(0) + curves.swatch(1)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'url\(#([^)"]*)|href="#([^"]*)', text)) <= {
        pair for name in ids for pair in ((name, ""), ("", name))
    }
    assert "<style" not in text and "font-family" not in text and "#a0b0" not in text

"""The foot of the page: facts of a run, differences of several."""

import dataclasses
import re

from repair.report_page.origins import origins_section

MACHINE = {"commit": "abc-dirty", "jax": "0.9", "instruction set": "sse avx"}


def rows_of(section):
    """Return the rows before the fold, and those within it, by their headings."""
    found = []
    for table in section.split("<details>"):
        cells = [
            re.findall("<t[hd][^>]*>([^<]*)</t[hd]>", row)
            for row in re.findall("<tr>(.*?)</tr>", table)
        ]
        found.append({first: rest for first, *rest in cells})
    return found


def test_one_run_tells_its_facts_and_what_it_changed(runs):
    config = runs[0].config | {"mode": "cot", "history": [{"sft.steps": [1, 2]}]}
    stages = {"init": {"seconds": 50.4}, "sft": {"seconds": 30}}
    results = {"stages": stages, "seconds": {"sft": 3725.2}}
    run = dataclasses.replace(runs[0], config=config, results=results, machine=MACHINE)
    shown, folded = rows_of(origins_section([run]))
    assert (shown["seed"], shown["commit"], shown["jax"]) == (
        ["0"],
        ["abc-dirty"],
        ["0.9"],
    )
    assert shown["duration of sft"] == ["1:02:05"]
    assert shown["duration of evaluations"] == ["0:01:20"]
    assert shown["changed when resumed"] == ["sft.steps 1 -&gt; 2"]
    assert shown["mode"] == ["cot"] and "sft.steps" not in shown
    assert "sft.steps" in folded and "mode" not in folded
    assert folded["instruction set"][0].startswith("2 flags, digest ")


def test_several_runs_tell_their_differences(runs):
    first = dataclasses.replace(runs[0], machine=MACHINE)
    second = dataclasses.replace(runs[1], machine=MACHINE | {"jax": "0.8"})
    shown, folded = rows_of(origins_section([first, second]))
    assert shown["seed"] == ["0", "1"] and shown["jax"] == ["0.9", "0.8"]
    assert shown.keys() == {"", "folder", "seed", "jax"}
    assert folded["commit"] == ["abc-dirty"] * 2 and len(folded["mode"]) == 2


def test_an_evaluations_folder_tells_its_own(runs):
    results = {"stages": {}, "checkpoint": "a/sft", "tasks": "9 of 9", "seed": 7}
    run = dataclasses.replace(runs[0], config={}, results=results, machine={})
    section = origins_section([run])
    (shown,) = rows_of(section)
    assert "config" not in section
    assert shown["checkpoint"] == ["a/sft"] and shown["tasks"] == ["9 of 9"]
    assert shown["seed"] == ["7"]

"""Commands of benchmarks and experiments: each starts, and its settings are valid."""

import argparse
import json
import pathlib
import subprocess
import sys

import pytest

from configs import smollm2_135m, tiny
from experiments import ablations, levers, published, studies
from repair.training.config import read

ROOT = pathlib.Path(__file__).parent.parent
COMMANDS = [
    f"{folder}.{path.stem}"
    for folder in ("benchmarks", "experiments")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "__main__" in path.read_text()
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_its_help(command):
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"{command.split('.')[1]}.py" in done.stdout


CHOICES = [*ablations.VARIANTS.values()]
CHOICES += [
    dict(field.split("=") for field in fields) for fields in levers.LEVERS.values()
]


@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_settings_of_a_study_are_a_config(changes):
    """A variant that a config refuses would be found out after hours."""
    check(tiny.get_config(), changes)


@pytest.mark.parametrize("size", ["laptop_", ""])
@pytest.mark.parametrize("row", published.ROWS)
def test_settings_of_a_published_row_are_a_config(row, size):
    config = smollm2_135m.get_config(f"{size}{published.mode_of(row)}")
    check(config, published.settings_of(row, 7))
    own = row in published.UNTRAINED
    assert config.tasks.eval_count == (7 if own else 64 if size else 0)


def check(config, changes):
    for path, value in changes.items():
        default = config
        for name in path.split("."):
            default = default[name]
        config.update_from_flattened_dict({path: type(default)(value)})
    read(config)


def test_figures_of_a_published_row(tmp_path):
    rate = {"mean": 0.5}
    result = {"bugs": 4, "malformed": 0.25, "by_status": {"exited_unsolved": 1}}
    result["sampled_tokens"] = 30.5
    names = ("pass@1", "shown_pass@1", "sampled_pass@1", "pass@4")
    text = json.dumps({"stages": {"mbpp/test": result | dict.fromkeys(names, rate)}})
    for stage in published.STAGES:
        out = tmp_path / "coe0" / "test" / stage
        out.mkdir(parents=True)
        (out / "results.json").write_text(text)
    lines = [
        {"stage": "sft", "step": 1},
        {"stage": "rlvr", "step": 1, "sampled_tokens": 5, "zero_variance_groups": 1.0},
        {"stage": "rlvr", "step": 2, "sampled_tokens": 7, "zero_variance_groups": 0.5},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "coe0" / "metrics.jsonl").write_text(text)
    found = published.figures("coe", 0, tmp_path)
    rates = dict.fromkeys(names, 50.0) | {"gave up": 25.0, "malformed": 25.0}
    rates["tokens an episode"] = 30.5
    assert found["coe sft"] == rates
    own = {"sampled tokens": 12, "groups with signal": 25.0}
    assert found["coe rlvr"] == rates | own
    assert published.figures("zero_shot", 0, tmp_path) == {}
    # Greedy alone, as by --samples=0.
    greedy = result | dict.fromkeys(names[:2], rate)
    (tmp_path / "zero_shot0").mkdir()
    text = json.dumps({"stages": {"init": greedy}})
    (tmp_path / "zero_shot0" / "results.json").write_text(text)
    found = published.figures("zero_shot", 0, tmp_path)
    own = {"pass@1": 50.0, "shown_pass@1": 50.0, "gave up": 25.0, "malformed": 25.0}
    assert found == {"zero_shot init": own | {"tokens an episode": 30.5}}


def test_baselines_are_variants_with_the_same_seeds():
    for name, baseline in ablations.BASELINES.items():
        assert {name, baseline} < set(ablations.VARIANTS)
        assert (name in ablations.FIVE_SEEDS) == (baseline in ablations.FIVE_SEEDS)


def test_parts_of_a_study_are_chosen_by_name_and_seed():
    parts = [("a", 0), ("a", 1), ("b", 0)]

    def of(part):
        return studies.chosen(argparse.ArgumentParser(), part, parts)

    assert of("") == parts and of("a") == parts[:2] and of("a/1") == parts[1:2]
    with pytest.raises(SystemExit):
        of("c")

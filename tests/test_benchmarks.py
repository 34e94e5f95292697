"""Commands of benchmarks and experiments: each starts, and its settings are valid."""

import argparse
import pathlib
import subprocess
import sys

import pytest

from configs import tiny
from experiments import ablations, levers, studies
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
    config = tiny.get_config()
    for path, value in changes.items():
        default = config
        for name in path.split("."):
            default = default[name]
        config.update_from_flattened_dict({path: type(default)(value)})
    read(config)


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

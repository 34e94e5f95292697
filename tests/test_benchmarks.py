"""Commands of benchmarks and experiments: each starts."""

import pathlib
import subprocess
import sys

import pytest

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

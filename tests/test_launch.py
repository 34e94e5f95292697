"""The launch scripts say what they should, to programs that only repeat it."""

import os
import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).parent.parent / "launch" / "machine.sh"


@pytest.mark.parametrize(
    ("settings", "installs", "trains"),
    [
        ({}, "-e .", "--config=configs/tiny.py --workdir=runs/tiny --x=1"),
        (
            {"EXTRA": "cuda", "CONFIG": "a.py", "WORKDIR": "w"},
            "-e .[cuda]",
            "--config=a.py --workdir=w --x=1",
        ),
    ],
)
def test_one_machine_installs_then_trains(tmp_path, settings, installs, trains):
    (tmp_path / "bin").mkdir()
    for name in ("pip", "python"):
        program = tmp_path / "bin" / name
        program.write_text('#!/bin/sh\necho "$(basename "$0")" "$@"\n')
        program.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "VENV": str(tmp_path)} | settings
    done = subprocess.run(
        [SCRIPT, "--x=1"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"pip install --quiet {installs}",
        f"python -m repair.train {trains}",
    ]

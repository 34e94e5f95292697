"""Other trainers bring their own frameworks: none of ours comes with a bridge."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_importing_the_bridges_loads_no_jax():
    """In one process, since each of them takes seconds to load."""
    for package in ("gymnasium", "verifiers", "trl"):
        pytest.importorskip(package, reason=f"needs pip install -e '.[{package}]'")
    code = (
        "import sys\n"
        "from repair.integrations import gym_env, trl_env, verifiers_env\n"
        "print(sorted({'jax', 'flax', 'optax', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

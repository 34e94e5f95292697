"""Other trainers bring their own frameworks: none of ours comes with a bridge."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize("package", ["gymnasium", "verifiers", "trl"])
def test_importing_a_bridge_loads_no_jax(package):
    pytest.importorskip(package, reason=f"needs pip install -e '.[{package}]'")
    module = {"gymnasium": "gym_env"}.get(package, f"{package}_env")
    code = (
        f"import sys, repair.bridges.{module};"
        "print(sorted({'jax', 'flax', 'optax', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

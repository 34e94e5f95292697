"""A plan through the command line, and beside the formulas of benchmarks/."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from repair.errors import UserError
from repair.training import plan

ROOT = pathlib.Path(__file__).parents[2]


def python(*arguments):
    """Runs a module of the project as a user would: how it ended."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("name", "devices", "gib"),
    [("v4-32", 16, 32), ("v5p-64", 32, 95), ("v5e-8", 8, 16), ("h200-8", 8, 131)],
)
def test_machines_have_their_devices(name, devices, gib):
    assert plan.machine(name) == plan.Machine(name, devices, gib * 2**30)


@pytest.mark.parametrize("name", ["v4-31", "h200-0", "h200", "v9-8", "8", "h200-8x"])
def test_other_machines_are_refused_with_the_choices(name):
    with pytest.raises(UserError, match=rf"--plan={name} .* h100, h200, v4, .* v5p-64"):
        plan.machine(name)


def test_a_plan_fits_if_every_phase_leaves_room():
    where = plan.Machine("two", 2, 100.0)
    full = plan.Phase({"weights": 60.0, "caches": 31.0}, "a step")
    most = plan.Phase({"weights": 60.0, "caches": 30.0}, "a step")
    assert full.total == 91.0
    assert plan.fits(where, {"sft": most, "rlvr": most})
    assert not plan.fits(where, {"sft": most, "rlvr": full})


@pytest.mark.slow
def test_a_plan_that_fits_is_a_table():
    done = python("repair.train", "--config=configs/smollm2_135m.py", "--plan=v5e-8")
    assert done.returncode == 0, done.stderr
    assert "8 devices of 16 GiB, mesh data=8, fsdp=1, tensor=1" in done.stdout
    assert re.search(r"weights +│ +0.25 │ +0.25 │ +0.25 │", done.stdout)
    assert re.search(r"caches +│ +│ +│ +9.14 │", done.stdout)
    assert done.stdout.endswith("fits in 90% of the memory\n")


@pytest.mark.slow
def test_a_plan_that_does_not_fit_says_so():
    done = python(
        "repair.train",
        "--config=configs/tiny.py",
        "--plan=v5e-1",
        "--config.sampler.slots=100000",
        "--config.stages=('rlvr',)",
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.endswith("does not fit in 90% of the memory\n")


def test_a_machine_that_is_none_is_the_users_mistake():
    done = python("repair.train", "--config=configs/tiny.py", "--plan=v9-8")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --plan=v9-8 is no machine; give KIND-COUNT")


@pytest.mark.slow
def test_a_plan_agrees_with_the_formulas():
    arguments = ["--configs=smollm2_135m", "--machines=v5e-4"]
    # Parts of weights that are put together, so that every formula has its say.
    arguments += ["--override=mesh.fsdp=2", "--override=stages=('rlvr',)"]
    done = python("benchmarks.plans", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    ratios = [float(each) for each in re.findall(r"= (\d+\.\d+) \|", done.stdout)]
    # Of an update, of gathered weights, of rollouts; all but activations are exact.
    assert len(ratios) == 5 + 2 + 3 and ratios.count(1.0) == 9
    assert "smollm2_135m on v5e-4: fits\n" in done.stdout


def test_ratios_that_miss_their_bars_are_named(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)  # benchmarks are not installed
    from benchmarks import plans

    expected = {"operations": 100.0e12, "sent": 1.0e9, "weights": 2.0e9}
    planned = {"operations": 104.0e12, "sent": 0.8e9, "weights": 2.1e9}
    phases = {"sft": {"expected": expected, "planned": planned}}
    assert plans.missed({"phases": phases}) == ["sft, sent", "sft, weights"]
    assert plans.ratio(0.0, 0.0) == 1.0 and plans.ratio(5e6, 0.0) == float("inf")

"""A plan: its machines, its figures, and the command line around it."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest

from repair.errors import UserError
from repair.model.api import Model
from repair.model.sharding import make_mesh
from repair.training import plan
from repair.training.config import defaults, read

ROOT = pathlib.Path(__file__).parents[2]
GIB = 2**30


def run_plan(*arguments):
    """Run `repair.train --plan` as a user would; return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "repair.train", *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def small(**sections):
    """Return a config whose programs compile in a second."""
    c = defaults()
    c.model.update(vocab_size=64, width=16, mlp_width=32, layers=3)
    c.model.update(heads=2, kv_heads=1, head_size=8)
    c.text.max_length = c.sft.row_length = c.rlvr.row_length = 256
    c.sft.rows = c.rlvr.rows = 2
    for section, values in sections.items():
        c[section].update(values)
    return read(c)


@pytest.mark.parametrize(
    ("name", "devices", "gib"),
    [
        ("v4-32", 16, 32),
        ("v5p-64", 32, 95),
        ("v5e-8", 8, 16),
        ("h200-8", 8, 131),
        ("24GiB-2", 2, 24),
    ],
)
def test_machines_have_their_devices(name, devices, gib):
    assert plan.machine(name) == (devices, gib * GIB)


@pytest.mark.parametrize(
    ("name", "dtype", "computed"),
    [
        ("t4-2", "bfloat16", "float32"),
        ("t4-2", "float16", "float16"),
        ("l4-2", "bfloat16", "bfloat16"),
    ],
)
def test_a_machine_without_bfloat16_is_planned_in_float32(name, dtype, computed):
    config = small(model={"dtype": dtype})
    planned = plan.as_computed(config, name)
    assert planned.model == dataclasses.replace(config.model, dtype=computed)
    assert dataclasses.replace(planned, model=config.model) == config


@pytest.mark.parametrize(
    "name", ["v4-31", "h200-0", "h200", "v9-8", "8", "h200-8x", "24GiB-0"]
)
def test_other_machines_are_refused_with_the_choices(name):
    with pytest.raises(UserError, match=rf"--plan={name} .* h200, b200, v4, .* v5p-64"):
        plan.machine(name)


def test_a_plan_fits_if_every_phase_leaves_room():
    full = {"caches": 0.91 * 16 * GIB}
    most = {"parameters": 0.45 * 16 * GIB, "caches": 0.45 * 16 * GIB}
    assert plan.fits("v5e-8", {"sft": most, "rlvr": most})
    assert not plan.fits("v5e-8", {"sft": most, "rlvr": full})


@pytest.mark.slow
def test_each_phase_holds_parameters_optimizer_and_its_own():
    config = small(sampler={"slots": 8, "cohorts": 2, "prefill": 4, "lengths": (256,)})
    config = dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, data=1))
    phases = plan.plan(config)
    assert set(phases) == {"sft", "rlvr", "rollouts"}
    shapes = jax.eval_shape(Model(config.model).init_params, jax.random.key(0))
    parameters = 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    for held in phases.values():
        assert held["frozen parameters"] == 0
        assert held["trained parameters"] == parameters
        assert 2 * parameters <= held["optimizer"] < 2 * parameters + 100  # and a step
    assert phases["sft"]["activations, gradients"] > parameters
    rows = 4 * (2 + 1) + 4  # cohorts and one more, and the prompts
    numbers = rows * 256 * 3 * 2 * 1 * 8  # tokens, layers, keys and values, heads
    assert phases["rollouts"]["caches"] == 4 * numbers
    assert phases["rollouts"]["logits"] == 4 * 4 * (8 + 4) * 64


def test_the_remedy_is_for_the_largest_part_of_the_fullest_phase():
    small, large = {"optimizer": 5.0, "logits": 4.0}, {"optimizer": 4.0, "logits": 6.0}
    assert plan.remedy({"sft": small, "rollouts": large}).startswith(
        "rollouts needs most, for logits: lower sampler.slots"
    )
    assert "raise mesh.fsdp" in plan.remedy({"sft": small})
    activations = {"activations, gradients": 1.0}
    assert "lower sft.rows" in plan.remedy({"sft": activations})
    assert "lower rlvr.rows" in plan.remedy({"rlvr": activations})


def test_a_run_that_does_not_train_has_no_plan():
    with pytest.raises(UserError, match="nothing to plan"):
        plan.plan(dataclasses.replace(small(), stages=("eval",)))


@pytest.mark.parametrize("stage", ["sft", pytest.param("rlvr", marks=pytest.mark.slow)])
def test_flops_are_those_of_the_layers_unrolled(stage):
    config = small()
    stacked = dataclasses.replace(config.model, scan_layers=True)
    model = Model(config.model, make_mesh(devices=jax.devices()[:1]))
    programs = plan._lower(config, model, stage)
    expected = sum(program.cost_analysis()["flops"] for program in programs)
    looped = dataclasses.replace(config, model=stacked, loss_chunk=128)
    assert plan.flops(looped, stage) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_plan_that_fits_is_a_table():
    done = run_plan("--config=configs/smollm2_135m.py", "--plan=v5e-8")
    assert done.returncode == 0, done.stderr
    assert "v5e-8: 8 devices of 16 GiB" in done.stdout
    assert re.search(r"frozen parameters +│ +0.25 │ +0.25 │ +0.25 │", done.stdout)
    assert re.search(r"caches +│ +│ +9.14 │ +│", done.stdout)
    assert re.search(r"TFLOPs of a step +│ +[\d.]+ │ +│ +[\d.]+ │", done.stdout)
    assert done.stdout.endswith("fits in 90% of the memory\n")


@pytest.mark.slow
def test_a_plan_that_does_not_fit_says_so():
    slots = "--config.sampler.slots=100000"
    tiny = "--config=configs/tiny.py"
    small = ("--config.model.layers=1", "--config.stages=('rlvr',)")
    done = run_plan(tiny, "--plan=v5e-1", slots, *small)
    assert done.returncode == 1, done.stderr
    assert done.stdout.endswith(
        "does not fit in 90% of the memory\nrollouts needs most, for caches: lower"
        " sampler.slots or text.max_length, or raise mesh.tensor\n"
    )

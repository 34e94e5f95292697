"""A run killed at any moment and resumed ends in the same bits as one that was not."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from repair.training.checkpoint import load_params
from repair.training.metrics import read_metrics
from tests.training.test_run import timeless

ROOT = pathlib.Path(__file__).parent.parent.parent
CHAINS = 2  # of runs, each killed and resumed many times
# A process that imports all once, and forks each session before jax has begun.
DRIVER = """
import json, pathlib, sys
from tests.training import killable
from tests.training.test_run import small
folder, chains, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
config, cache = killable.small(small()), folder / "cache"
moments = killable.moments(config, folder / "whole", cache, folder / "whole.log")
chosen, kills = killable.choose(moments, count), []
for chain in range(chains):
    workdir, log = folder / f"chain{chain}", folder / f"chain{chain}.log"
    for target in chosen[chain::chains]:
        assert killable.run_killed(config, workdir, cache, log, target), target
        kills.append(target)
    assert not killable.run_killed(config, workdir, cache, log)
print(json.dumps(kills))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "least"), [(2, 11), pytest.param(24, 30, marks=pytest.mark.exhaustive)]
)
def test_a_run_killed_at_many_moments_ends_in_the_same_bits(tmp_path, count, least):
    """Kill it at evenly spread moments and at one of each kind."""
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(CHAINS), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout.splitlines()[-1])
    assert len(kills) >= least
    whole = tmp_path / "whole"
    for chain in range(CHAINS):
        assert_same_run(tmp_path / f"chain{chain}", whole)


def assert_same_run(found, whole):
    """Compare all that a run leaves, but for times."""
    names = [
        sorted(p.relative_to(w).as_posix() for p in w.rglob("*") if relevant(p, w))
        for w in (found, whole)
    ]
    assert names[0] == names[1]
    for name in ("metrics.jsonl", "results.json"):
        read = read_metrics if name.endswith("l") else load_json
        assert timeless(read(found / name)) == timeless(read(whole / name))
    texts = [path for path in whole.rglob("*") if path.suffix == ".jsonl"]
    texts += (whole / "tokenizer").iterdir()
    for path in (each for each in texts if each.name != "metrics.jsonl"):
        assert path.read_bytes() == (found / path.relative_to(whole)).read_bytes()
    for stage in ("sft", "rlvr", "sft/best", "rlvr/best"):
        ours, extra = load_params(found / "checkpoints" / stage)
        theirs, expected = load_params(whole / "checkpoints" / stage)
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        assert timeless(extra) == timeless(expected)


def relevant(path, workdir):
    """Return True for what is no part of a checkpoint's inside, nor a mended file."""
    inside = path.relative_to(workdir).parts
    return len(inside) <= 3 and "partial" not in path.name


def load_json(path):
    return json.loads(path.read_text())

"""A run killed at any moment and resumed ends in the same bits as one that was not."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent.parent
CHAINS, LEAST = 2, 30
# A process that imports all once and forks each session before jax has begun.
DRIVER = """
import json, pathlib, sys
from tests.training import killable
from tests.training.test_run import small
folder, chains = pathlib.Path(sys.argv[1]), int(sys.argv[2])
config, cache = killable.small(small()), folder / "cache"
events = killable.events_of(config, folder / "whole", cache, folder / "whole.log")
moments = list(dict.fromkeys(events))
kills = []
for chain in range(chains):
    workdir, log = folder / f"chain{chain}", folder / f"chain{chain}.log"
    # The first of each kind of moment, shared out among the chains.
    for target in moments[chain::chains]:
        if killable.run_killed(config, workdir, cache, log, target):
            kills.append(target)
    killable.run_killed(config, workdir, cache, log)
print(json.dumps({"moments": moments, "kills": kills}))
"""


def test_print(tmp_path):
    command = [sys.executable, "-c", DRIVER, str(tmp_path), "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for m in told["moments"]:
        print(m)
    assert 0

"""A small run in a child process that kills itself at a given file operation.

Python tells an audit hook of every file that it opens, renames or deletes. The hook
counts those below the workdir, and each line of metrics, and kills the process before
the one that it is told to.
"""

import dataclasses
import os
import re
import signal
import sys
import traceback

import jax
import numpy as np

from repair.rollout.rollout import Rollout
from repair.training import run as experiment
from repair.training.config import Config
from repair.training.metrics import MetricsWriter

_WATCHED = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
# Orbax names its temporary folders by the time.
_CHANGING = re.compile(r"(tmp-)\d+|\.\d{6,}|(?<=ocdbt\.process_)\d+|(?<=/d/)\w+")
_INNER = ("orbax-checkpoint-tmp", "best.writing/")
# Moments that must be among those chosen, by parts of event and path.
KINDS = {
    "in the midst of a checkpoint": ("open", "orbax-checkpoint-tmp"),
    "between a line of metrics and its checkpoint": ("line", "sft 3"),
    "after an evaluation in training": ("line", "sft_eval "),
    "before the rename of a checkpoint": ("os.rename", "1.writing"),
    "before the deletion of an old one": ("os.rmdir", ".old"),
    "in a promotion": ("os.rename", "best.writing"),
    "in the demonstrations": ("os.rename", "demos.jsonl.partial"),
    "in the tokenizer": ("open", "tokenizer.partial"),
    "between two stages": ("os.rename", "eval_sft.jsonl"),
    "in RLVR": ("line", "rlvr 1"),
    "in the results": ("os.rename", "results.json"),
}


def moments(config: Config, workdir, cache, log) -> list[tuple[str, str]]:
    """Run to the end in a child; return its file operations, each once, in order."""
    seen = log.with_suffix(".events")
    assert _in_child(config, workdir, cache, log, record=seen) == 0, log.read_text()
    lines = seen.read_text().splitlines()
    return list(dict.fromkeys(tuple(line.split("\t")) for line in lines))


def choose(moments: list, count: int) -> list:
    """Return so many moments, evenly, and the first of each of `KINDS`, in order.

    Of those inside of one checkpoint's writing every fifth counts.
    """
    inner = [m for m in moments if any(part in m[1] for part in _INNER)]
    kept = [m for m in moments if m not in inner or inner.index(m) % 5 == 0]
    chosen = {kept[int(i)] for i in np.linspace(0, len(kept) - 1, count)}
    for event, part in KINDS.values():
        chosen.add(next(m for m in moments if event in m[0] and part in m[1]))
    return [m for m in moments if m in chosen]


def run_killed(config: Config, workdir, cache, log, target=None) -> bool:
    """Run in a child up to a file operation; return True if it was killed there.

    Without a target the run must end by itself.
    """
    status = _in_child(config, workdir, cache, log, target=target)
    assert status in (0, -signal.SIGKILL), log.read_text()
    return status != 0


def small(config: Config) -> Config:
    """Return the config with an evaluation after each second step."""
    return dataclasses.replace(
        config,
        sft=dataclasses.replace(config.sft, eval_every=2),
        rlvr=dataclasses.replace(config.rlvr, eval_every=1),
        eval=dataclasses.replace(config.eval, subset=3),
    )


def _in_child(config, workdir, cache, log, record=None, target=None) -> int:
    """Fork, run, and return the exit status, negative for a signal."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status
    code = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        _run(config, workdir, cache, record, target)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(config, workdir, cache, record, target) -> None:
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Rewards that differ: an untrained model earns the same every time.
    Rollout.rewards = property(
        lambda rollout: np.array([len(c) % 4 for c in rollout.commands], float)
    )
    out = record.open("w") if record else None
    here = str(workdir)

    def happens(event: str, path: str) -> None:
        moment = (event, _CHANGING.sub("_", path))
        if out:
            out.write("\t".join(moment) + "\n")
            out.flush()
        if moment == target:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, args):
        if event not in _WATCHED or not isinstance(args[0], str | os.PathLike):
            return
        path = os.fspath(args[0])
        writes = event != "open" or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if isinstance(path, str) and path.startswith(here) and writes:
            happens(event, path[len(here) + 1 :])

    write = MetricsWriter.write

    def write_line(self, stage, step, **values):
        write(self, stage, step, **values)
        happens("line", f"{stage} {step}")

    MetricsWriter.write = write_line
    sys.addaudithook(watch)
    experiment.run(config, workdir)

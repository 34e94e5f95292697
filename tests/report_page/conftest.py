"""Two small workdirs, written by the functions that write those of real runs."""

import dataclasses
import json

import numpy as np
import pytest

from repair.env.environment import Environment
from repair.report_page.page import write_page
from repair.report_page.runs import open_runs
from repair.rollout.rollout import Rollout
from repair.sandbox import Result
from repair.tasks import Bug, Task
from repair.text.episodes import PROMPT, Episode
from repair.text.tokenizer import Tokenizer, train_tokenizer
from repair.training.config import Config
from repair.training.metrics import MetricsWriter
from repair.training.trajectories import (
    FOLDER,
    describe,
    keep_step,
    write_records,
)
from repair.training.workdir import open_workdir

# Must not end the page's script, nor act as markup or as the end of a line.
EVIL = "'</script><img src=x onerror=alert(1)>&amp;\u2028\u202e'"
TASK = Task(
    1,
    "Add one, or say </script>.",
    f"def f(x):\n    return x + 1  # {EVIL}",
    ("assert f(1) == 2",),
)
BUGS = [
    Bug(f"one/{n}", TASK, f"def f(x):\n    return x - {n}  # {EVIL}", 1) for n in (1, 2)
]
MEND = "### REPW 2 >>>- {} >>>+ 1"
# The commands of each sample of a bug.
PLAYED = {
    "one/1": [[MEND.format(1), "### EXIT"], ["### DELL 9", "### EXIT"]],
    "one/2": [["### EXIT"], ["### EXIT"]],
}
RATE = {"mean": 0.5, "low": 0.25, "high": 0.75}


class _Sandbox:
    """A sandbox that passes the programs that add one."""

    def map(self, jobs):
        return [self._result("+ 1" in job[0]) for job in jobs]

    def allowances(self, references):
        return [1.0 for _ in references]

    def _result(self, passed):
        status, feedback = ("passed", "") if passed else ("failed", "test 1: got 0")
        failed = () if passed else (0,)
        return Result(passed, status, feedback, failed, 0.0, "value")


def play(tokenizer, bug, sample, commands) -> Rollout:
    """Return a rollout of these commands, with invented log-probs."""
    environment, episode = Environment(_Sandbox()), Episode()
    initial, steps = environment.reset(bug), []
    episode.append(tokenizer.prompt_ids(bug.task), PROMPT)
    for number, (command, ids) in enumerate(
        zip(commands, tokenizer.command_ids(commands), strict=True)
    ):
        state = steps[-1] if steps else initial
        episode.append(tokenizer.encode(state.state_text))
        log_probs = -np.arange(1, len(ids) + 1) / 8
        episode.append(ids, number, log_probs.tolist())
        steps.append(environment.step(command))
    code = environment.code
    return Rollout(bug, sample, episode, initial, steps, list(commands), code)


@pytest.fixture(scope="session")
def tokenizer():
    texts = [TASK.text, *(c for bug in PLAYED.values() for play in bug for c in play)]
    return Tokenizer(train_tokenizer(texts * 3, 300), "short")


@pytest.fixture(scope="session")
def rollouts(tokenizer):
    return [
        play(tokenizer, bug, sample, commands)
        for bug in BUGS
        for sample, commands in enumerate(PLAYED[bug.bug_id])
    ]


def write_workdir(folder, tokenizer, rollouts, seed):
    """Write the workdir of a run of ninety steps of SFT and two of RLVR."""
    config = dataclasses.replace(Config(), seed=seed)
    open_workdir(folder, config)
    metrics = MetricsWriter(folder)
    for step in range(1, 91):
        values = {"loss": 3.0 / step, "real_share": 0.9, "seconds_step": 0.5}
        metrics.write("sft", step, **values, command_loss=2.0 / step)
    for step in (1, 2):
        values = {"reward": -0.5, "solved": 0.25 * step, "malformed": 0.1, "turns": 2.0}
        values |= {"sampled_tokens": 600.0, "episodes": 6, "idle_share": 0.1}
        values |= {"seconds_rollouts": 2.0, "seconds_update": 1.0}
        if step == 2:  # as where no group had signal at first
            values |= {"kl": 0.01, "entropy": float("nan")}
            values["alarms"] = {"gave_up": "40% give up <now>; try more"}
        metrics.write("rlvr", step, **values)
        keep_step(folder, rollouts, tokenizer, config.rlvr, step, step == 2)
    metrics.write("eval", 1, of="sft", **RATE)
    metrics.close()
    judged = [(rollouts[0], True, 0.0), (rollouts[2], False, 0.0)]
    judged += [(rollout, rollout.passed, 0.8) for rollout in rollouts]
    path = folder / FOLDER / "eval_sft.jsonl"
    records = [
        describe(rollout, tokenizer, temperature) | {"passed": passed}
        for rollout, passed, temperature in judged
    ]
    write_records(path, records)
    results = {"pass@1": RATE, "malformed": 0.1, "turns": 1.5, "bugs": 2}
    results["by_status"] = {"solved": 1, "exited_unsolved": 1}
    sampled = {"malformed": 0.2, "turns": 2.5, "by_status": {"solved": 4}}
    results |= {"sampled": sampled, "sampled_pass@1": RATE | {"mean": 0.45}}
    results |= {"pass@2": RATE | {"mean": 0.6}, "temperature": 0.8}
    results = {"stages": {"sft": results}}
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture(scope="session")
def workdirs(tmp_path_factory, tokenizer, rollouts):
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("first <b>", "second")):
        (folder / name).mkdir()
        write_workdir(folder / name, tokenizer, rollouts, seed)
    return [folder / "first <b>", folder / "second"]


@pytest.fixture(scope="session")
def runs(workdirs):
    return open_runs(workdirs)


@pytest.fixture(scope="session")
def page_text(runs):
    return write_page(runs, 1000)

"""Evaluation: figures by hand, hidden tests, and episodes that broke."""

import collections
import contextlib
import dataclasses
import json

import numpy as np
import pytest

from repair.env import StepResult
from repair.rollout.rollout import Rollout
from repair.sandbox import Result
from repair.tasks import Bug, Task
from repair.text.episodes import Episode
from repair.training import evaluation
from repair.training.config import Config, EvalConfig
from repair.training.evaluation import (
    drop_faults,
    greedy_figures,
    measure,
    sampled_figures,
    unfit_line,
    verify,
)
from repair.training.policy import Policy

TASK = Task("t", "Add one.", "x", ("shown",), hidden_test_list=("hidden",))


def rollout(bug="a", sample=0, passed=(), status="solved", corruptions=1, **fields):
    """Return an episode with a step for each element of `passed`."""
    bug = Bug(bug, dataclasses.replace(TASK, **fields), "", corruptions)
    initial = StepResult("s", 0.0, False, None, False, False)
    steps = [StepResult("s", 0.0, False, None, ok, not ok) for ok in passed]
    if steps:
        steps[-1] = dataclasses.replace(steps[-1], done=True, status=status)
    commands = ["c"] * len(steps)
    return Rollout(bug, sample, Episode(), initial, steps, commands, bug.bug_id)


class Hidden:
    """Passes the hidden tests of the programs that it is given."""

    def __init__(self, *right):
        self.right, self.jobs = right, []

    def map(self, jobs):
        self.jobs += jobs
        return [
            Result(job[0] in self.right, "failed", "", (), 0.0, "value") for job in jobs
        ]


def test_hidden_tests_decide_for_programs_that_pass_the_shown_ones():
    rollouts = [
        rollout("a", passed=[True]),
        rollout("b", passed=[True]),
        rollout("c", passed=[False]),
        rollout("d", passed=[True], hidden_test_list=()),
        rollout("e"),
    ]
    hidden = Hidden("a", "c")
    passed = verify(rollouts, hidden)
    assert passed.tolist() == [True, False, False, True, False]
    assert [job[:2] for job in hidden.jobs] == [("a", ("hidden",)), ("b", ("hidden",))]


def test_a_bug_of_which_an_episode_broke_is_left_out_whole():
    rollouts = [
        rollout(bug, sample, [True], "fault" if (bug, sample) == ("b", 1) else "solved")
        for bug in "abc"
        for sample in range(2)
    ]
    kept, broken = drop_faults(rollouts, 2)
    assert [(r.bug.bug_id, r.sample) for r in kept] == [
        (bug, sample) for bug in "ac" for sample in range(2)
    ]
    assert broken == 1


def test_greedy_figures_by_hand():
    rollouts = [
        rollout("a", passed=[False, True, True]),
        rollout("b", passed=[True], corruptions=2),
        rollout("c", passed=[False, False], status="max_turns", corruptions=2),
        rollout("d", passed=[True, False], status="exited_unsolved"),
    ]
    figures = greedy_figures(rollouts, np.array([True, False, False, False]))
    assert figures["pass@1"]["mean"] == 0.25
    assert figures["shown_pass@1"]["mean"] == 0.5
    expected = {"solved": 2, "max_turns": 1, "exited_unsolved": 1}
    assert figures["by_status"] == expected
    # Of the turn that passed first, whatever became of it later.
    assert figures["by_turn"] == {"1": 0.5, "2": 0.25}
    assert figures["malformed"] == 0.5 and figures["turns"] == 2.0
    assert figures["by_corruptions"] == {"1": 0.5, "2": 0.0}
    assert figures["bugs"] == 4


def test_programs_that_leave_no_room_are_counted_and_told():
    rollouts = [
        rollout("a", passed=[False, True]),
        rollout("b"),
        rollout("c", passed=[False, False], status="truncated"),  # full later on
        rollout("d"),
    ]
    for without_room in (rollouts[1], rollouts[3]):
        ended = {"done": True, "status": "truncated"}
        without_room.initial = dataclasses.replace(without_room.initial, **ended)
    figures = greedy_figures(rollouts, np.array([True, False, False, False]))
    assert figures["unfit"] == 2 and figures["pass@1"]["mean"] == 0.25
    assert figures["fitting_pass@1"]["mean"] == 0.5
    line = unfit_line(figures, 768)
    assert line.startswith("2 of 4 programs do not fit 768 tokens: pass@1 25.0 (")
    assert "over all, 50.0 (" in line and line.endswith("over those that fit")
    none = greedy_figures(rollouts[1:2], np.array([False]))
    assert none["unfit"] == 1 and "fitting_pass@1" not in none
    assert unfit_line(none, 768).endswith("over all")
    every = greedy_figures(rollouts[:1], np.array([True]))
    assert every["unfit"] == 0 and unfit_line(every, 768) == ""
    assert "fitting_pass@1" not in every


def test_sampled_figures_by_hand():
    passed = np.array([True, False, False, False, False, False], bool)
    figures = sampled_figures(passed, 3)
    assert figures.keys() == {"sampled_pass@1", "pass@3"}
    assert figures["sampled_pass@1"]["mean"] == pytest.approx(1 / 6)
    assert figures["pass@3"]["mean"] == 0.5
    assert sampled_figures(passed, 1).keys() == {"sampled_pass@1"}


class Engine:
    tokenizer = None


class Verifier(Hidden, contextlib.nullcontext):
    counts: collections.Counter = collections.Counter()


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """From a config to (figures, records, calls), with rollouts that are made up."""
    calls = []

    def collect(engine, params, bugs, samples, sampling, seed, observer):
        calls.append((samples, sampling, seed))
        made = []
        for bug in bugs:
            for sample in range(samples):
                status = "fault" if (bug, sample) == ("c", 1) else "solved"
                made.append(rollout(bug, sample, [sample == 0], status))
                observer.progress(len(made), len(bugs) * samples)
        return made

    def run(config, **sampler):
        calls.clear()
        monkeypatch.setattr(evaluation, "collect_rollouts", collect)
        settings = dataclasses.replace(Config().sampler, **sampler)
        whole = dataclasses.replace(
            Config(), seed=7, sampler=settings, stages=("sft", "eval")
        )
        policy = Policy(whole, None, None, Engine(), Verifier("a", "b", "c"), {})
        path = tmp_path / "out.jsonl"
        figures = measure(policy, ["a", "b", "c"], config, path)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return figures, rows, list(calls)

    return run


def test_greedy_then_samples_with_the_configs_restriction(measured):
    figures, rows, calls = measured(EvalConfig(2, 0.5), top_k=3, top_p=0.9)
    assert [samples for samples, _, _ in calls] == [1, 2]
    (_, greedy, seed), (_, sampled, _) = calls
    assert greedy.temperature == 0.0 and (seed.seed, seed.step) == (7, 0)
    assert (sampled.temperature, sampled.top_k, sampled.top_p) == (0.5, 3, 0.9)
    assert figures["pass@1"]["mean"] == 1.0 and figures["bugs"] == 3
    # Bug c broke in one sample, so pass@2 is over the two others.
    assert figures["pass@2"]["mean"] == 1.0
    assert figures["sampled_pass@1"]["mean"] == 0.5
    assert figures["faults"] == 1 and figures["temperature"] == 0.5
    assert [row["temperature"] for row in rows] == [0.0] * 3 + [0.5] * 4
    assert [row["passed"] for row in rows] == [True] * 3 + [True, False] * 2


def test_without_samples_only_the_greedy_episodes_run(measured):
    figures, rows, calls = measured(EvalConfig(samples=0))
    assert len(calls) == 1 and len(rows) == 3
    assert "sampled_pass@1" not in figures and "faults" not in figures

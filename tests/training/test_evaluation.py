"""Evaluation: figures by hand, hidden tests, and episodes that broke."""

import collections
import contextlib
import dataclasses
import json

import numpy as np
import pytest

from repair.env import StepResult
from repair.rollout.rollout import Rollout
from repair.sandbox import Result, SandboxError
from repair.tasks import Bug, Task
from repair.text.episodes import Episode
from repair.training import evaluation
from repair.training.config import Config, EvalConfig
from repair.training.evaluation import (
    count_in_child,
    drop_faults,
    greedy_figures,
    measure,
    notes,
    sampled_figures,
    unfit_line,
    verify,
)
from repair.training.pass_rates import wilson
from repair.training.policy import Policy

TASK = Task("t", "Add one.", "x", ("shown",), hidden_test_list=("hidden",))


def program(code):
    return dataclasses.replace(TASK, code=code)


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


class Breaking(Hidden):
    """Breaks as a whole on some programs."""

    def __init__(self, right, poison):
        super().__init__(*right)
        self.poison = poison

    def map(self, jobs):
        if any(job[0] in self.poison for job in jobs):
            raise SandboxError("no worker")
        return super().map(jobs)


def test_hidden_tests_that_break_the_sandbox_cost_their_episode():
    rollouts = [rollout(bug, passed=[True]) for bug in "abc"]
    passed = verify(rollouts, Breaking("a", "b"))
    assert passed.tolist() == [True, False, False]
    assert [r.status for r in rollouts] == ["solved", "fault", "solved"]
    assert rollouts[1].results[-1].fault == "SandboxError: no worker"
    kept, broken = drop_faults(rollouts, 1)
    assert len(kept) == 2 and broken == 1
    with pytest.raises(SandboxError, match="no worker"):
        verify([rollout(bug, passed=[True]) for bug in "abc"], Breaking("a", "bc"))


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
    rollouts[0].episode.append([5, 6, 7])  # a state
    rollouts[0].episode.append([8, 9], 0)
    figures = greedy_figures(rollouts, np.array([True, False, False, False]))
    assert figures["pass@1"]["mean"] == 0.25
    assert figures["shown_pass@1"]["mean"] == 0.5
    expected = {"solved": 2, "max_turns": 1, "exited_unsolved": 1}
    assert figures["by_status"] == expected
    # Of the turn that passed first, whatever became of it later.
    assert figures["by_turn"] == {"1": 0.5, "2": 0.25}
    assert figures["malformed"] == 0.5 and figures["turns"] == 2.0
    assert figures["sampled_tokens"] == 0.5
    assert figures["by_corruptions"] == {"1": 0.5, "2": 0.0}
    assert (figures["bugs"], figures["programs"]) == (4, 1)
    # All are of one program, so there is one draw to go by.
    assert figures["pass@1"]["low"], figures["pass@1"]["high"] == wilson(0.25, 1)
    others = [
        dataclasses.replace(r, bug=dataclasses.replace(r.bug, task=task))
        for r, task in zip(rollouts, map(program, "abcd"), strict=True)
    ]
    figures = greedy_figures(others, np.array([True, False, False, False]))
    assert figures["programs"] == 4
    assert (figures["pass@1"]["low"], figures["pass@1"]["high"]) == wilson(1, 4)


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
    rollouts = [
        rollout(bug, sample, [sample == 0], "solved" if sample == 0 else "max_turns")
        for bug in "ab"
        for sample in range(3)
    ]
    passed = np.array([True, False, False, False, False, False], bool)
    figures = sampled_figures(rollouts, passed, 3)
    assert figures.keys() == {"sampled_pass@1", "pass@2", "pass@3", "sampled"}
    assert figures["sampled_pass@1"]["mean"] == pytest.approx(1 / 6)
    # Two of the three pairs of the first bug hold its right sample.
    assert figures["pass@2"]["mean"] == pytest.approx(1 / 3)
    assert figures["pass@3"]["mean"] == 0.5
    assert figures["sampled"] == {
        "by_status": {"solved": 2, "max_turns": 4},
        "by_turn": {"1": 1 / 3},
        "malformed": pytest.approx(2 / 3),
        "turns": 1.0,
        "sampled_tokens": 0.0,
    }
    alone = sampled_figures(rollouts[:1], passed[:1], 1)
    assert alone.keys() == {"sampled_pass@1", "sampled"}


def test_passes_that_a_program_could_forge_are_named():
    by_value = dataclasses.replace(
        TASK, test_list=("assert f(1) == 2",), hidden_test_list=()
    )
    forgeable = dataclasses.replace(by_value, test_list=("assert f(1) == f(1)",))
    hidden = dataclasses.replace(by_value, hidden_test_list=forgeable.test_list)
    tasks = {"a": by_value, "b": forgeable, "c": hidden, "d": forgeable}
    bugs = [Bug(name, task, "") for name, task in tasks.items()]
    found = count_in_child(bugs, {"a": 1, "b": 1, "c": 1, "d": 0})
    assert found == {"bugs": 3, "passed": ["b", "c"]}
    (line,) = notes({"in_child": found})
    assert line.startswith("2 of the greedy passes") and line.endswith(": b, c")
    assert notes({"in_child": {"bugs": 3, "passed": []}}) == notes({}) == []
    assert "4 episodes broke" in notes({"faults": 4})[0]


class Engine:
    tokenizer = None


class Verifier(Breaking, contextlib.nullcontext):
    level = "any"
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
                name = bug.bug_id
                status = "fault" if (name, sample) == ("c", 1) else "solved"
                made.append(rollout(name, sample, [sample == 0], status))
                observer.progress(len(made), len(bugs) * samples)
        return made

    def run(config, poison="", **sampler):
        calls.clear()
        monkeypatch.setattr(evaluation, "collect_rollouts", collect)
        settings = dataclasses.replace(Config().sampler, **sampler)
        whole = dataclasses.replace(
            Config(), seed=7, sampler=settings, stages=("sft", "eval")
        )
        policy = Policy(whole, None, None, Engine(), Verifier("abc", poison), {})
        path = tmp_path / "out.jsonl"
        bugs = [Bug(name, TASK, "", 1) for name in "abc"]
        figures = measure(policy, bugs, config, path)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return figures, rows, list(calls)

    return run


def test_greedy_then_samples_with_the_configs_restriction(measured):
    figures, rows, calls = measured(EvalConfig(2, 0.5, seed=11), top_k=3, top_p=0.9)
    assert [samples for samples, _, _ in calls] == [1, 2]
    (_, greedy, seed), (_, sampled, _) = calls
    assert greedy.temperature == 0.0 and (seed.seed, seed.step) == (11, 0)
    assert (sampled.temperature, sampled.top_k, sampled.top_p) == (0.5, 3, 0.9)
    assert figures["pass@1"]["mean"] == 1.0 and figures["bugs"] == 3
    # Bug c broke in one sample, so pass@2 is over the two others.
    assert figures["pass@2"]["mean"] == 1.0
    assert figures["sampled_pass@1"]["mean"] == 0.5
    assert figures["faults"] == 1 and figures["temperature"] == 0.5
    packed = figures["outcomes"]
    assert (packed["greedy"], packed["sampled"]) == ("1 1 1", "1 1 -")
    assert (packed["programs"], packed["samples"]) == ("0 0 0", 2)
    # "shown" and "hidden" are no asserts on values.
    assert figures["in_child"] == {"bugs": 3, "passed": ["a", "b", "c"]}
    assert [row["temperature"] for row in rows] == [0.0] * 3 + [0.5] * 4
    assert [row["passed"] for row in rows] == [True] * 3 + [True, False] * 2


def test_an_evaluation_goes_on_where_hidden_tests_break_the_sandbox(measured):
    figures, rows, _ = measured(EvalConfig(samples=0), poison="b")
    assert figures["faults"] == 1 and figures["bugs"] == 2
    assert [row["bug_id"] for row in rows] == ["a", "c"]
    assert figures["pass@1"]["mean"] == 1.0


def test_without_samples_only_the_greedy_episodes_run(measured):
    figures, rows, calls = measured(EvalConfig(samples=0))
    assert len(calls) == 1 and len(rows) == 3
    assert "sampled_pass@1" not in figures and "faults" not in figures
    assert "sampled" not in figures and "sampled" not in figures["outcomes"]

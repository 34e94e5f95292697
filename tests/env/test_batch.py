"""Batches of episodes: the calls to their verifier, and whom an error costs."""

import pytest

from repair.env import Environment, LineEditor, Rewards, reset_all, step_all
from repair.sandbox import Result, SandboxError
from repair.tasks import Bug, Task

# The state "fix" passes; a hidden test wants "fixed".
TASK = Task("t", "", "fixed", ("fix",), "", ("fixed",))
BUGS = [Bug(f"t/{i}", TASK, code) for i, code in enumerate(["a", "b", "c", "d"])]
FIX, SPOIL = "### REPL 1 >>>fix", "### REPL 1 >>>spoilt"
SENSELESS, EXIT = "### DELL 9", "### EXIT"


class Logging:
    """A verifier of substrings that logs its calls and breaks at one state."""

    def __init__(self, poison="none such", once=False):
        self.calls, self.references = [], []
        self.poison, self.once = poison, once

    def allowances(self, references):
        self.references.append(list(references))
        return [1.0] * len(references)

    def map(self, jobs):
        self.calls.append([(state, *tests) for state, tests, *_ in jobs])
        if any(self.poison in state for state, *_ in jobs):
            if self.once:
                self.poison = "none such"
            raise SandboxError("broken worker")
        return [self._result(all(t in s for t in tests)) for s, tests, *_ in jobs]

    def _result(self, passed):
        failed = () if passed else (0,)
        return Result(passed, "-", "" if passed else "no", failed, 0.0, "value")


def begin(verifier, rules=None, **options):
    environments = [Environment(verifier, rules, **options) for _ in BUGS]
    return environments, reset_all(environments, BUGS)


def test_one_call_a_batch_and_only_for_programs_that_changed():
    verifier = Logging()
    environments, first = begin(verifier)
    assert [len(jobs) for jobs in verifier.references] == [4]
    assert [result.state_text for result in first] == [
        f"L 1 {bug.faulty_code}\n***\nno\n" for bug in BUGS
    ]
    results = step_all(environments, [SENSELESS, FIX, EXIT, SPOIL])
    assert [len(jobs) for jobs in verifier.calls] == [4, 2]
    assert [result.reward for result in results] == [-0.5, 1, 0, 0]
    assert [result.passed for result in results] == [False, True, False, False]
    with pytest.raises(RuntimeError, match="no episode is running in one of them"):
        step_all(environments, [FIX] * 4)  # the third has ended: none moves
    assert step_all(environments[:1], [FIX])[0].reward == 1
    assert reset_all([], []) == step_all([], []) == []


def test_one_more_call_for_the_hidden_tests_of_programs_that_pass():
    verifier = Logging()
    environments, _ = begin(verifier, Rewards(tests="all"))
    results = step_all(environments, [FIX, "### REPL 1 >>>fixed", SPOIL, EXIT])
    assert verifier.calls[1:] == [
        [("fix", "fix"), ("fixed", "fix"), ("spoilt", "fix")],
        [("fix", "fixed"), ("fixed", "fixed")],
    ]
    assert [result.reward for result in results] == [0, 1, 0, 0]


def test_a_batch_answers_as_its_environments_alone():
    commands = [[SENSELESS, FIX, EXIT], [FIX, SPOIL, EXIT], [SPOIL, FIX, EXIT], [EXIT]]
    alone = []
    for bug, said in zip(BUGS, commands, strict=True):
        environment = Environment(Logging())
        alone.append([environment.reset(bug), *map(environment.step, said)])
    environments, first = begin(Logging())
    together = [[result] for result in first]
    for turn in range(3):
        live = [i for i, said in enumerate(commands) if turn < len(said)]
        said = [commands[i][turn] for i in live]
        results = step_all([environments[i] for i in live], said)
        for i, result in zip(live, results, strict=True):
            together[i].append(result)
    assert together == alone


def test_lengths_must_agree():
    environments, _ = begin(Logging())
    with pytest.raises(ValueError, match="zip"):
        step_all(environments, [FIX])
    with pytest.raises(ValueError, match="zip"):
        reset_all(environments, BUGS[:1])


def test_a_broken_sandbox_costs_the_episode_that_breaks_it():
    environments, _ = begin(Logging("poison"))
    poison = "### REPL 1 >>>poison"
    results = step_all(environments, [FIX, poison, SPOIL, FIX], strict=False)
    assert [result.status for result in results] == [None, "fault", None, None]
    assert [result.reward for result in results] == [1, 0, 0, 1]
    assert results[1].fault == "SandboxError: broken worker" and results[1].done
    assert not environments[1].running and environments[0].running


def test_a_sandbox_that_breaks_once_costs_nobody():
    verifier = Logging("poison", once=True)
    environments, _ = begin(verifier)
    results = step_all(environments, [FIX, "### REPL 1 >>>poison"] * 2, strict=False)
    assert [result.status for result in results] == [None] * 4
    # All at once, then one by one.
    assert [len(jobs) for jobs in verifier.calls] == [4, 4, 1, 1, 1, 1]


@pytest.mark.parametrize("strict", [False, True])
def test_a_sandbox_that_breaks_at_a_hidden_test(strict):
    class Breaks(Logging):
        def map(self, jobs):
            if any(tests == TASK.hidden_test_list for _, tests, *_ in jobs):
                raise SandboxError("gone")
            return super().map(jobs)

    environments, _ = begin(Breaks(), Rewards(tests="all"))
    commands = [FIX, SPOIL, EXIT, SENSELESS]
    if strict:
        with pytest.raises(SandboxError, match="gone"):
            step_all(environments, commands)
        with pytest.raises(RuntimeError, match="reset"):
            environments[0].step(FIX)
        return
    results = step_all(environments, commands, strict=False)
    ends = ["fault", None, "exited_unsolved", None]
    assert [result.status for result in results] == ends


class BadTool(LineEditor):
    """A tool that breaks at one program, when it is made or when it is used."""

    def __init__(self, code):
        super().__init__(code)
        if code == "d":
            raise KeyError("cannot be made")

    def apply(self, command_text):
        if self.code == "b":
            raise KeyError("cannot be used")
        return super().apply(command_text)


def test_a_broken_tool_costs_its_own_episode():
    environments = [Environment(Logging(), make_tool=BadTool) for _ in BUGS]
    with pytest.raises(KeyError, match="cannot be made"):
        reset_all(environments, BUGS)
    first = reset_all(environments, BUGS, strict=False)
    assert [result.status for result in first] == [None, None, None, "fault"]
    assert "cannot be made" in first[3].fault and first[3].state_text == ""
    with pytest.raises(KeyError, match="cannot be used"):
        step_all(environments[1:2], [FIX])
    reset_all(environments[1:2], BUGS[1:2])
    results = step_all(environments[:3], [FIX, FIX, SPOIL], strict=False)
    assert [result.status for result in results] == [None, "fault", None]
    assert [result.reward for result in results] == [1, 0, 0]


def test_an_error_of_the_verifier_itself_is_raised():
    """No sandbox broke: a check that is wrong is wrong for all."""

    class Wrong(Logging):
        def map(self, jobs):
            raise TypeError("expected one line")

    with pytest.raises(TypeError, match="expected one line"):
        reset_all([Environment(Wrong())], BUGS[:1], strict=False)

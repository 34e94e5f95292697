"""Rewards, statuses and feedback of an episode; traps 3 and 8 of the design."""

import dataclasses

import pytest

from repair.env import Environment, Rewards
from repair.sandbox import Result, Sandbox
from repair.tasks import Bug, Task

TASK = Task("inc", "Add one.", "def f(x):\n    return x + 1", ("assert f(1) == 2",))
BUG = Bug("inc/0", TASK, "def f(x):\n    return x")
FIX, SPOIL = "### REPW 2 >>>x >>>x + 1", "### REPL 2 >>>    return 0"
AGAIN = "### REPL 2 >>>    return x + 1"
SENSELESS = "### DELL 9"
EXIT = "### EXIT"


class Knows:
    """A sandbox that passes the reference only, and keeps the calls of map."""

    def __init__(self, trust="value"):
        self.calls, self.trust = [], trust

    def map(self, jobs):
        self.calls.append(jobs)
        return [self._result(code == TASK.code) for code, *_ in jobs]

    def allowances(self, references):
        return [1.0 for _ in references]

    def _result(self, passed):
        return Result(passed, "-", "" if passed else "no", (), 0, self.trust)


def play(commands, bug=BUG, **settings):
    """Return the environment and the turns of its commands."""
    environment = Environment(Knows(), **settings)
    environment.reset(bug)
    return environment, [environment.step(command) for command in commands]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_pass_that_the_program_could_claim_earns_nothing(allowed):
    rules = Rewards(trust_in_child=allowed)
    environment = Environment(Knows("in_child"), rules)
    environment.reset(BUG)
    turn = environment.step(FIX)
    assert turn.passed and turn.reward == (1.0 if allowed else 0.0)
    assert environment.step(EXIT).status == "solved"


def test_state_text():
    environment = Environment(Knows())
    turn = environment.reset(BUG)
    assert turn.state_text == "L 1 def f(x):\nL 2     return x\n***\nno\n"
    assert (turn.reward, turn.done, turn.status, turn.passed) == (0, False, None, False)
    turn = environment.step(FIX)
    assert turn.state_text == "L 1 def f(x):\nL 2     return x + 1\n***\n\n"
    assert environment.code == TASK.code
    environment.step("### DELL 1")
    assert environment.step("### DELL 1").state_text == "***\nno\n"


@pytest.mark.parametrize(
    ("commands", "rewards", "status"),
    [
        ([FIX, EXIT], [1, 0], "solved"),
        ([EXIT], [-0.25], "exited_unsolved"),
        ([SPOIL, FIX, EXIT], [0, -0.5, -0.25], "exited_unsolved"),
        # Solved is paid once in all, and not at all if the program ends broken.
        ([FIX, SPOIL, AGAIN, EXIT], [1, -1, 1, 0], "solved"),
        ([FIX, SPOIL, EXIT], [1, -1, -0.25], "exited_unsolved"),
        ([SENSELESS, "hello", FIX], [-0.5, -0.5, 1], None),
        ([SPOIL] * 4, [0, 0, 0, -0.5], "max_turns"),
        # Trap 3: the last command of a cut episode is executed and rewarded.
        ([SENSELESS] * 3 + [FIX], [-0.5, -0.5, -0.5, 1 - 0.5], "max_turns"),
        ([SENSELESS] * 4, [-0.5, -0.5, -0.5, -1], "max_turns"),
        ([FIX, FIX, FIX, EXIT], [1, -1, 0, -0.25], "exited_unsolved"),
    ],
)
def test_rewards(commands, rewards, status):
    rules = Rewards(exit_unsolved=-0.25)
    _, turns = play(commands, max_turns=4, rewards=rules)
    assert [turn.reward for turn in turns] == rewards
    assert turns[-1].status == status
    assert [t.done for t in turns] == [False] * (len(turns) - 1) + [status is not None]


def test_last_command_changes_the_program():
    environment, turns = play([FIX], max_turns=1)
    assert environment.code == TASK.code and turns[-1].passed


def test_malformed_changes_nothing_and_says_so():
    environment, (turn,) = play([SENSELESS])
    assert turn.malformed and turn.state_text.endswith("***\nmalformed: no line 9\n")
    assert environment.code == BUG.faulty_code and not turn.done
    assert len(environment.verifier.calls) == 1  # and runs nothing
    assert environment.step("### EXIT").state_text.endswith("***\nno\n")


def test_end_on_solve():
    _, turns = play([SPOIL, BUG.faulty_code], rewards=Rewards(end_on_solve=True))
    assert not turns[-1].done
    _, turns = play([FIX], rewards=Rewards(end_on_solve=True), max_turns=1)
    assert (turns[0].reward, turns[0].status) == (1, "solved")


def test_a_bug_that_passes_from_the_start_earns_nothing():
    passing = dataclasses.replace(BUG, faulty_code=TASK.code)
    _, turns = play([SPOIL, AGAIN, EXIT], passing)
    assert [turn.reward for turn in turns] == [-1, 1, 0]
    _, turns = play([SPOIL, AGAIN, EXIT], passing, rewards=Rewards(take_back=False))
    assert [turn.reward for turn in turns] == [0, 0, 0]
    assert turns[-1].status == "solved"


def test_truncate():
    environment, turns = play([FIX])
    turn = environment.truncate()
    assert turn == dataclasses.replace(
        turns[0], reward=0.5, done=True, status="truncated"
    )
    environment = Environment(Knows())
    environment.reset(BUG)
    assert environment.truncate().reward == 0  # there is no command to blame


@pytest.mark.parametrize("end", [lambda e: e.step(EXIT), lambda e: e.truncate()])
def test_an_ended_episode_takes_no_step(end):
    environment = Environment(Knows())
    with pytest.raises(RuntimeError, match="reset"):
        environment.step(EXIT)
    environment.reset(BUG)
    end(environment)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step(FIX)
    with pytest.raises(RuntimeError, match="reset"):
        environment.truncate()
    assert environment.reset(BUG).status is None
    assert environment.step(FIX).reward == 1


def test_attempts_get_the_time_that_their_reference_allows():
    sandbox = Knows()
    sandbox.allowances = lambda references: [
        {TASK.code: 0.25}[code] for code, *_ in references
    ]
    environment = Environment(sandbox)
    environment.reset(BUG)
    environment.step(FIX)
    assert [job[3] for jobs in sandbox.calls for job in jobs] == [0.25, 0.25]


def test_a_failed_sandbox_leaves_no_half_step():
    class Fails(Knows):
        def map(self, jobs):
            if self.calls:
                raise OSError
            return super().map(jobs)

    environment = Environment(Fails())
    environment.reset(BUG)
    with pytest.raises(OSError):
        environment.step(FIX)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step(EXIT)


def test_another_tool():
    class Whole:
        """Replaces the whole program by the command."""

        def __init__(self, code):
            self.code = code

        def apply(self, command_text):
            self.code = command_text
            return True

        def render(self):
            return f"{self.code}\n"

    environment = Environment(Knows(), make_tool=Whole)
    assert environment.reset(BUG).state_text == f"{BUG.faulty_code}\n***\nno\n"
    turn = environment.step(TASK.code)
    assert (turn.status, turn.reward) == ("solved", 1)


def test_real_sandbox():
    with Sandbox(workers=1) as sandbox:
        environment = Environment(sandbox)
        assert environment.reset(BUG).state_text.endswith("***\ntest 1: got 1\n")
        turn = environment.step("### REPL 1 >>>def g(x):")
        message = "test 1: NameError: name 'f' is not defined"
        assert turn.state_text.endswith(f"***\n{message}\n")
        environment.step("### REPL 1 >>>def f(x):")
        assert environment.step(FIX).reward == 1
        assert environment.step(EXIT).status == "solved"


class Counts(Knows):
    """Of three tests a program fails as many as it has spaces."""

    def map(self, jobs):
        return [self._count(code.count(" ")) for code, *_ in jobs]

    def _count(self, failed):
        text = "no" if failed else ""
        return Result(not failed, "-", text, tuple(range(failed)), 0, self.trust)


@pytest.mark.parametrize("trust", ["value", "in_child"])
def test_partial_credit_is_for_the_best_share_so_far(trust):
    task = dataclasses.replace(TASK, test_list=("assert 1",) * 3)
    environment = Environment(Counts(trust), Rewards(dense=0.6), max_turns=9)
    environment.reset(Bug("inc/1", task, "a b c"))
    rewards = [
        environment.step(f"### REPL 1 >>>{code}").reward
        for code in ("a b d", "a bc", "a b c", "ab c", "abc", "a b c", "abc")
    ]
    #          1 of 3      2       again 1   2    all      1      all again
    expected = [0.0, 0.2, 0.0, 0.0, 1.2, -1.0, 1.0]
    if trust == "in_child":
        expected = [0.0] * 7
    assert rewards == pytest.approx(expected)


def test_turns_and_changed_characters_may_cost():
    rules = Rewards(turn_cost=0.125, edit_cost=0.25)
    _, turns = play([SENSELESS, FIX, EXIT], rewards=rules, max_turns=9)
    #       malformed; four characters more, and solved; EXIT changes nothing
    assert [t.reward for t in turns] == [-0.625, 1 - 0.125 - 4 * 0.25, -0.125]


HIDDEN = dataclasses.replace(
    TASK, test_list=("assert f(1) == 2",), hidden_test_list=("assert f(5) == 6",)
)
HIDDEN_BUG = Bug("inc/2", HIDDEN, "def f(x):\n    return x")
# Passes the shown test and not the hidden one.
OVERFIT = "### REPL 2 >>>    return 2"
FIX_LINE = "### REPL 2 >>>    return x + 1"


class Splits(Knows):
    """Passes the overfit program on shown tests; hidden ones may be claimed."""

    def __init__(self, hidden_trust="value"):
        super().__init__()
        self.hidden_trust = hidden_trust

    def map(self, jobs):
        self.calls.append(jobs)
        return [self._judge(code, tests) for code, tests, *_ in jobs]

    def _judge(self, code, tests):
        if tests == HIDDEN.hidden_test_list:
            passed = code == TASK.code
            text = "" if passed else "test 1: got 2, which nobody should see"
            return Result(passed, "-", text, (), 0, self.hidden_trust)
        return self._result(code in (TASK.code, "def f(x):\n    return 2"))


def play_hidden(commands, sandbox=None, **rules):
    environment = Environment(sandbox or Splits(), Rewards(**rules), max_turns=5)
    environment.reset(HIDDEN_BUG)
    return [environment.step(command) for command in commands]


@pytest.mark.parametrize(
    ("tests", "rewards", "status"),
    [("shown", [1, 0], "solved"), ("all", [0, -0.25], "exited_unsolved")],
)
def test_hidden_tests_decide_where_they_count(tests, rewards, status):
    turns = play_hidden([OVERFIT, EXIT], tests=tests, exit_unsolved=-0.25)
    assert [turn.reward for turn in turns] == rewards
    assert turns[-1].status == status
    # What the model sees does not depend on it, and says nothing of hidden tests.
    assert [turn.state_text for turn in turns] == [
        "L 1 def f(x):\nL 2     return 2\n***\n\n"
    ] * 2
    assert [turn.passed for turn in turns] == [True, True]


def test_hidden_tests_count_once_and_only_after_the_shown_ones():
    sandbox = Splits()
    turns = play_hidden([OVERFIT, SPOIL, FIX_LINE, SENSELESS], sandbox, tests="all")
    assert [turn.reward for turn in turns] == [0, 0, 1, -0.5]
    hidden = [[job[1] == HIDDEN.hidden_test_list for job in x] for x in sandbox.calls]
    #        reset    overfit            spoiled  mended             nothing changed
    assert hidden == [[False], [False], [True], [False], [False], [True]]
    (turn,) = play_hidden([OVERFIT], tests="all", end_on_solve=True)
    assert not turn.done
    (turn,) = play_hidden([FIX], tests="all", end_on_solve=True)
    assert (turn.status, turn.reward) == ("solved", 1)


def test_a_claimed_hidden_pass_earns_nothing():
    for trusted, reward in ((False, 0), (True, 1)):
        turns = play_hidden(
            [FIX, EXIT], Splits("in_child"), tests="all", trust_in_child=trusted
        )
        assert [turn.reward for turn in turns] == [reward, 0]
        assert turns[-1].status == "solved"


def test_attempts_at_hidden_tests_get_the_time_of_all_tests():
    for tests, wanted in (("shown", 1), ("all", 2)):
        sandbox = Splits()
        sandbox.allowances = lambda references: [len(r[1]) / 4 for r in references]
        play_hidden([FIX], sandbox, tests=tests)
        assert {job[3] for jobs in sandbox.calls for job in jobs} == {wanted / 4}

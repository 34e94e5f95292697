"""The reward of one turn, and the rules of an episode that the paper leaves open."""

import dataclasses

from repair.errors import expect, expect_between

TESTS = ("shown", "all")
_MOST = 1000  # of any reward or cost


@dataclasses.dataclass(frozen=True)
class Rewards:
    """Terms of the reward, and the rules of an episode.

    Attributes:
      solved: For the turn that first passes all tests that count (paper: 1.0).
      take_back: True if the solving reward is held only as long as the program passes:
        a command after which it fails again gives it back, and the next one that
        solves earns it anew. So an episode's total has it once if the program passes
        at the end, and not at all if it fails. False to pay it for the first pass.
      malformed: For a command that cannot be parsed or does not apply (paper: -0.5).
        The state stays as it was, the feedback names the reason, and the episode goes
        on.
      missing_exit: Added to the last turn of an episode that was cut (paper: -0.5).
      exit_unsolved: For EXIT while a test that counts fails.
      end_on_solve: True if the solving turn ends the episode, so that no EXIT is
        needed.
      dense: Partial credit: this times the share of shown tests that a turn passes
        beyond the best earlier turn of the episode; at most `dense` an episode.
      turn_cost: Subtracted for every command.
      edit_cost: Subtracted for every character that a command changes (Levenshtein).
      trust_in_child: True if a pass counts although some test ran in the process of
        the program, which could have forged it (`Result.trust`).
      tests: The tests that count: "shown", or "all" with the hidden ones. Hidden tests
        decide on reward and status and never change a state: where only they fail,
        the feedback is empty.

    Raises:
      FieldError: A value is out of range.
    """

    solved: float = 1.0
    take_back: bool = True
    malformed: float = -0.5
    missing_exit: float = -0.5
    exit_unsolved: float = 0.0
    end_on_solve: bool = False
    dense: float = 0.0
    turn_cost: float = 0.0
    edit_cost: float = 0.0
    trust_in_child: bool = False
    tests: str = "shown"

    def __post_init__(self) -> None:
        names = ("solved", "dense", "turn_cost", "edit_cost")
        expect_between(self, 0, _MOST, *names)
        # Above 0 they would reward the failure that they are the price of.
        expect_between(self, -_MOST, 0, "malformed", "missing_exit", "exit_unsolved")
        expect(self.tests in TESTS, "tests", self.tests, f"one of {', '.join(TESTS)}")


@dataclasses.dataclass(frozen=True)
class TurnFacts:
    """The facts of one turn that its reward depends on.

    Attributes:
      malformed: The command was malformed.
      edited: Characters that the command changed; 0 is fine where `edit_cost` is 0.
      passed: The tests that count pass after the command.
      newly_solved: They pass, and did not at any earlier state of the episode.
      held: The program that the command met passes, and its pass was rewarded or would
        have been.
      by_value: No test that counts ran in the process of the program.
      share_gained: Share of shown tests beyond the best earlier state; 0 or more.
      exited: The command ended the episode.
      cut: This was the last turn that the episode may have, and no command ended it.
    """

    malformed: bool = False
    edited: int = 0
    passed: bool = False
    newly_solved: bool = False
    held: bool = False
    by_value: bool = True
    share_gained: float = 0.0
    exited: bool = False
    cut: bool = False


def turn_reward(rewards: Rewards, turn: TurnFacts) -> float:
    """Return the reward of one turn."""
    reward = -rewards.turn_cost - rewards.edit_cost * turn.edited
    if turn.malformed:
        reward += rewards.malformed
    trusted = turn.by_value or rewards.trust_in_child
    if rewards.take_back:
        reward += rewards.solved * ((turn.passed and trusted) - turn.held)
    elif turn.newly_solved and trusted:
        reward += rewards.solved
    if trusted:
        reward += rewards.dense * turn.share_gained
    if turn.exited and not turn.passed:
        reward += rewards.exit_unsolved
    if turn.cut:
        reward += rewards.missing_exit
    return reward

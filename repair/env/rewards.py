"""What a command earns, and the rules of an episode that the paper leaves open."""

import dataclasses

from repair.errors import UserError

TESTS = ("shown", "all")


@dataclasses.dataclass(frozen=True)
class Rewards:
    """Rewards of a turn, and the rules that the paper leaves open.

    Attributes:
      solved: At the turn that first passes all tests that count (paper: 1.0).
      malformed: For a command that cannot be read or does not apply (paper: -0.5).
        The state stays, the feedback says so and the episode goes on.
      missing_exit: Added to the last turn of an episode that was cut (paper: -0.5).
      exit_unsolved: For EXIT while a test that counts fails.
      end_on_solve: Whether the solving turn ends the episode, so that no EXIT is
        needed.
      dense: Times the share of shown tests that a turn passes beyond the most that was
        passed before in the episode: partial credit, of at most this much in all.
      turn_cost: Taken from every command.
      edit_cost: Taken for every character that a command changes (Levenshtein).
      trust_in_child: Whether a pass counts although some test ran beside the program,
        which could have claimed it (`Result.trust`).
      tests: Which tests count: the "shown" ones, or "all" with the hidden ones. Hidden
        tests decide on reward and status and change no state: where only they fail, the
        feedback is empty, as it will be where a model is used and nobody has any.

    Raises:
      UserError: `tests` is neither.
    """

    solved: float = 1.0
    malformed: float = -0.5
    missing_exit: float = -0.5
    exit_unsolved: float = 0.0
    end_on_solve: bool = False
    dense: float = 0.0
    turn_cost: float = 0.0
    edit_cost: float = 0.0
    trust_in_child: bool = False
    tests: str = "shown"

    def __post_init__(self):
        if self.tests not in TESTS:
            raise UserError(
                f"rewards.tests is {self.tests!r}; use one of {', '.join(TESTS)}"
            )

"""Errors that the user can mend, and the end that the user asks for."""

import re
import signal

# Of any count that nothing nearer bounds: far above what is sensible, and far below
# what overflows or hangs.
MOST = 10**9
MOST_SEED = 2**31 - 1  # of the random numbers of jax and numpy alike
MOST_SAMPLES = 10_000  # of a bug; all of them stand in line at once
MOST_TEMPERATURE = 100


class UserError(Exception):
    """Bad input from the user: a config, a file, a checkpoint, a flag.

    The message is one sentence that says what was found, what was expected and
    what to do. Entry points print it without a traceback and exit with code 2.
    """


class Interrupted(Exception):
    """A signal that ended a run; all that it had saved is whole.

    Attributes:
      number: Number of the signal. Entry points exit with 128 more.
    """

    def __init__(self, number: int, where: str = ""):
        super().__init__(number, where)
        self.number, self.where = number, where

    def __str__(self):
        return (
            f"ended by {signal.Signals(self.number).name}{self.where}; the same command"
            " goes on from the last checkpoint"
        )


class FieldError(UserError, ValueError):
    """A field of a config that is out of range.

    The message begins with the field's name, so that the reader of a whole config can
    put the path of the section before it.
    """


def brief(error: Exception) -> str:
    """Return the kind of another library's error, and its first sentence."""
    first = re.split(r"\.\s|\n", str(error).strip())[0]
    return f"{type(error).__name__}: {first[:200]}"


def expect(holds: bool, field: str, value, expected: str) -> None:
    """Raise `FieldError` with a message of one form unless the condition holds.

    Args:
      holds: The condition.
      field: Name of the field within its section.
      value: Its value.
      expected: Values that are allowed, in words.
    """
    if not holds:
        raise FieldError(f"{field} is {value!r}, expected {expected}")


def expect_between(
    section, low: float, high: float, *names: str, above=False, below=False
) -> None:
    """Raise `FieldError` unless fields of a section lie in a range; nan never does.

    Args:
      section: Holds the fields.
      low: Least value.
      high: Greatest value.
      *names: Names of the fields.
      above: True if a value must be above the least one.
      below: True if a value must be below the greatest one.
    """
    for name in names:
        value = getattr(section, name)
        least = value > low if above else value >= low
        expect(least, name, value, f"above {low:g}" if above else f"{low:g} or more")
        most = value < high if below else value <= high
        expected = f"below {high:g}" if below else f"{high:,} or less"
        expect(most, name, value, expected)


def expect_default(section, name: str, used: bool, reason: str) -> None:
    """Raise `FieldError` if a field that has no effect differs from its default.

    Args:
      section: A dataclass.
      name: Name of the field.
      used: True if the field has an effect.
      reason: The other field, by which it has none, in words.
    """
    value, default = getattr(section, name), getattr(type(section), name)
    expect(used or value == default, name, value, f"{default!r} {reason}")

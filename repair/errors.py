"""Errors that the user can mend, and the end that the user asks for."""

import signal


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

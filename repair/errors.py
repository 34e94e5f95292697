"""Errors that the user can mend."""


class UserError(Exception):
    """Bad input from the user: a config, a file, a checkpoint, a flag.

    The message is one sentence that says what was found, what was expected and
    what to do. Entry points print it without a traceback and exit with code 2.
    """


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

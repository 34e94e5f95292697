"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """Bad input from the user: a config, a file, a checkpoint, a flag.

    The message is one sentence that says what was found, what was expected and
    what to do. Entry points print it without a traceback and exit with code 2.
    """

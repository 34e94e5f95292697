"""What the entry points share: flags that fail in one sentence, exit code 2."""

import sys
from collections.abc import Callable

from absl import app, flags

from repair.errors import UserError


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags, runs main and exits; a user's mistake exits with 2.

    Bad flags and `UserError` print one sentence and no traceback.
    """

    def parse(argv):
        try:
            rest = flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            # config_flags raises Python's own errors for fields that do not exist.
            _refuse(str(error).strip("'\""))
        except (OSError, ImportError) as error:
            _refuse(f"the config file cannot be read: {error}")
        if len(rest) > 1:
            _refuse(f"unexpected argument {rest[1]!r}; flags start with --")
        return rest

    def guarded(argv):
        del argv
        try:
            return main()
        except UserError as error:
            _refuse(str(error))

    app.run(guarded, flags_parser=parse)


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)

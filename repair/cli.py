"""What the entry points share: flags that fail in one sentence, exit code 2."""

import os
import platform
import sys
from collections.abc import Callable

from absl import app, flags, logging

from repair.errors import UserError

# Keep freed memory and ask for large pages. XLA's temporaries on CPU are tens of
# megabytes that the C library otherwise returns to the system and faults in again,
# page by page, at every step: see docs/results.md for what that costs.
MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4000000000"
    ":glibc.malloc.trim_threshold=8000000000"
)


def run(main: Callable[..., int | None], *arguments: str) -> None:
    """Parses the flags, runs main and exits; a user's mistake exits with 2.

    Bad flags and `UserError` print one sentence and no traceback.

    Args:
      main: Gets the arguments that are no flags; returns the exit code.
      *arguments: Names of these, all of which must be given; "NAME..." as the last
        may be given more than once.
    """
    many = bool(arguments) and arguments[-1].endswith("...")
    tune_malloc()

    def parse(argv):
        try:
            rest = flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            # config_flags raises Python's own errors for fields that do not exist.
            _refuse(str(error).strip("'\""))
        except (OSError, ImportError) as error:
            _refuse(f"the config file cannot be read: {error}")
        given = len(rest) - 1
        if given > len(arguments) and not many:
            _refuse(f"unexpected argument {rest[-1]!r}; flags start with --")
        if given < len(arguments):
            name = arguments[given].removesuffix("...")
            _refuse(f"missing argument {name}; see --help")
        return rest

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)  # jax reports missing accelerators
        try:
            return main(*argv[1:])
        except UserError as error:
            _refuse(str(error))

    app.run(guarded, flags_parser=parse)


def tune_malloc() -> None:
    """Starts this very command anew with the allocator's settings, once.

    They are read when a process starts, so there is no setting them later. Whoever
    has set GLIBC_TUNABLES keeps theirs.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": MALLOC}
        os.execve(sys.executable, sys.orig_argv, environment)


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)

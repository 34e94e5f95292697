"""Shared by the entry points: a user's mistake is one sentence and exit code 2."""

import difflib
import importlib.metadata
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Iterable

from absl import app, flags, logging

from repair.errors import Interrupted, UserError

# Keep freed memory and ask for large pages. XLA's temporaries on CPU are tens of
# megabytes that the C library otherwise returns to the system and faults in again,
# page by page, at every step: docs/results.md has the cost.
MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4000000000"
    ":glibc.malloc.trim_threshold=8000000000"
)


def run_main(
    main: Callable[..., int | None], define: Callable[[], None], *arguments: str
) -> None:
    """Define and parse the flags, run main and exit; a user's mistake exits with 2.

    Args:
      main: Gets the arguments that are no flags; returns the exit code.
      define: Defines the flags.
      *arguments: Names of the arguments, all required; "NAME..." as the last may be
        given more than once.
    """
    many = bool(arguments) and arguments[-1].endswith("...")
    if main.__module__ != "__main__":
        # An installed script: absl's --help shows the flags of the module argv[0] below
        # the docstring of __main__.
        sys.argv[0] = main.__module__
        sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    # Flags that this module defines for a command are the command's: --help lists them.
    flags.disclaim_key_flags()
    define()

    def parse(argv):
        if "--version" in argv[1:]:
            print(f"repair {importlib.metadata.version('repair')}")
            sys.exit(0)
        try:
            rest = flags.FLAGS(argv)
        except flags.Error as error:
            _refuse(_explain(error))
        except UserError as error:
            _refuse(str(error))
        except SystemExit as end:
            # absl prints the help, then exits with 1.
            sys.exit(0 if end.code == 1 else end.code)
        given = len(rest) - 1
        if given > len(arguments) and not many:
            _refuse(f"unexpected argument {rest[-1]!r}; flags start with --")
        if given < len(arguments):
            name = arguments[given].removesuffix("...")
            _refuse(f"missing argument {name}; see --help")
        return rest

    def guarded(argv):
        tune_malloc()  # only here, so that --help and mistakes are told at once
        logging.set_verbosity(logging.WARNING)  # jax reports missing accelerators
        try:
            return main(*argv[1:])
        except UserError as error:
            _refuse(str(error))
        except Interrupted as end:
            print(end, file=sys.stderr)
            sys.exit(128 + end.number)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)

    app.run(guarded, flags_parser=parse)


def tune_malloc() -> None:
    """Start this very command anew with the allocator's settings, once.

    The C library reads them when a process starts. A GLIBC_TUNABLES of the user's own
    stays as it is.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": MALLOC}
        os.execve(sys.executable, sys.orig_argv, environment)


def define_compile_cache() -> None:
    """Define --compile_cache."""
    flags.DEFINE_string(
        "compile_cache",
        None,
        "Folder that keeps compiled programs for later runs, by default in the user's"
        " cache folder; empty for none.",
    )


def use_compile_cache(given: str | None) -> None:
    """Keep compiled programs in the folder that --compile_cache names, or else ours."""
    from repair.model.compile_cache import default_folder, keep_compiled

    keep_compiled(default_folder() if given is None else given)


def define_policy() -> None:
    """Define the flags that name a trained policy."""
    flags.DEFINE_string(
        "checkpoint", None, "WORKDIR/checkpoints/STAGE, a step below it, or best."
    )
    flags.DEFINE_string(
        "adapter", "", "Folder that repair.export --adapter wrote; no checkpoint then."
    )
    flags.DEFINE_string(
        "model",
        "",
        "Base model of adapters, a GGUF file, a folder or a name on the Hub, if it is"
        " not the one of the training.",
    )


def policy_source(args) -> str:
    """Return the checkpoint or the folder of adapters that the flags name.

    Raises:
      UserError: They name none, or both.
    """
    if args.checkpoint and args.adapter:
        raise UserError("--checkpoint and --adapter name two policies; give one")
    if not (args.checkpoint or args.adapter):
        raise UserError(
            "--checkpoint is missing; give WORKDIR/checkpoints/STAGE, a step below it,"
            " or best; or --adapter and --model"
        )
    return args.checkpoint or args.adapter


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean ...?" with the prefix and the nearest name, if any."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _explain(error: flags.Error) -> str:
    """Return absl's complaint as one sentence in the words of this project."""
    text = str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        name = error.flagname
        if name.removeprefix("no").startswith("config.") and "config" in flags.FLAGS:
            return _missing("config")
        ours = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
        hint = nearest(name, [flag.name for flag in ours], "--")
        return f"no flag --{name}{hint or '; see --help'}"
    if found := re.match(r"flags? --(\w+)=None: .* must have a value", text):
        return _missing(found[1])
    if found := re.match(r"flag --([\w.]+)=(.*?): ", text, re.DOTALL):
        return f"--{found[1]}={found[2]}: expected {_expected(found[1], found[2])}"
    if found := re.match(r"Missing value for flag -*([\w.]+)", text):
        return f"--{found[1]} has no value; write --{found[1]}=VALUE"
    if found := re.match(r"Found (.*) in argv before a value for", text):
        return f"{found[1]} stands before --config; put it after"
    return text


def _missing(name: str) -> str:
    text = flags.FLAGS[name].help.removesuffix(".")
    if not text[1:2].isupper():  # but WORKDIR as it is
        text = text[0].lower() + text[1:]
    return f"--{name} is missing; give {text}"


def _expected(name: str, value: str) -> str:
    """Return the values that a flag takes, in words."""
    parser = flags.FLAGS[name].parser
    if isinstance(parser, flags.EnumParser):
        choices = parser.enum_values
        return f"one of {', '.join(choices)}{nearest(value, choices)}"
    if isinstance(parser, flags.BooleanParser):
        return "true or false"
    return parser.syntactic_help or "values as in a,b"

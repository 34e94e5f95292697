"""The flag --config: a file of one's own or a shipped config, with overrides.

`ml_collections.config_flags` loads the file and applies --config.FIELD=VALUE; its
parser is replaced by one that finds shipped configs and explains mistakes.
"""

import ast
import importlib.util
import pathlib
import re
import sys
import traceback

import ml_collections
from absl import flags
from ml_collections import config_flags

from repair.cli import nearest
from repair.errors import UserError

_PACKAGE = pathlib.Path(__file__).parent


def define() -> None:
    """Define --config, which must be given."""
    config_flags.DEFINE_config_file(
        "config", None, "A file or the name of a shipped config, such as tiny."
    )
    flags.FLAGS["config"].parser = _Parser()
    flags.mark_flag_as_required("config")


def shipped() -> dict[str, pathlib.Path]:
    """Return the configs that come with the package, by name."""
    # In an installed package below it; in a checkout next to it.
    folders = [_PACKAGE / "configs", _PACKAGE.parent / "configs"]
    folder = next((each for each in folders if each.is_dir()), folders[0])
    return {p.stem: p for p in sorted(folder.glob("*.py")) if p.stem != "__init__"}


def find(given: str) -> pathlib.Path:
    """Return the file of a config: a path, or the name of a shipped one.

    Raises:
      UserError: There is no such file.
    """
    path, known = pathlib.Path(given), shipped()
    if path.is_file():
        return path
    if path.parent in (pathlib.Path(), pathlib.Path("configs")) and path.stem in known:
        return known[path.stem]
    here = [str(each) for each in path.parent.glob("*.py")]
    hint = nearest(given, here) or nearest(path.stem, known)
    raise UserError(
        f"--config={given}: no such file"
        + (hint or f"; give a file or one of {', '.join(known)}")
    )


def expected_figures(file: pathlib.Path, mode: str) -> str:
    """Return the time and figures that a config's docstring gives for an argument.

    They are an indented line that begins with the argument, or "none" for no argument,
    and two blanks; deeper lines go on. "" where there is no such line.
    """
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    found = re.search(rf"^  {re.escape(mode or 'none')}  +(.+(?:\n   .+)*)", text, re.M)
    return " ".join(found[1].split()) if found else ""


class _Parser(flags.ArgumentParser):
    """Reads FILE, FILE:ARGUMENT, NAME or NAME:ARGUMENT; checks the overrides' names.

    Attributes:
      expected: The `expected_figures` of the config that was read last.
    """

    expected = ""

    def parse(self, argument):
        """Return the config, locked."""
        given, colon, mode = argument.partition(":")
        file = find(given)
        try:
            spec = importlib.util.spec_from_file_location("config_file", file)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            if not hasattr(module, "get_config"):
                raise UserError(f"{file} has no function get_config; define it")
            config = module.get_config(*([mode] if colon else []))
        except UserError as error:
            raise UserError(f"--config={argument}: {error}") from error
        except Exception as error:
            raise UserError(f"--config={argument}: {_say(file, error)}") from error
        if not isinstance(config, ml_collections.ConfigDict):
            raise UserError(
                f"--config={argument}: get_config returned {type(config).__name__},"
                " expected a ConfigDict; start from repair.training.config.defaults()"
            )
        for each in sys.argv[1:]:
            if field := re.match(r"--?(?:no)?config\.([^=]+)", each):
                _check(config, field[1])
        self.expected = expected_figures(file, mode)
        return config.lock()

    def flag_type(self):
        """Return the type's name for --help."""
        return "config"


def _say(file: pathlib.Path, error: Exception) -> str:
    """Return an exception of a config file in one line, with the line it comes from."""
    text = str(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if pathlib.Path(f.filename) == file]
    if isinstance(error, SyntaxError):
        text, lines = error.msg, [error.lineno]
    where = f"line {lines[-1]} of {file}" if lines else str(file)
    return f"{where} raises {type(error).__name__}: {' '.join(text.split())}"


def _check(config: ml_collections.ConfigDict, field: str) -> None:
    """Refuse an override of a field that does not exist, or of a whole section."""
    at, before = config, "config"
    for name in field.split("."):
        if not isinstance(at, ml_collections.ConfigDict):
            raise UserError(f"--config.{field}: {before} has no fields; set {before}")
        if name not in at:
            hint = nearest(name, list(at), f"--{before}.")
            hint = hint or f"; {before} has {', '.join(at)}"
            raise UserError(f"--config.{field}: no such field{hint}")
        at, before = at[name], f"{before}.{name}"
    if isinstance(at, ml_collections.ConfigDict):
        raise UserError(f"--{before} is a section; set its fields: {', '.join(at)}")

"""The project around a user's file: its root, its files, and how pytest is called."""

import os
import pathlib
import re
import shlex

from repair.errors import UserError
from repair.sandbox.project_pool import Project

# pytest's own, and what else marks the root of a project.
_MARKS = (
    *("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"),
    *("setup.py", ".git", ".hg"),
)
_SKIPPED = frozenset(("__pycache__", "node_modules"))
_MOST_FILES, _MOST_BYTES, _MOST_OF_ONE = 2000, 32 << 20, 8 << 20
_IMPORT = re.compile(r"^\s*(?:import|from)\s+([A-Za-z]\w*)", re.MULTILINE)
_PLAYFUL = frozenset(("antigravity", "this"))  # that act when they are imported


def find_root(program: pathlib.Path, tests: pathlib.Path) -> pathlib.Path:
    """Return the nearest marked folder above both paths, else the one of packages."""
    folder = tests if tests.is_dir() else tests.parent
    common = pathlib.Path(os.path.commonpath((program.parent, folder)))
    for each in (common, *common.parents):
        if any((each / mark).exists() for mark in _MARKS):
            return each
    outer = (x for x in (common, *common.parents) if not (x / "__init__.py").exists())
    return next(outer, common)


def read_project(program: pathlib.Path, tests: str, options: str) -> Project:
    """Read the project of a program and its tests, those nearest to them first.

    Args:
      program: The file to repair.
      tests: A file or folder of tests, or one of pytest's names in it (FILE::test).
      options: Further arguments of pytest, as in a shell.

    Raises:
      UserError: The tests do not exist, or an argument is not closed.
    """
    where, _, inner = tests.partition("::")
    path = pathlib.Path(where).resolve()
    if not path.exists():
        raise UserError(f"{where} does not exist; give a file or a folder of tests")
    try:
        more = tuple(shlex.split(options))
    except ValueError as error:
        raise UserError(f"--pytest={options} cannot be split ({error})") from error
    root = find_root(program, path)
    here = pathlib.Path.cwd().resolve()
    cwd = here if here.is_relative_to(root) else root
    name = os.path.relpath(path, cwd) + (f"::{inner}" if inner else "")
    files = _nearest(root, [program.parent, path if path.is_dir() else path.parent])
    for each in (program, *([path] if path.is_file() else [])):
        files[each.relative_to(root).as_posix()] = each.read_bytes()
    return Project(
        root=str(root),
        program=program.relative_to(root).as_posix(),
        files=files,
        arguments=(name, *more),
        cwd=os.path.relpath(cwd, root),
        modules=_modules(files),
    )


def _nearest(root: pathlib.Path, starts: list[pathlib.Path]) -> dict[str, bytes]:
    """Return the files below the starts, then below their parents up to the root."""
    parents = [each for start in starts for each in start.parents]
    above = [each for each in parents if each.is_relative_to(root)]
    above.sort(key=lambda each: -len(each.parts))
    files: dict[str, bytes] = {}
    seen: set[str] = set()
    size = 0
    for start in (*starts, *above):
        for folder, inner, names in os.walk(start):
            inner[:] = sorted(x for x in inner if _goes_into(folder, x, seen))
            seen.add(folder)
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                key = path.relative_to(root).as_posix()
                if key in files or not _is_kept(path):
                    continue
                data = path.read_bytes()
                size += len(data)
                if len(files) >= _MOST_FILES or size > _MOST_BYTES:
                    return files
                files[key] = data
    return files


def _goes_into(folder: str, name: str, seen: set[str]) -> bool:
    path = os.path.join(folder, name)
    hidden = name.startswith(".") or name in _SKIPPED or path in seen
    return not hidden and not os.path.exists(os.path.join(path, "pyvenv.cfg"))


def _is_kept(path: pathlib.Path) -> bool:
    try:
        usual = path.is_file() and path.stat().st_size <= _MOST_OF_ONE
        return usual and os.access(path, os.R_OK)
    except OSError:  # it has just gone, or its links are a loop
        return False


def _modules(files: dict[str, bytes]) -> tuple[str, ...]:
    """Return the modules that the files import and that are none of them."""
    own = {part.removesuffix(".py") for path in files for part in path.split("/")}
    texts = (
        data.decode("utf-8", "replace")
        for path, data in files.items()
        if path.endswith(".py")
    )
    found = {name for text in texts for name in _IMPORT.findall(text)}
    return tuple(sorted(found - own - _PLAYFUL))

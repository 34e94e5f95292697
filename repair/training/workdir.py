"""The folder of a run: its config, its results, and files that a kill cannot tear."""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterator

from repair.errors import UserError
from repair.model import multihost
from repair.training.fields import flatten


def open_workdir(workdir, config) -> pathlib.Path:
    """Make the folder, or check that it belongs to this very config.

    Raises:
      UserError: It cannot be written, or holds a run of another config.
    """
    workdir = pathlib.Path(workdir).absolute()
    path = workdir / "config.json"
    mine = json.loads(json.dumps(dataclasses.asdict(config)))
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _compare(json.loads(path.read_text()), mine, workdir)
        else:
            write_whole(path, json.dumps(mine, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"the workdir {workdir} cannot be written ({error}); choose another"
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no JSON ({error}); choose a new workdir") from error
    return workdir


def _compare(old: dict, new: dict, workdir) -> None:
    old, new = flatten(old), flatten(new)
    changes = [
        f"{name}: {old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if changes:
        raise UserError(
            f"{workdir} holds a run of another config ({'; '.join(changes)}); choose"
            " another --workdir or give the same config to resume"
        )


class Results:
    """The contents of results.json: figures of the stages, and seconds spent.

    Attributes:
      values: {"stages": {stage: figures}, "seconds": {stage: seconds}, ...}.
    """

    def __init__(self, workdir: pathlib.Path):
        self._path = workdir / "results.json"
        self.values = multihost.once(self._read)

    def set(self, name: str, value) -> None:
        """Set one value, without saving it: JSON, or what becomes it."""
        self.values[name] = json.loads(json.dumps(value))

    def save(self) -> None:
        """Write the file, in the first process."""
        if multihost.first():
            write_whole(self._path, json.dumps(self.values, indent=2) + "\n")

    @contextlib.contextmanager
    def timed(self, name: str, skip: bool = False) -> Iterator[None]:
        """Add the seconds of the block to those of earlier runs, and save."""
        started = time.perf_counter()
        yield
        if skip:
            return
        seconds = self.values["seconds"]
        spent = seconds.get(name, 0.0) + time.perf_counter() - started
        seconds[name] = round(spent, 1)
        self.save()

    def _read(self) -> dict:
        if self._path.exists():
            return json.loads(self._path.read_text())
        return {"stages": {}, "seconds": {}}


def write_whole(path, text: str) -> None:
    """Write a file so that a kill leaves the old one or the new one."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise

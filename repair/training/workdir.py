"""The folder of a run: whose it is, and files that a kill cannot tear."""

import dataclasses
import json
import os
import pathlib

from repair.errors import UserError
from repair.training.config import Config
from repair.training.fields import flatten


def open_workdir(workdir, config: Config) -> pathlib.Path:
    """Makes the folder, or checks that it belongs to this very config.

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


def write_whole(path, text: str) -> None:
    """Writes a file so that a kill leaves the old one or the new one."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise

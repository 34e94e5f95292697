"""The folder of a run: its lock, config and results, and files that a kill cannot tear.

A run holds a lock on its workdir that ends with its process. config.json has the config
as it is now, and under "history" the changes that a resumed run brought.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from repair.errors import UserError
from repair.model import multihost
from repair.training.changes import changed_fields, check_changes, is_other_run
from repair.training.fields import flatten

_HISTORY = "history"
_LOCK = ".lock"
# Files and folders of a run; a workdir may hold others.
_OURS = (
    *("config.json", "machine.json", "metrics.jsonl", "results.json", "demos.jsonl"),
    *("tokenizer", "trajectories", "checkpoints"),
)
# A disk that is full, read-only, over quota, broken or gone.
_DISK_ERRORS = (
    *(errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EFBIG),
    *(errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESTALE),
)


@contextlib.contextmanager
def hold_workdir(workdir) -> Iterator[pathlib.Path]:
    """Make the folder and lock it while the block runs: its absolute path.

    An error of its disk within the block becomes a UserError.

    Raises:
      UserError: It cannot be written, or another process trains in it.
    """
    workdir = pathlib.Path(workdir).absolute()
    with _disk_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        with (workdir / _LOCK).open("a+") as lock:
            _lock(lock, workdir)
            yield workdir


def open_workdir(
    workdir: pathlib.Path, config, report: Callable[[str], None] = print
) -> None:
    """Write config.json, or check that it is of this run and note what has changed.

    A run of another config that has no checkpoint yet is set aside.

    Raises:
      UserError: The folder holds a run of another config.
    """
    path = workdir / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = json.loads(json.dumps(dataclasses.asdict(config)))
    history: list = []
    if path.exists():
        saved = load_object(path)
        if saved is None:
            raise UserError(
                f"{path} is damaged: it is no JSON object; put the config of the run"
                " there again, or choose another --workdir"
            )
        history = saved.pop(_HISTORY, [])
        new, defaults = flatten(mine), flatten(dataclasses.asdict(type(config)()))
        changes = changed_fields(flatten(saved), new, json.loads(json.dumps(defaults)))
        begun = begun_stages(workdir)
        if is_other_run(changes, new) and not begun:
            aside = _set_aside(workdir)
            report(f"the files of a run without a checkpoint are now in {aside}")
            changes, history = {}, []
        else:
            check_changes(changes, new, begun, workdir)
            if not changes:
                return
            listed = [f"{name} {old} -> {now}" for name, (old, now) in changes.items()]
            report(f"resumed with other settings: {', '.join(listed)}")
            history = [*history, changes]
    text = json.dumps(mine | ({_HISTORY: history} if history else {}), indent=2)
    write_whole(path, text + "\n")


def begun_stages(workdir) -> list[str]:
    """Return the stages that have checkpoints in a workdir."""
    stages = pathlib.Path(workdir).glob("checkpoints/*")
    return [stage.name for stage in stages if any(stage.glob("*/rest"))]


def _set_aside(workdir: pathlib.Path) -> pathlib.Path:
    """Move the files of a run into a folder of the workdir, in place of older ones."""
    aside = workdir / "set_aside"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in (workdir / name for name in _OURS):
        if path.exists():
            path.rename(aside / path.name)
    return aside


def load_object(path: pathlib.Path) -> dict | None:
    """Return the JSON object of a file, or None if it holds no such thing."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class Results:
    """The contents of results.json: figures of the stages, and seconds spent.

    All of it follows from the rest of the workdir, but for seconds; a damaged file is
    set aside, and the evaluations are made anew.

    Attributes:
      values: {"stages": {stage: figures}, "seconds": {stage: seconds}, ...}.
    """

    def __init__(self, workdir: pathlib.Path, report: Callable[[str], None] = print):
        self._path = workdir / "results.json"
        self.values = multihost.once(lambda: self._read(report))

    def set(self, name: str, value) -> None:
        """Set one value, without saving it: JSON, or what becomes it."""
        self.values[name] = json.loads(json.dumps(value))

    def add(self, name: str, **values) -> None:
        """Add values to those of a name, and save."""
        self.set(name, self.values.get(name, {}) | values)
        self.save()

    def set_seconds(self, name: str, seconds: float) -> None:
        """Set the seconds that something took, over all sessions, and save."""
        self.values["seconds"][name] = round(seconds, 1)
        self.save()

    def save(self) -> None:
        """Write the file, in the first process."""
        if multihost.first():
            write_whole(self._path, json.dumps(self.values, indent=2) + "\n")

    def _read(self, report: Callable[[str], None]) -> dict:
        fresh: dict = {"stages": {}, "seconds": {}}
        if not self._path.exists():
            return fresh
        values = load_object(self._path)
        if values and all(isinstance(values.get(name), dict) for name in fresh):
            return values
        aside = self._path.with_name(self._path.name + ".damaged")
        os.replace(self._path, aside)
        report(f"{self._path} is damaged and set aside; evaluations are made anew")
        return fresh


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


@contextlib.contextmanager
def written_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield an empty folder to write, which then takes the place of another, whole."""
    new = folder.with_name(folder.name + ".partial")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(new, folder)


def path_digest(path: pathlib.Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files and their names."""
    total = hashlib.sha256()
    for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if each.is_file():
            with each.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            total.update(each.name.encode() + b"\0" + content)
    return total.hexdigest()


def _lock(lock, workdir: pathlib.Path) -> None:
    """Lock an open file until its process ends, and write the process into it."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        raise UserError(
            f"{holder} trains in {workdir} at this moment; wait for its end, or choose"
            " another --workdir"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        return  # a file system without locks
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {os.uname().nodename}\n")
    lock.flush()


@contextlib.contextmanager
def _disk_errors(workdir: pathlib.Path):
    try:
        yield
    except OSError as error:
        here = str(error.filename or "").startswith(str(workdir))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        if not full and not (here and error.errno in _DISK_ERRORS):
            raise
        raise UserError(
            f"the workdir {workdir} cannot be written ({error}); mend that, such as by"
            " freeing space, and run the same command again, or choose another"
        ) from error

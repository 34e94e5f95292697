"""Folders of records in numbered files, with an index that knows them by their hash.

A folder of 8 files of "demos" holds demos-00000-of-00008.jsonl (or .array_record) and
so on, and index.json:

  format    1, the version of this layout
  name      what the records are
  files     "jsonl", one record a line, or "array_record"
  count     how many files there are when all is done
  settings  what the records were made from; another run here must have the same
  facts     what was found out once and is not to be found out differently
  shards    of each file that is whole: file, records, bytes, sha256, notes

A file is written beside its place, then put into the index, then renamed; so a run
that was killed goes on with the files that are missing, and makes none twice.
"""

import array
import bisect
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from repair.errors import UserError

FILES = ("jsonl", "array_record")
_FORMAT = 1
_BLOCK = 1 << 20


class ShardWriter:
    """Writes a folder's files in any order, and knows which are there.

    Nothing is written before the first fact or file: settings that turn out to be wrong
    leave the folder free for others.

    Args:
      folder: Made when needed; what it holds already is kept.
      name: What the records are, in one word.
      files: "jsonl" or "array_record".
      count: How many files there will be.
      settings: Any JSON object.

    Raises:
      UserError: The folder cannot be written, holds something else, or
        array_record is not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        name: str,
        *,
        files: str = "jsonl",
        count: int,
        settings: dict,
    ):
        self._folder = pathlib.Path(folder)
        self._path = self._folder / "index.json"
        if files == "array_record":
            _array_record()
        mine = {"format": _FORMAT, "name": name, "files": files, "count": count}
        mine |= {"settings": json.loads(json.dumps(settings))}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        if self._path.exists():
            self.index = _read_index(self._folder)
            _compare(self._folder, self.index, mine)
            self._settle()
        else:
            self.index = mine | {"facts": {}, "shards": []}

    @property
    def missing(self) -> list[int]:
        """The numbers of the files that are not there yet."""
        there = {shard["file"] for shard in self.index["shards"]}
        numbers = range(self.index["count"])
        return [n for n in numbers if self._file(n) not in there]

    def fact(self, name: str, find: Callable):
        """What find() gave when this was first asked, here or before a kill."""
        if name not in self.index["facts"]:
            self.index["facts"][name] = find()
            self._save()
        return self.index["facts"][name]

    def write(self, number: int, records: Iterable[bytes], notes: dict) -> None:
        """Writes one file.

        Args:
          number: Which one.
          records: What it is to hold, drawn one at a time.
          notes: JSON for the index; read after the last record, so that whoever
            makes the records can count as it goes.

        Raises:
          UserError: The disk refuses.
        """
        path = self._folder / self._file(number)
        partial = path.with_name(path.name + ".partial")
        write = {"jsonl": _write_lines, "array_record": _write_array_records}
        try:
            count = write[self.index["files"]](partial, records)
            found = {"file": path.name, "records": count, **_measure(partial)}
            self.index["shards"].append(found | {"notes": notes})
            self.index["shards"].sort(key=lambda shard: shard["file"])
            self._save()
            os.replace(partial, path)
        except OSError as error:
            raise _unwritable(path, error) from error

    def _file(self, number: int) -> str:
        count, ending = self.index["count"], self.index["files"]
        return f"{self.index['name']}-{number:05}-of-{count:05}.{ending}"

    def _settle(self) -> None:
        """Finishes the renaming that a kill has cut; forgets files that are not whole.

        What is forgotten is made anew, to the same bytes.
        """
        kept = []
        for shard in self.index["shards"]:
            path = self._folder / shard["file"]
            partial = path.with_name(path.name + ".partial")
            if not path.exists() and _is_whole(partial, shard):
                os.replace(partial, path)
            if _is_whole(path, shard):
                kept.append(shard)
        self.index["shards"] = kept

    def _save(self) -> None:
        partial = self._path.with_name("index.json.partial")
        try:
            partial.write_text(json.dumps(self.index, indent=1) + "\n")
            os.replace(partial, self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from error


class ShardReader(Sequence):
    """The records of a folder in the order of its files, read one at a time.

    May be read from many threads.

    Args:
      folder: As a `ShardWriter` left it.
      name: What the records should be.

    Attributes:
      index: What index.json holds.

    Raises:
      UserError: The folder is unfinished, of another kind or version, or a file is
        missing or not the one that was written; the message names it.
    """

    def __init__(self, folder: str | os.PathLike, name: str):
        self.folder = pathlib.Path(folder)
        self.index = _read_index(self.folder)
        shards, count = self.index["shards"], self.index["count"]
        if self.index["name"] != name:
            raise UserError(
                f"{self.folder} holds {self.index['name']}, expected {name}; give"
                " another folder"
            )
        if len(shards) < count:
            raise UserError(
                f"{self.folder} holds {len(shards)} of {count} files of {name}; let"
                " repair.make_data finish it with the same command"
            )
        open_file = {"jsonl": _Lines, "array_record": _ArrayRecords}
        for shard in shards:
            _check_whole(self.folder / shard["file"], shard)
        kind = open_file[self.index["files"]]
        self._files = [kind(self.folder / shard["file"]) for shard in shards]
        self._ends = list(itertools.accumulate(len(file) for file in self._files))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> bytes:
        file, place = self._find(number)
        return self._files[file][place]

    def where(self, number: int) -> str:
        """File and line of a record, for messages."""
        file, place = self._find(number)
        return f"{self.folder / self.index['shards'][file]['file']}:{place + 1}"

    def _find(self, number: int) -> tuple[int, int]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        file = bisect.bisect_right(self._ends, number)
        return file, number - (self._ends[file - 1] if file else 0)


class _Lines:
    """A file's lines, found by their places."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        with path.open("rb") as file:
            self._ends = array.array("q", _newlines(file))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> bytes:
        start = self._ends[number - 1] + 1 if number else 0
        # Opened each time: nothing to close, and threads do not move one another.
        with self._path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(self._ends[number] - start)


class _ArrayRecords:
    """The records of an array_record file."""

    def __init__(self, path: pathlib.Path):
        _, reading = _array_record()
        self._reader = reading.ArrayRecordDataSource([str(path)])

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, number: int) -> bytes:
        return self._reader[number]


def _newlines(file) -> Iterator[int]:
    start = 0
    while block := file.read(_BLOCK):
        place = block.find(b"\n")
        while place >= 0:
            yield start + place
            place = block.find(b"\n", place + 1)
        start += len(block)


def _write_lines(path: pathlib.Path, records: Iterable[bytes]) -> int:
    count = 0
    with path.open("wb") as file:
        for record in records:
            file.write(record + b"\n")
            count += 1
    return count


def _write_array_records(path: pathlib.Path, records: Iterable[bytes]) -> int:
    count = 0
    # Groups of one, so that a record can be read without its neighbours.
    writing, _ = _array_record()
    writer = writing.ArrayRecordWriter(str(path), "group_size:1")
    try:
        for record in records:
            writer.write(record)
            count += 1
    finally:
        writer.close()
    return count


def _array_record() -> tuple:
    """array_record's modules for writing and for reading."""
    try:
        from array_record.python import array_record_data_source, array_record_module
    except ImportError as error:
        raise UserError(
            "array_record is not installed; use jsonl, or run pip install -e '.[data]'"
        ) from error
    return array_record_module, array_record_data_source


def _measure(path: pathlib.Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _is_whole(path: pathlib.Path, shard: dict) -> bool:
    if not path.is_file() or path.stat().st_size != shard["bytes"]:
        return False
    return _measure(path)["sha256"] == shard["sha256"]


def _check_whole(path: pathlib.Path, shard: dict) -> None:
    if not path.is_file():
        problem = "is missing"
    elif (size := path.stat().st_size) != shard["bytes"]:
        problem = f"has {size} bytes, expected {shard['bytes']}"
    elif not _is_whole(path, shard):
        problem = "is not what was written there (its sha256 differs)"
    else:
        return
    raise UserError(
        f"{path} {problem}; run the command that made {path.parent} again, which makes"
        " that file anew"
    )


def _read_index(folder: pathlib.Path) -> dict:
    path = folder / "index.json"
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({error}); give a folder made by repair.make_data"
        ) from error
    fields = {"format", "name", "files", "count", "settings", "facts", "shards"}
    if not isinstance(index, dict) or index.get("format") != _FORMAT:
        found = index.get("format") if isinstance(index, dict) else index
        raise UserError(
            f"{path}: field 'format' is {found!r}, expected {_FORMAT}; make the folder"
            " anew with repair.make_data"
        )
    if missing := fields - index.keys():
        raise UserError(
            f"{path}: field {min(missing)!r} is missing; make the folder anew with"
            " repair.make_data"
        )
    return index


def _compare(folder: pathlib.Path, old: dict, new: dict) -> None:
    """Refuses to go on with what was begun otherwise."""
    pairs = [(name, old[name], new[name]) for name in new if name != "settings"]
    names = sorted(old["settings"].keys() | new["settings"].keys())
    there, here = old["settings"], new["settings"]
    pairs += [(n, there.get(n, "absent"), here.get(n, "absent")) for n in names]
    changes = [f"{n}: {a!r} there, {b!r} here" for n, a, b in pairs if a != b]
    if changes:
        raise UserError(
            f"{folder} was begun with other settings ({'; '.join(changes)}); choose"
            " another --out, or give the same settings to go on"
        )


def _unwritable(path: pathlib.Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be written ({error}); choose another --out")

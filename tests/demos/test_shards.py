"""Folders of records: what a kill leaves, what is read, what is refused."""

import json
import sys

import pytest

from repair.demos import shards
from repair.demos.shards import ShardReader, ShardWriter
from repair.errors import UserError

PARTS = [[b"one", b"", "drei ü".encode()], [], [b"4" * 70_000, b"five"]]
SETTINGS = {"seed": 3, "kinds": ("a", "b")}


class Killed(BaseException):
    """Stands for a kill: no handler in the package catches it."""


@pytest.fixture(params=["jsonl", "array_record"])
def files(request):
    if request.param == "array_record":
        pytest.importorskip("array_record")
    return request.param


def open_writer(folder, files="jsonl", **changes):
    settings = {"count": 3, "settings": SETTINGS} | changes
    return ShardWriter(folder, "words", files=files, **settings)


def write_all(folder, files="jsonl"):
    writer = open_writer(folder, files)
    for number in writer.missing:
        writer.write(number, iter(PARTS[number]), {"part": number})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_written_is_read_in_any_order(tmp_path, files):
    found = write_all(tmp_path, files)
    names = [f"words-0000{n}-of-00003.{files}" for n in range(3)]
    assert sorted(found) == ["index.json", *names]
    reader = ShardReader(tmp_path, "words")
    records = [record for part in PARTS for record in part]
    assert list(reader) == records and len(reader) == 5
    assert [reader[i] for i in (4, 1, 3, 0)] == [records[i] for i in (4, 1, 3, 0)]
    assert reader.where(2) == f"{tmp_path / names[0]}:3"
    assert reader.where(4) == f"{tmp_path / names[2]}:2"
    assert [s["records"] for s in reader.index["shards"]] == [3, 0, 2]
    assert [s["notes"] for s in reader.index["shards"]] == [
        {"part": 0},
        {"part": 1},
        {"part": 2},
    ]
    with pytest.raises(IndexError):
        reader[5]


def test_a_kill_while_a_file_is_written_loses_that_file_only(tmp_path, files):
    whole = write_all(tmp_path / "whole", files)

    def dying():
        yield PARTS[2][0]
        raise Killed

    writer = open_writer(tmp_path / "cut", files)
    writer.write(0, PARTS[0], {"part": 0})
    with pytest.raises(Killed):
        writer.write(2, dying(), {"part": 2})
    with pytest.raises(UserError, match="holds 1 of 3 files"):
        ShardReader(tmp_path / "cut", "words")
    assert open_writer(tmp_path / "cut", files).missing == [1, 2]
    assert write_all(tmp_path / "cut", files) == whole


def test_a_kill_before_the_renaming_makes_nothing_twice(tmp_path, monkeypatch, files):
    whole = write_all(tmp_path / "whole", files)
    writer = open_writer(tmp_path / "cut", files)
    replace = shards.os.replace

    def killing(old, new):
        if "words" in str(new):
            raise Killed
        replace(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(shards.os, "replace", killing)
        with pytest.raises(Killed):
            writer.write(0, PARTS[0], {"part": 0})
    assert open_writer(tmp_path / "cut", files).missing == [1, 2]
    assert write_all(tmp_path / "cut", files) == whole


def test_what_was_found_out_once_stays(tmp_path):
    assert open_writer(tmp_path).fact("donors", lambda: [1, "a"]) == [1, "a"]
    assert open_writer(tmp_path).fact("donors", lambda: [2]) == [1, "a"]


def damage_by_loss(path):
    path.unlink()


def damage_by_cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def damage_by_change(path):
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))


@pytest.mark.parametrize(
    "damage, says",
    [
        (damage_by_loss, "is missing"),
        (damage_by_cut, "has 10 bytes, expected 13"),
        (damage_by_change, "is not what was written"),
    ],
)
def test_a_damaged_file_is_named_and_made_anew(tmp_path, damage, says):
    whole = write_all(tmp_path)
    damage(tmp_path / "words-00000-of-00003.jsonl")
    with pytest.raises(UserError, match=f"words-00000-of-00003.jsonl {says}"):
        ShardReader(tmp_path, "words")
    assert open_writer(tmp_path).missing == [0]
    assert write_all(tmp_path) == whole


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"settings": SETTINGS | {"seed": 4}}, "seed: 3 there, 4 here"),
        ({"settings": {}}, "kinds: .* there, 'absent' here"),
        ({"count": 4}, "count: 3 there, 4 here"),
    ],
)
def test_a_folder_begun_otherwise_is_refused(tmp_path, changes, says):
    whole = write_all(tmp_path)
    with pytest.raises(UserError, match=says):
        open_writer(tmp_path, **changes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_an_index_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read .*index.json"):
        ShardReader(tmp_path / "none", "words")
    write_all(tmp_path)
    with pytest.raises(UserError, match="holds words, expected demos"):
        ShardReader(tmp_path, "demos")
    path = tmp_path / "index.json"
    index = json.loads(path.read_text())
    for text, says in (
        ("{", "cannot read .*index.json"),
        ("[]", "field 'format' is"),
        (json.dumps(index | {"format": 2}), "field 'format' is 2, expected 1"),
        ('{"format": 1}', "field 'count' is missing"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=says):
            ShardReader(tmp_path, "words")
        with pytest.raises(UserError, match=says):
            open_writer(tmp_path)


def test_what_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        open_writer(tmp_path / "file" / "folder")
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[data\]'"):
        open_writer(tmp_path / "other", "array_record")

"""Files, read without loss and written with nothing but the repair changed."""

import os
import stat

import pytest

from repair.env.sourcefile import check_writable, read_source
from repair.errors import UserError

KEPT = [
    b"",
    b"\n\n",
    b"x = 1",
    b"x = 1\n\n\n",
    b"x = 1\r\ny = 2\r\n",
    b"x = 1\r\ny = 2\nz = 3\r",
    b"\xef\xbb\xbfx = 1\n",
    b"# -*- coding: latin-1 -*-\ns = '\xe9'\n",
    b"# coding: utf-8-sig\nx = 1\n",
    b"if x: \t \n\ty = 2  \x0c\n \x0b\nz = '\xe2\x80\xa8'\n",
]


def source(tmp_path, data, name="a.py"):
    (tmp_path / name).write_bytes(data)
    return read_source(tmp_path / name)


@pytest.mark.parametrize("data", KEPT)
def test_the_same_program_is_the_same_bytes(tmp_path, data):
    file = source(tmp_path, data)
    assert file.with_code(file.code) == data
    assert "\r" not in file.code and not file.code.endswith("\n")


@pytest.mark.parametrize("data", [each for each in KEPT if b"x = 1" in each])
def test_only_lines_that_are_edited_change(tmp_path, data):
    file = source(tmp_path, data)
    edited = file.with_code(file.code.replace("x = 1", "x = 7"))
    assert edited == data.replace(b"x = 1", b"x = 7")
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef") else b""
    ending = b"\r\n" if b"\r" in data else b"\n"
    longer = file.with_code("import os\n" + file.code)
    if not data.startswith(b"#"):
        assert longer == mark + b"import os" + ending + data.removeprefix(mark)
    appended = file.with_code(file.code + "\nw = 4")
    assert b"w = 4" in appended
    assert (appended[-1:] in b"\r\n") == (data[-1:] in b"\r\n")


def test_a_repair_that_the_encoding_cannot_write_is_refused(tmp_path):
    file = source(tmp_path, b"# coding: latin-1\ns = '\xe9'\n")
    with pytest.raises(UserError, match="iso-8859-1, which cannot write"):
        file.with_code(file.code + "\ns = '\u20ac'")
    with pytest.raises(UserError, match="would not read as"):
        file.with_code("# coding: cp1252\ns = '\x85'")
    with pytest.raises(UserError, match="cannot write"):
        file.with_code("# coding: rot13")


@pytest.mark.parametrize(
    "data, says",
    [
        (b"x\0", "zero byte"),
        *((b"\xff\xfe", "no text"), (b"# coding: no", "no text")),
        # Codecs of Python that are not for text, and one that never works.
        *((b"# coding: rot13", "no text"), (b"# coding: undefined", "no text")),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, says):
    with pytest.raises(UserError, match=says):
        source(tmp_path, data)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, says in (
        ("none", "does not exist"),
        (".", "is a folder"),
        ("pipe", "no plain file"),
        ("loop", "cannot be read"),
    ):
        with pytest.raises(UserError, match=says):
            read_source(tmp_path / name)


def test_writing_keeps_mode_and_links_and_leaves_nothing_else(tmp_path):
    real = source(tmp_path, b"x = 1\n")
    os.chmod(real.path, 0o754)
    (tmp_path / "link.py").symlink_to("a.py")
    file = read_source(tmp_path / "link.py")
    file.write(b"x = 2\n")
    assert (tmp_path / "link.py").is_symlink()
    assert real.path.read_bytes() == b"x = 2\n"
    assert stat.S_IMODE(real.path.stat().st_mode) == 0o754
    with pytest.raises(UserError, match="changed meanwhile"):
        file.write(b"x = 3\n")
    assert sorted(os.listdir(tmp_path)) == ["a.py", "link.py"]
    assert real.path.read_bytes() == b"x = 2\n"


def no_space(*paths):
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = source(tmp_path, b"x = 1\n")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(UserError, match="No space left on device.* as it was"):
        file.write(b"x = 2\n")
    assert os.listdir(tmp_path) == ["a.py"] and file.path.read_bytes() == b"x = 1\n"


def test_backups_never_take_the_place_of_older_ones(tmp_path):
    file = source(tmp_path, b"x = 1\n")
    (tmp_path / "a.py.orig").write_text("older")
    assert file.back_up().name == "a.py.orig.1"
    assert file.back_up().name == "a.py.orig.2"
    assert (tmp_path / "a.py.orig").read_text() == "older"
    assert (tmp_path / "a.py.orig.1").read_bytes() == b"x = 1\n"


def test_a_backup_that_fails_leaves_nothing(tmp_path, monkeypatch):
    file = source(tmp_path, b"x = 1\n")

    monkeypatch.setattr(os, "chmod", no_space)
    with pytest.raises(UserError, match="no backup can be written"):
        file.back_up()
    assert os.listdir(tmp_path) == ["a.py"]


@pytest.mark.parametrize("place", ["a.py", "."])
def test_what_is_read_only_is_refused(tmp_path, place):
    file = source(tmp_path, b"x = 1\n")
    check_writable(file.path)
    before = stat.S_IMODE((tmp_path / place).stat().st_mode)
    os.chmod(tmp_path / place, 0o555)
    try:
        with pytest.raises(UserError, match="read-only; make it writable"):
            check_writable(file.path)
    finally:
        os.chmod(tmp_path / place, before)

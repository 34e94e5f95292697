"""Rows of every shape that published files have; any other is refused in a sentence."""

import gzip
import json

import pytest

from repair.errors import UserError
from repair.tasks import load_tasks, read_jsonl

CODE = "def f(): pass"
ROW = {"task_id": 11, "text": "Add.", "code": CODE, "test_list": ["assert 1"]}
# MBPP's sanitized file is an array of these.
SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 11,
    "prompt": "Add.",
    "code": CODE,
    "test_imports": ["import math", "import cmath"],
    "test_list": ["assert 1"],
}


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz"])
@pytest.mark.parametrize("indent", [None, 2])
def test_lines_and_arrays_plain_and_compressed(tmp_path, name, indent):
    lines = write(tmp_path / "lines.jsonl", json.dumps(ROW))
    array = write(tmp_path / name, "\ufeff" + json.dumps([ROW], indent=indent))
    assert read_jsonl(array) == read_jsonl(lines) == load_tasks(str(array))
    assert load_tasks("mbpp/test", path=str(array)) == read_jsonl(lines)


def test_sanitized_rows(tmp_path):
    path = write(tmp_path / "sanitized-mbpp.json", json.dumps([SANITIZED]))
    (task,) = load_tasks("mbpp/test", path=str(path))
    assert task.text == "Add." and task.test_setup_code == "import math\nimport cmath"
    both = write(tmp_path / "both.json", json.dumps([ROW | {"prompt": "Other."}]))
    assert read_jsonl(both)[0].text == "Add."
    empty = write(tmp_path / "empty.json", json.dumps([SANITIZED | {"prompt": " "}]))
    with pytest.raises(UserError, match="empty.json: row 1: field 'prompt' is empty"):
        read_jsonl(empty)


def test_rows_of_another_split_are_not_looked_at(tmp_path):
    odd = ROW | {"task_id": 601, "code": 3}
    path = write(tmp_path / "rows.json", json.dumps([odd, ROW]))
    assert [task.task_id for task in load_tasks("mbpp/test", path=str(path))] == [11]
    with pytest.raises(UserError, match="row 1: field 'code' is int"):
        load_tasks("mbpp/train", path=str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no tasks; expected one JSON object a line, or one JSON array"),
        (
            '{"data": [1]}',
            "'task_id' is missing; expected task_id, text .or prompt",
        ),
        (
            "[3]",
            "row 1: expected a JSON object, found int; give one JSON object",
        ),
        (
            "task_id,text\n1,a",
            "rows.json:1: not valid JSON .*; expected one JSON",
        ),
        ('[{"task_id": 1},', "rows.json:1: not valid JSON"),
        ('{\n"task_id": 1\n}', "rows.json:1: not valid JSON"),
    ],
)
def test_any_other_shape_is_refused_with_what_is_expected(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_jsonl(write(tmp_path / "rows.json", content))
    with pytest.raises(UserError, match="cannot read .*gz"):
        read_jsonl(write(tmp_path / "rows", b"\x1f\x8bno gzip").rename(tmp_path / "gz"))

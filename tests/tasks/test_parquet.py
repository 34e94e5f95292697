"""Parquet files of MBPP's two shapes on the Hub."""

import builtins
import json

import pytest

from repair.errors import UserError
from repair.tasks import load_tasks, read_jsonl

CODE = "def f(x):\r\n\treturn x"
FULL = {
    **{"task_id": 601, "text": "Same.", "code": CODE, "test_list": ["assert f(1)"]},
    **{"test_setup_code": "", "challenge_test_list": []},
}
SANITIZED = {
    **{"source_file": "Notebook.ipynb", "task_id": 11, "prompt": "Same.", "code": CODE},
    **{"test_imports": ["import math"], "test_list": ["assert f(1) == 1"]},
}


@pytest.fixture
def write(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write_rows(*rows):
        path = tmp_path / "rows.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return path

    return write_rows


@pytest.mark.parametrize("row", [FULL, SANITIZED], ids=["full", "sanitized"])
def test_rows_are_those_of_json_lines(write, tmp_path, row):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    expected = read_jsonl(tmp_path / "rows.jsonl")
    path = str(write(row))
    assert load_tasks(path) == expected
    split = "mbpp/train" if row is FULL else "mbpp/test"
    assert load_tasks(split, path=path) == expected


def test_a_null_is_no_field_and_errors_name_the_row(write):
    broken = FULL | {"task_id": 602, "faulty_code": "def f(x): return 0"}
    first, second = read_jsonl(write(FULL | {"faulty_code": None}, broken))
    assert first.faulty_code is None and second.faulty_code == "def f(x): return 0"
    with pytest.raises(UserError, match="rows.parquet: row 2: field 'text' is missing"):
        read_jsonl(write(FULL, {**broken, "text": None}))


def test_a_torn_file_is_refused(write, tmp_path):
    path = write(FULL)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="cannot read .*rows.parquet as parquet: .*"):
        read_jsonl(path)


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name, *args):
        if name.startswith("pyarrow"):
            raise ImportError("No module named 'pyarrow'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install -e '\.\[parquet\]'"):
        read_jsonl(tmp_path / "rows.parquet")

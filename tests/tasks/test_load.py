"""Reading tasks: MBPP's quirks are cleaned, every fault is told with its place."""

import json
import subprocess
import sys

import pytest

from repair.errors import UserError
from repair.tasks import Task, load_pair, load_tasks, read_jsonl
from repair.tasks.mbpp import read_split, split_of

ROW = {
    "task_id": 601,
    "text": "Add one.",
    "code": "def f(x): \r\n\ty = x\t \r\n\r\n\treturn y + 1 \r\n \r\n",
    "test_list": ["assert f(1) == 2", "assert f(2) == 3"],
    "test_setup_code": "",
    "challenge_test_list": [],
}


def _write(tmp_path, *rows):
    path = tmp_path / "tasks.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_quirks_are_cleaned(tmp_path):
    full = {
        **ROW,
        "task_id": "b",
        "text": "A\u2028line",
        "test_setup_code": "import math\r\n",
        "hidden_test_list": ["assert f(3) == 4"],
        "faulty_code": "def f(x):\r\n  return x ",
        "test_list": ["assert f(1) == 2\r\n"],
    }
    path = _write(tmp_path, "\ufeff" + json.dumps(ROW), "", full)
    code = "def f(x):\n\ty = x\n\n\treturn y + 1"
    assert read_jsonl(path) == [
        Task(601, "Add one.", code, ("assert f(1) == 2", "assert f(2) == 3")),
        Task(
            "b",
            "A\u2028line",
            code,
            ("assert f(1) == 2",),
            "import math",
            ("assert f(3) == 4",),
            "def f(x):\n  return x",
        ),
    ]
    assert [task.task_id for task in load_tasks(str(path), count=1)] == [601]


@pytest.mark.parametrize(
    "row, message",
    [
        ("{", ":2: not valid JSON"),
        ("[" * 100_000, ":2: not valid JSON"),
        ("[1]", ":2: expected a JSON object, found list"),
        ({"task_id": True}, ":2: field 'task_id' is bool"),
        ({"task_id": None}, ":2: field 'task_id' is null"),
        ({"task_id": 601}, ":2: field 'task_id' is 601 for a second time"),
        ({"text": 3}, ":2: field 'text' is int, expected a string"),
        ({"text": " "}, ":2: field 'text' is empty"),
        ({"code": "\r\n \t"}, ":2: field 'code' is empty"),
        ({"code": "x = '\ud800'"}, ":2: field 'code' holds a lone surrogate"),
        ({"test_list": []}, ":2: field 'test_list' is empty"),
        ({"test_list": "assert f"}, ":2: field 'test_list' is str, expected a list"),
        ({"test_list": ["a", 1]}, r":2: field 'test_list\[\]' is int"),
        ({"test_setup_code": None}, ":2: field 'test_setup_code' is null"),
        ({"faulty_code": 1}, ":2: field 'faulty_code' is int"),
        ({"hidden_test_list": {}}, ":2: field 'hidden_test_list' is dict"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    if isinstance(row, dict):
        row = {**ROW, "task_id": 602, **row}
    with pytest.raises(UserError, match="tasks.jsonl" + message):
        read_jsonl(_write(tmp_path, ROW, row))


@pytest.mark.parametrize("field", ["task_id", "text", "code", "test_list"])
def test_a_missing_field_is_named(tmp_path, field):
    row = {name: value for name, value in ROW.items() if name != field}
    with pytest.raises(UserError, match=f":1: field '{field}' is missing"):
        read_jsonl(_write(tmp_path, row))


def test_files_that_hold_no_tasks_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no tasks"):
        read_jsonl(_write(tmp_path, "", " "))
    with pytest.raises(UserError, match="cannot read .*none.jsonl"):
        read_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no file that ends in .parquet"):
        read_jsonl(tmp_path / "empty")
    (tmp_path / "latin.jsonl").write_bytes(b'\n{"text": "\xe9"}')
    with pytest.raises(UserError, match="latin.jsonl:2: not valid JSON"):
        read_jsonl(tmp_path / "latin.jsonl")


def test_mbpp_splits_by_task_id(tmp_path):
    edges = {1: "prompt", 10: "prompt", 11: "test", 510: "test", 511: "validation"}
    edges |= {600: "validation", 601: "train", 974: "train", 975: None, 0: None}
    assert {task_id: split_of(task_id) for task_id in edges} == edges
    path = str(_write(tmp_path, *({**ROW, "task_id": n} for n in (10, 599, 600, 601))))
    tasks = load_tasks("mbpp/validation", path=path)
    assert [task.task_id for task in tasks] == [599, 600]
    assert load_tasks("mbpp/validation", path=path, count=1) == tasks[:1]
    with pytest.raises(UserError, match="holds no row of MBPP's test split"):
        read_split(path, "test")
    with pytest.raises(UserError, match="MBPP has no split 'dev'"):
        load_tasks("mbpp/dev", path=path)
    with pytest.raises(UserError, match="--config.tasks.path"):
        load_tasks("mbpp/train")


def test_unknown_specs_are_refused():
    with pytest.raises(UserError, match="unknown tasks 'tests.txt'"):
        load_tasks("tests.txt")


def test_tasks_import_no_jax():
    program = (
        "import sys, repair.tasks, repair.tasks.corrupt; print('jax' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"


def test_published_sets_need_a_path():
    for spec in ("quixbugs", "humanevalfix", "mbppplus/test"):
        with pytest.raises(UserError, match=f"{spec} needs .*--path"):
            load_tasks(spec)
    with pytest.raises(UserError, match="quixbugs has no splits"):
        load_tasks("quixbugs/test", path="x")
    with pytest.raises(UserError, match="quixbugs, humanevalfix, mbppplus"):
        load_tasks("quicksbugs")


def _write_rows(path, ids):
    rows = [
        {
            "task_id": i,
            "text": "Add.",
            "code": f"def f(x):\n    return x + {i}",
            "test_list": [f"assert f(1) == {i + 1}"],
        }
        for i in ids
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_pair_takes_the_held_out_split_of_the_file(tmp_path):
    path = _write_rows(tmp_path / "rows.jsonl", [601, 602, 511, 512, 513])
    train, held = load_pair("mbpp/train", "mbpp/validation", path=path, held_count=2)
    assert [t.task_id for t in train] == [601, 602]
    assert [t.task_id for t in held] == [511, 512]


def test_pair_holds_out_a_tenth_of_a_file_without_held_out_rows(tmp_path):
    path = _write_rows(tmp_path / "rows.jsonl", range(601, 621))
    for names in (("mbpp/train", "mbpp/validation"), ("generated/train", "x")):
        train, held = load_pair(*names, path=path, train_count=5)
        assert [t.task_id for t in held] == [610, 620]
        assert [t.task_id for t in train] == [601, 602, 603, 604, 605]


def test_pair_holds_out_programs_with_all_of_their_bugs(tmp_path):
    _write_rows(tmp_path / "rows.jsonl", range(20))
    text = (tmp_path / "rows.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    many = [
        row | {"task_id": f"{row['task_id']}/{n}"} for row in rows for n in range(3)
    ]
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in many))
    train, held = load_pair("generated/train", "x", path=str(path))
    assert [t.task_id for t in held] == [f"{i}/{n}" for i in (9, 19) for n in range(3)]
    assert len(train) == 54


def test_pair_shares_no_program(tmp_path):
    train = _write_rows(tmp_path / "train.jsonl", [1, 2, 3])
    held = _write_rows(tmp_path / "held.jsonl", [3, 4])
    left, others = load_pair("generated/train", "x", path=train, held_path=held)
    assert [t.task_id for t in left] == [1, 2]
    assert [t.task_id for t in others] == [3, 4]
    with pytest.raises(UserError, match="leave 0 tasks"):
        load_pair("generated/train", "x", path=train, held_path=train)

"""MBPP+ becomes tasks whose expected values its references gave in the sandbox."""

import gzip
import json

import published_rows
import pytest

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import load_pair, load_tasks


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as sandbox:
        yield sandbox


def _plus(tmp_path, *rows, split="test", **settings):
    path = published_rows.write_rows(tmp_path / "plus.jsonl", *rows)
    return load_tasks(f"mbppplus/{split}", path=str(path), **settings)


def _of(solution, base, plus=(), **fields):
    """Return a row whose function is f."""
    return published_rows.mbppplus_row(
        entry_point="f",
        canonical_solution=solution,
        base_input=base,
        plus_input=list(plus),
        **fields,
    )


def test_mbppplus(tmp_path):
    loaded = _plus(tmp_path, published_rows.mbppplus_row())
    (task,) = loaded
    assert task.task_id == "Mbpp/11" and task.text == "Keep what both have."
    assert task.code.startswith("def both(a, b):\n  return")
    assert task.faulty_code is None and task.test_setup_code == ""
    assert task.test_list == (
        "assert both([3, 1], [1, 4]) == (1,)",
        "assert both([2], [2]) == (2,)",
    )
    assert task.hidden_test_list == (
        "assert both([], []) == ()",
        "assert both([5, 1, 5], [5]) == (5, 5)",
    )
    assert loaded.line() == "1 of 1 programs"
    old = {**published_rows.mbppplus_row(), "task_id": 11, "prompt": "'''\nKeep.\n'''"}
    del old["assertion"]
    (task,) = _plus(tmp_path, old)
    assert (task.task_id, task.text) == ("Mbpp/11", "Keep.")
    assert task.test_list[0] == "assert both([3, 1], [1, 4]) == (1,)"


@pytest.mark.parametrize(
    ("row", "tests"),
    [
        (
            _of("def f(x): return x / 3", [[1]], [[0]]),
            [f"assert abs(f(1) - {1 / 3}) <= 1e-06", "assert abs(f(0) - 0.0) <= 1e-06"],
        ),
        (
            _of("def f(x): return [x / 2]", [[1e9]], atol=0.01),
            ["result = f(1000000000.0); assert isinstance(result, list) and"
             " len(result) == 1 and abs(result[0] - 500000000.0) <= 50.0"],
        ),
        (
            _of("def f(x): return (x, [x / 2])", [[1]], atol=0.5),
            ["result = f(1); assert isinstance(result, tuple) and len(result) == 2 and"
             " result[0] == 1 and len(result[1]) == 1 and abs(result[1][0] - 0.5) <="
             " 0.5"],
        ),
        # Floats further inside are compared exactly, unless the row has a tolerance.
        (
            _of("def f(x): return [x, 0.1]", [[1]]),
            ["assert f(1) == [1, 0.1]"],
        ),
        (
            _of("import re\ndef f(x): return re.match('a', x)", [["a"], ["b"]],
                task_id="Mbpp/737"),
            ["assert repr(f('a')) not in ('None', 'False')",
             "assert repr(f('b')) in ('None', 'False')"],
        ),
        (
            _of("def f(x, y): return tuple(x + y)", [[[2, 1], [2]]], task_id=769),
            ["assert set(f([2, 1], [2])) == {1, 2}"],
        ),
        (
            _of("def f(x, y): return x - y", [["1", "1j"]], [["0", "(-0-1j)"]],
                task_id="Mbpp/124"),
            ["assert f(1.0, 1j) == (1-1j)", "assert f(0.0, (-0-1j)) == 1j"],
        ),
        (
            _of("def f(x): return x", [[[1, [2, [3]]]]], task_id="Mbpp/580"),
            ["assert f((1, (2, (3,)))) == (1, (2, (3,)))"],
        ),
        (
            _of("def f(x): return x", [[[1, [2, [3]]]]], task_id="Mbpp/278"),
            ["assert f((1, (2, [3]))) == (1, (2, [3]))"],
        ),
        (
            _of("def f(x, y): return type(x[0]).__name__ + type(y).__name__",
                [[[[1], [2]], [3]]], task_id="Mbpp/413"),
            ["assert f([(1,), (2,)], [3]) == 'tuplelist'"],
        ),
        (
            _of("def f(x): return x", [[[[1, 2], []]]], task_id="Mbpp/115"),
            ["assert f([{1, 2}, {}]) == [{1, 2}, {}]"],
        ),
        (
            _of("def f(x, y): return x", [[{"a": [1]}, 2]], task_id="Mbpp/722"),
            ["assert f({'a': (1,)}, 2) == {'a': (1,)}"],
        ),
        # A base of 2 and height 3: the side's height is sqrt(10), so 4 + 4 * 3.16.
        (
            _of("def f(x, y): return 2 * x * y + x**2", [[2, 3]], task_id="Mbpp/581"),
            ["assert f(2, 3) in (16, 17)"],
        ),
        # By digits in place 12 and 03 differ by 1 and 1, read from the left 12 and 3.
        (
            _of("def f(x, y): return abs(x // 10 - y)", [[12, 3]], task_id="Mbpp/558"),
            ["assert f(12, 3) == 2"],
        ),
        (
            _of("import collections\ndef f(x): return collections.Counter(x)",
                [[["b", "a", "b"]]]),
            ["assert f(['b', 'a', 'b']) == {'b': 2, 'a': 1}"],
        ),
        (
            _of("def f(x): return {'b', 'a', x}", [["c"]]),
            ["assert f('c') == {'a', 'b', 'c'}"],
        ),
        (
            _of("def f(x): return x", [[float("inf")]], [[float("nan")]]),
            ["assert f(1e999) == 1e999"],
        ),
        (
            _of("def f(x): return 1 / x", [[1]], [[0], [2]]),
            ["assert abs(f(1) - 1.0) <= 1.1e-06", "assert abs(f(2) - 0.5) <= 1e-06"],
        ),
    ],
)  # fmt: skip
def test_expected_values_are_literals_in_the_right_form(tmp_path, row, tests, sandbox):
    loaded = _plus(tmp_path, row, split="all", training=True)
    (task,) = loaded
    assert [*task.test_list, *task.hidden_test_list] == tests
    lost = len(row["base_input"]) + len(row["plus_input"]) - len(tests)
    assert len(loaded.changed) == (lost > 0)
    result = sandbox.run(task.code, (*task.test_list, *task.hidden_test_list))
    assert result.passed and result.trust == "value", result


def test_mbppplus_leaves_out_what_models_are_trained_on(tmp_path):
    rows = [published_rows.mbppplus_row(n) for n in (10, 11, 511, 601, 974, 975)]
    every = _plus(tmp_path, *rows, split="all")
    names = ["Mbpp/10", "Mbpp/11", "Mbpp/511", "Mbpp/975"]
    assert [task.task_id for task in every] == names
    assert every.line() == (
        "4 of 6 programs; left out: Mbpp/601, Mbpp/974 (MBPP's training split)"
    )
    assert [t.task_id for t in _plus(tmp_path, *rows, split="all", count=2)] == (
        names[:2]
    )
    with pytest.raises(UserError, match="no evaluation; use mbppplus/test"):
        _plus(tmp_path, *rows, split="train")
    train = _plus(tmp_path, *rows, split="train", training=True)
    assert [task.task_id for task in train] == ["Mbpp/601", "Mbpp/974"]
    with pytest.raises(UserError, match="MBPP\\+ has no split ''; choose one of"):
        _plus(tmp_path, *rows, split="")
    with pytest.raises(UserError, match="holds no row of MBPP's prompt split"):
        _plus(tmp_path, *rows[1:], split="prompt")


def test_mbppplus_may_be_trained_on_and_held_out_in_one_run(tmp_path):
    rows = (
        published_rows.mbppplus_row(11),
        _of("def f(x): return x", [[1]], task_id=601),
    )
    path = str(published_rows.write_rows(tmp_path / "plus.jsonl", *rows))
    train, held = load_pair("mbppplus/train", "mbppplus/test", path=path)
    assert [task.task_id for task in train + held] == ["Mbpp/601", "Mbpp/11"]
    with pytest.raises(UserError, match="no evaluation"):
        load_pair("mbppplus/test", "mbppplus/train", path=path)


def test_an_empty_object_holds_no_inputs(tmp_path):
    row = published_rows.mbppplus_row(793, plus_input={})
    (task,) = _plus(tmp_path, row, split="all", training=True)
    assert len(task.test_list) == 2 and task.hidden_test_list == ()


def test_a_reference_without_values_gives_no_task(tmp_path):
    row = _of("def f(x): return f", [[1]], [[2]])
    loaded = _plus(tmp_path, row, published_rows.mbppplus_row(12))
    assert loaded.left_out == (("Mbpp/11", "its reference gives no plain value"),)
    assert len(loaded) == 1


def test_a_right_answer_in_another_order_passes(tmp_path, sandbox):
    row = _of("def f(x, y): return x + y", [[[3, 1], [2]]], task_id="Mbpp/769")
    (task,) = _plus(tmp_path, row, split="all", training=True)
    other = "def f(x, y): return tuple(sorted(x + y)) * 2"
    assert sandbox.run(other, task.test_list).passed
    assert not sandbox.run("def f(x, y): return x", task.test_list).passed


@pytest.mark.parametrize(
    ("body", "found", "missing"),
    [("x", True, False), ("0", True, False), ("None", False, True),
     ("False", False, True), ("True", True, False)],
)  # fmt: skip
def test_none_and_false_alone_mean_no(tmp_path, sandbox, body, found, missing):
    row = _of("import re\ndef f(x): return re.match('a', x)", [["a"]], [["b"]],
              task_id="Mbpp/787")  # fmt: skip
    (task,) = _plus(tmp_path, row, split="all", training=True)
    code = f"def f(x): return {body}"
    assert sandbox.run(code, task.test_list).passed is found
    assert sandbox.run(code, task.hidden_test_list).passed is missing


def test_a_compressed_file_and_an_array_are_read(tmp_path):
    rows = [published_rows.mbppplus_row(n) for n in (11, 12)]
    plain = _plus(tmp_path, *rows)
    lines = (tmp_path / "plus.jsonl").read_bytes()
    (tmp_path / "plus.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "plus.json").write_text(json.dumps(rows, indent=2))
    for name in ("plus.jsonl.gz", "plus.json"):
        assert load_tasks("mbppplus/test", path=str(tmp_path / name)) == plain
    (tmp_path / "plus.jsonl.gz").write_bytes(gzip.compress(lines)[:-20])
    with pytest.raises(UserError, match=r"cannot read .*plus.jsonl.gz: Compressed"):
        load_tasks("mbppplus/test", path=str(tmp_path / "plus.jsonl.gz"))


def test_rows_of_another_split_are_not_looked_at(tmp_path):
    odd = {"task_id": "Mbpp/601", "canonical_solution": 3}
    loaded = _plus(tmp_path, odd, published_rows.mbppplus_row(12))
    assert loaded.line() == "1 of 1 programs"


def test_another_set_is_refused(tmp_path):
    row = published_rows.mbppplus_row(12) | {"task_id": "HumanEval/2"}
    with pytest.raises(UserError, match="'task_id' is 'HumanEval/2', expected Mbpp/N"):
        _plus(tmp_path, published_rows.mbppplus_row(), row)
    with pytest.raises(
        UserError, match="'entry_point' is missing; expected EvalPlus's"
    ):
        _plus(tmp_path, {"task_id": 12, "text": "x"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"canonical_solution": "x = 1"}, "'canonical_solution' defines no function"),
        ({"base_input": 2}, "'base_input' is int, expected a list"),
        ({"plus_input": [1]}, "'plus_input' holds '1', expected lists"),
        ({"prompt": '"""\n"""'}, "'prompt' is empty"),
        ({"atol": "0"}, "'atol' is '0', expected a number"),
        ({"atol": -1}, "'atol' is -1, expected a number"),
        ({"entry_point": None}, "'entry_point' is null"),
    ],
)
def test_an_odd_mbppplus_row_is_left_out_by_name(tmp_path, fields, message):
    row = published_rows.mbppplus_row(12) | fields
    loaded = _plus(tmp_path, published_rows.mbppplus_row(), row)
    assert [task.task_id for task in loaded] == ["Mbpp/11"] and loaded.found == 2
    ((name, reason),) = loaded.left_out
    assert name == "Mbpp/12" and f"plus.jsonl:2: field {message}" in reason
    with pytest.raises(UserError, match=f"plus.jsonl:1: field {message}"):
        _plus(tmp_path, row)

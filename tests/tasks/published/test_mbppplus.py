"""MBPP+ becomes tasks whose expected values its references gave in the sandbox."""

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


def _of(solution, base, plus=(), assertion="", **fields):
    """Return a row whose function is f."""
    return published_rows.mbppplus_row(
        entry_point="f",
        canonical_solution=solution,
        base_input=base,
        plus_input=list(plus),
        assertion=assertion,
        **fields,
    )


def test_mbppplus(tmp_path):
    loaded = _plus(tmp_path, published_rows.mbppplus_row())
    (task,) = loaded
    assert task.task_id == "Mbpp/11" and task.text == "Keep what both have."
    assert task.code.startswith("def both(a, b):\n  return")
    assert task.faulty_code is None and task.test_setup_code == ""
    # Tuples, and the comparison as sets, come from the row's own asserts.
    assert task.test_list == (
        "assert set(both((3, 1), (1, 4))) == {1}",
        "assert set(both((2,), (2,))) == {2}",
    )
    assert task.hidden_test_list == (
        "assert set(both((), ())) == set()",
        "assert set(both((5, 1, 5), (5,))) == {5}",
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
            _of("def f(x): return x / 3", [[1]], assertion="assert f(1)", atol=0.01),
            ["assert int(bool(f(1))) == 1"],
        ),
        (
            _of("def f(x): return [x / 2]", [[1e9]], atol=0.01),
            ["result = f(1000000000.0); assert len(result) == 1"
             " and abs(result[0] - 500000000.0) <= 50.0"],
        ),
        (
            _of("def f(x): return (x, [x / 2])", [[1]], atol=0.5),
            ["result = f(1); assert len(result) == 2 and result[0] == 1"
             " and len(result[1]) == 1 and abs(result[1][0] - 0.5) <= 0.5"],
        ),
        (
            _of("import re\ndef f(x): return re.match('a', x)", [["a"], ["b"]],
                assertion="assert f('a')\nassert not f('b')"),
            ["assert int(bool(f('a'))) == 1", "assert int(bool(f('b'))) == 0"],
        ),
        (
            _of("def f(x): return x * 0.5", [[1]],
                assertion="assert math.isclose(f(1), 0.5, rel_tol=0.1)"),
            ["assert abs(f(1) - 0.5) <= 1e-06"],
        ),
        (
            _of("def f(x): return type(x[0]).__name__", [[[[1], 2]]], [[[5, [1], []]]],
                assertion="assert f([(1,), 2]) == 'tuple'"),
            ["assert f([(1,), 2]) == 'tuple'", "assert f([5, (1,), ()]) == 'int'"],
        ),
        (
            _of("def f(x): return x", [[{"a": [1]}, ]], [[{"b": [2, 3]}]],
                assertion="assert f({'a': (1,)}) == {'a': (1,)}"),
            ["assert f({'a': (1,)}) == {'a': (1,)}",
             "assert f({'b': (2, 3)}) == {'b': (2, 3)}"],
        ),
        (
            _of("def f(x): return x", [[{"1": [2]}]], [[{"one": 2}]],
                assertion="assert f({1: [2]}) == {1: [2]}"),
            ["assert f({1: [2]}) == {1: [2]}", "assert f({'one': 2}) == {'one': 2}"],
        ),
        (
            _of("def f(x): return x.real", [["1j"]], [["x"]],
                assertion="assert f(1j) == 0"),
            ["assert abs(f(1j) - 0.0) <= 1e-06"],
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
    loaded = _plus(tmp_path, row)
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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_id": "HumanEval/2"}, "'task_id' is 'HumanEval/2', expected Mbpp/N"),
        ({"canonical_solution": "x = 1"}, "'canonical_solution' defines no function"),
        ({"base_input": {}}, "'base_input' is dict, expected a list"),
        ({"plus_input": [1]}, "'plus_input' holds '1', expected lists"),
        ({"prompt": '"""\n"""'}, "'prompt' is empty"),
        ({"atol": "0"}, "'atol' is '0', expected a number"),
        ({"atol": -1}, "'atol' is -1, expected a number"),
        ({"assertion": "assert ("}, "'assertion' is no Python"),
        ({"entry_point": None}, "'entry_point' is null"),
    ],
)
def test_a_wrong_mbppplus_row_is_named(tmp_path, fields, message):
    row = published_rows.mbppplus_row(12) | fields
    with pytest.raises(UserError, match=f"plus.jsonl:2: field {message}"):
        _plus(tmp_path, published_rows.mbppplus_row(), row)

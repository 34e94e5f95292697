"""Published formats become tasks whose tests their references pass, or are refused."""

import dataclasses
import json

import published
import pytest

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.sandbox.values import evaluate
from repair.tasks import load_pair, load_tasks
from repair.tasks.evalsets import check, load_checked
from repair.tasks.load import load


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture
def clone(tmp_path):
    return published.write_quixbugs(tmp_path)


def test_quixbugs(clone):
    loaded = load("quixbugs", path=str(clone))
    assert [task.task_id for task in loaded.tasks] == list(published.QUIXBUGS)
    assert loaded.found == 6 and loaded.left_out == (("walk", "no JSON test cases"),)
    line = "5 of 6 programs; left out: walk (no JSON test cases)"
    assert loaded.line() == line
    tasks = {task.task_id: task for task in loaded.tasks}
    add_up = tasks["add_up"]
    assert add_up.code == "# Python 3\ndef add_up(xs):\n    return sum(xs)"
    assert add_up.faulty_code == "def add_up(xs):\n    return sum(xs[1:])"
    assert add_up.text == published.QUIXBUGS["add_up"][2]
    assert add_up.test_list == (
        "assert add_up([0]) == 0",
        "assert add_up([0, 1]) == 1",
        "assert add_up([0, 2]) == 2",
    )
    assert len(add_up.hidden_test_list) == 2
    assert tasks["climb"].test_list == (
        "assert list(climb(2)) == [2, 1, 0]",
        "assert list(climb(0)) == [0]",
    )
    assert tasks["half"].test_list[1] == (
        "result = half(0.3); assert len(result) == 2"
        " and abs(result[0] - 0.15) <= 1e-06 and result[1] == '0.3'"
    )
    assert tasks["moves"].test_list == (
        "assert moves(0) in ([], ())",
        "assert moves(2) in ([[0, 2], [1, 2]], [(0, 2), (1, 2)])",
    )
    assert tasks["root"].test_list == (
        "assert abs(root(2, 0.01) - 1.4166666666666665) <= 0.01",
        "assert abs(root(4, 0.2) - 2.0) <= 0.2",
    )
    assert load_tasks("quixbugs", path=str(clone), count=2) == list(loaded.tasks[:2])


def _judge(sandbox, tasks):
    """Results of the references and of the faulty programs, on all tests."""
    jobs = [
        (code, (*task.test_list, *task.hidden_test_list), task.test_setup_code)
        for task in tasks
        for code in (task.code, task.faulty_code)
    ]
    results = sandbox.map(jobs)
    return results[::2], results[1::2]


def test_quixbugs_in_the_sandbox(clone, sandbox):
    loaded = load("quixbugs", path=str(clone))
    references, faulty = _judge(sandbox, loaded.tasks)
    for task, right, wrong in zip(loaded.tasks, references, faulty, strict=True):
        assert right.passed and right.trust == "value", (task, right)
        assert wrong.status in ("failed", "error"), (task, wrong)
    # The bug of add_up shows in its fifth case only.
    checked = load_checked("quixbugs", sandbox, path=str(clone))
    first = checked.tasks[0]
    assert first.test_list[3:] == ("assert add_up([3, 4]) == 7",)
    assert first.hidden_test_list == ("assert add_up([]) == 0",)
    assert checked.tasks[1:] == loaded.tasks[1:]
    assert checked.line() == (
        f"{loaded.line()}; changed: add_up (a hidden test shown, since its bug fails no"
        " shown one)"
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("json_testcases/half.json", "[[1], 2]\n{}\n", "half.json:2: found '{}'"),
        ("json_testcases/half.json", "[1]", "half.json:1: found '\\[1\\]', expected"),
        ("json_testcases/half.json", "[1,", "half.json:1: not valid JSON"),
        ("json_testcases/half.json", "[1, NaN]", "half.json:1: the expected value nan"),
        ("json_testcases/half.json", "\n", "half.json holds no cases"),
        ("correct_python_programs/half.py", "x = 1", "defines no function 'half'"),
        ("correct_python_programs/half.py", "x =", "cannot read the program .*half.py"),
    ],
)
def test_a_wrong_clone_is_refused(clone, file, text, message):
    (clone / file).write_text(text)
    with pytest.raises(UserError, match=message):
        load("quixbugs", path=str(clone))


def test_a_missing_reference_or_text_or_folder(clone):
    (clone / "python_programs/half.py").write_text("def half(x): return x\n")
    loaded = load("quixbugs", path=str(clone))
    reason = "no string at its end that says what it should do"
    assert loaded.left_out[0] == ("half", reason)
    (clone / "correct_python_programs/climb.py").unlink()
    with pytest.raises(UserError, match=r"cannot read the program .*climb.py"):
        load("quixbugs", path=str(clone))
    with pytest.raises(UserError, match="has no python_programs"):
        load("quixbugs", path=str(clone / "json_testcases"))


LOOP = """import math

def check(top):
    from random import randint
    for _ in range(3):
        n = randint(0, 3)
        assert top([n]) == n
"""


def test_humanevalfix(tmp_path, sandbox):
    rows = [
        published.humaneval_row(0),
        published.humaneval_row(1, example_test="", test_setup="import re\n"),
        published.humaneval_row(2, test=LOOP, **{"import": "import json"}),
        published.humaneval_row(3, test=LOOP, example_test=""),
        published.humaneval_row(
            4,
            test="import math\ndef check(c):\n    assert c([math.pi, top([1])]) > 3",
            example_test="def check(c):\n    assert [c for c in [c([1])]] == [1]",
        ),
    ]
    path = published.write_rows(tmp_path / "pack.jsonl", *rows)
    loaded = load("humanevalfix", path=str(path))
    assert loaded.found == 5
    assert loaded.left_out == (("Python/3", "no tests to show"),)
    assert loaded.changed == (
        ("Python/1", "no example tests; its first 3 tests shown"),
        ("Python/2", "test kept whole as one test"),
        ("Python/4", "example_test kept whole as one test"),
    )
    first, second, third, fifth = loaded.tasks
    head = "from typing import List\n\n\ndef top(xs: List[int]) -> int:\n"
    assert first.code == head + "    return max(xs)"
    assert first.faulty_code == head + "    return xs[0]"
    assert first.text == "Write a Python function `top` to solve:\nThe largest."
    assert first.test_list == ("assert top([1, 2]) == 2",)
    assert first.hidden_test_list == ("assert top([1, 3]) == 3",)
    assert second.test_list == (*first.test_list, *first.hidden_test_list)
    assert second.hidden_test_list == () and second.test_setup_code == "import re"
    (whole,) = third.hidden_test_list
    assert whole.startswith("import math\n\ndef") and whole.endswith("\n\ncheck(top)")
    assert third.test_setup_code == "import json"
    assert fifth.test_setup_code == "import math"
    assert fifth.hidden_test_list == ("assert top([math.pi, top([1])]) > 3",)
    references, faulty = _judge(sandbox, loaded.tasks)
    assert all(result.passed for result in references)
    assert references[0].trust == "value" and references[2].trust == "in_child"
    assert [result.passed for result in faulty] == [False, False, False, True]
    checked = check(loaded, sandbox)
    assert checked.tasks == loaded.tasks[:3]
    assert checked.left_out[1:] == (
        ("Python/4", "its faulty program passes every test"),
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_id": "Java/1"}, "'task_id' is 'Java/1', expected Python/N"),
        ({"task_id": "Python/0"}, "'task_id' is 'Python/0' for a second time"),
        ({"declaration": None}, "'declaration' is null, expected a string"),
        ({"declaration": "def low(x):\n"}, "'declaration' defines no function 'top'"),
        ({"buggy_solution": 1}, "'buggy_solution' is int, expected a string"),
        ({"test": "def check("}, "'test' is no Python"),
        ({"test": "assert top([1]) == 1"}, "'test' defines no function check"),
        ({"test": "def check(): pass"}, "'test' defines no function check of one"),
        ({"instruction": " "}, "'instruction' is empty"),
    ],
)
def test_a_wrong_humanevalfix_row_is_named(tmp_path, fields, message):
    rows = published.humaneval_row(0), published.humaneval_row(1, **fields)
    path = published.write_rows(tmp_path / "pack.jsonl", *rows)
    with pytest.raises(UserError, match=f"pack.jsonl:2: field {message}"):
        load("humanevalfix", path=str(path))


@pytest.mark.parametrize("field", ["entry_point", "test", "canonical_solution"])
def test_a_missing_humanevalfix_field_is_named(tmp_path, field):
    row = published.humaneval_row()
    del row[field]
    path = published.write_rows(tmp_path / "pack.jsonl", row)
    with pytest.raises(UserError, match=f":1: field '{field}' is missing"):
        load("humanevalfix", path=str(path))


def _plus(tmp_path, *rows, split="test", **settings):
    path = published.write_rows(tmp_path / "plus.jsonl", *rows)
    settings = {"evaluate": published.evaluate} | settings
    return load(f"mbppplus/{split}", path=str(path), **settings)


def _of(solution, base, plus=(), assertion="", **fields):
    """A row whose function is f."""
    return published.mbppplus_row(
        entry_point="f",
        canonical_solution=solution,
        base_input=base,
        plus_input=list(plus),
        assertion=assertion,
        **fields,
    )


def test_mbppplus(tmp_path):
    loaded = _plus(tmp_path, published.mbppplus_row())
    (task,) = loaded.tasks
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
    old = {**published.mbppplus_row(), "task_id": 11, "prompt": "'''\nKeep.\n'''"}
    del old["assertion"]
    (task,) = _plus(tmp_path, old).tasks
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
    (task,) = loaded.tasks
    assert [*task.test_list, *task.hidden_test_list] == tests
    lost = len(row["base_input"]) + len(row["plus_input"]) - len(tests)
    assert len(loaded.changed) == (lost > 0)
    # The sandbox finds the same values, and keeps them to itself.
    real = _plus(tmp_path, row, evaluate=evaluate)
    assert dataclasses.replace(real, left_out=()) == loaded
    result = sandbox.run(task.code, (*task.test_list, *task.hidden_test_list))
    assert result.passed and result.trust == "value", result


def test_mbppplus_leaves_out_what_models_are_trained_on(tmp_path):
    rows = [published.mbppplus_row(n) for n in (10, 11, 511, 601, 974, 975)]
    every = _plus(tmp_path, *rows, split="all")
    names = ["Mbpp/10", "Mbpp/11", "Mbpp/511", "Mbpp/975"]
    assert [task.task_id for task in every.tasks] == names
    assert every.line() == (
        "4 of 6 programs; left out: Mbpp/601, Mbpp/974 (MBPP's training split)"
    )
    assert [t.task_id for t in _plus(tmp_path, *rows, split="all", count=2).tasks] == (
        names[:2]
    )
    with pytest.raises(UserError, match="no evaluation; use mbppplus/test"):
        _plus(tmp_path, *rows, split="train")
    train = _plus(tmp_path, *rows, split="train", training=True)
    assert [task.task_id for task in train.tasks] == ["Mbpp/601", "Mbpp/974"]
    with pytest.raises(UserError, match="MBPP\\+ has no split ''; choose one of"):
        _plus(tmp_path, *rows, split="")
    with pytest.raises(UserError, match="holds no row of MBPP's prompt split"):
        _plus(tmp_path, *rows[1:], split="prompt")
    with pytest.raises(UserError, match="python -m repair.evaluate"):
        _plus(tmp_path, *rows, evaluate=None)


def test_mbppplus_may_be_trained_on_and_held_out_in_one_run(tmp_path):
    rows = published.mbppplus_row(11), _of("def f(x): return x", [[1]], task_id=601)
    path = str(published.write_rows(tmp_path / "plus.jsonl", *rows))
    train, held = load_pair(
        "mbppplus/train", "mbppplus/test", path=path, evaluate=published.evaluate
    )
    assert [task.task_id for task in train + held] == ["Mbpp/601", "Mbpp/11"]
    with pytest.raises(UserError, match="no evaluation"):
        load_pair("mbppplus/test", "mbppplus/train", path=path, evaluate=evaluate)


def test_a_reference_without_values_gives_no_task(tmp_path):
    row = _of("def f(x): return f", [[1]], [[2]])
    loaded = _plus(tmp_path, row, published.mbppplus_row(12))
    assert loaded.left_out == (("Mbpp/11", "its reference gives no plain value"),)
    assert len(loaded.tasks) == 1


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
    row = published.mbppplus_row(12) | fields
    with pytest.raises(UserError, match=f"plus.jsonl:2: field {message}"):
        _plus(tmp_path, published.mbppplus_row(), row)


def test_published_sets_need_a_path():
    for spec in ("quixbugs", "humanevalfix", "mbppplus/test"):
        with pytest.raises(UserError, match=f"{spec} needs .*--path"):
            load(spec)
    with pytest.raises(UserError, match="quixbugs has no splits"):
        load("quixbugs/test", path="x")
    with pytest.raises(UserError, match="quixbugs, humanevalfix, mbppplus"):
        load("quicksbugs")


def test_a_published_set_is_held_out_from_its_own_path(tmp_path, clone):
    rows = [
        {"task_id": n, "text": "t", "code": f"x = {n}", "test_list": ["assert x"]}
        for n in (601, 602)
    ]
    path = published.write_rows(tmp_path / "mbpp.jsonl", *rows)
    train, held = load_pair(
        "mbpp/train", "quixbugs", path=str(path), held_path=str(clone), held_count=3
    )
    assert [len(train), len(held)] == [2, 3]
    assert json.loads(path.read_text().split("\n")[0])["task_id"] == train[0].task_id
    with pytest.raises(UserError, match="quixbugs needs the folder.*tasks.eval_path"):
        load_pair("mbpp/train", "quixbugs", path=str(path))

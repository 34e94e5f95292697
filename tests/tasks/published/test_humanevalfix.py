"""HumanEvalFix becomes tasks that their references pass, or is refused by row."""

import published_rows
import pytest

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import load_tasks
from repair.tasks.published.checks import check


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as sandbox:
        yield sandbox


LOOP = """import math

def check(top):
    from random import randint
    for _ in range(3):
        n = randint(0, 3)
        assert top([n]) == n
"""


def test_humanevalfix(tmp_path, sandbox):
    rows = [
        published_rows.humaneval_row(0),
        published_rows.humaneval_row(1, example_test="", test_setup="import re\n"),
        published_rows.humaneval_row(2, test=LOOP, **{"import": "import json"}),
        published_rows.humaneval_row(3, test=LOOP, example_test=""),
        published_rows.humaneval_row(
            4,
            test="import math\ndef check(c):\n    assert c([math.pi, top([1])]) > 3",
            example_test="def check(c):\n    assert [c for c in [c([1])]] == [1]",
        ),
    ]
    path = published_rows.write_rows(tmp_path / "pack.jsonl", *rows)
    loaded = load_tasks("humanevalfix", path=str(path))
    assert loaded.found == 5
    ((name, reason),) = loaded.left_out
    assert name == "Python/3"
    assert reason.endswith("'example_test' gives no test to show, nor does its test")
    assert loaded.changed == (
        ("Python/1", "no example tests; its first 3 tests shown"),
        ("Python/2", "test kept whole as one test"),
        ("Python/4", "example_test kept whole as one test"),
    )
    first, second, third, fifth = loaded
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
    references, faulty = published_rows.judge(sandbox, loaded)
    assert all(result.passed for result in references)
    assert references[0].trust == "value" and references[2].trust == "in_child"
    assert [result.passed for result in faulty] == [False, False, False, True]
    checked = check(loaded, sandbox)
    assert checked == loaded[:3]
    assert checked.left_out[1:] == (
        ("Python/4", "its faulty program passes every test"),
    )


# HumanEvalPack's row 119, in words of our own: an indented body that asserts nothing.
ODD_EXAMPLES = "def check(top):\n        print(1)\n    print(top([1]))\n\ncheck(top)\n"


@pytest.mark.parametrize(
    ("examples", "reason"),
    [
        (ODD_EXAMPLES, "example_test is no Python (unindent does not match"),
        ("    assert top([1]) == 1\n", "example_test is no Python (unexpected indent"),
        ("assert top([1]) == 1\n", "example_test defines no function check"),
        ("def check(top):\n    print(top([1]))\n", "example_test asserts nothing"),
        ("def check(top):\n    assert True\n", "example_test asserts nothing"),
    ],
)
def test_unusable_example_tests_count_as_none(tmp_path, examples, reason):
    asserts = "".join(f"    assert top([{n}]) == {n}\n" for n in range(5))
    odd = published_rows.humaneval_row(
        119, example_test=examples, test=f"def check(top):\n{asserts}"
    )
    rows = published_rows.humaneval_row(0), odd
    path = published_rows.write_rows(tmp_path / "pack.jsonl", *rows)
    loaded = load_tasks("humanevalfix", path=str(path))
    assert len(loaded) == loaded.found == 2 and loaded.left_out == ()
    assert loaded[1].test_list == tuple(f"assert top([{n}]) == {n}" for n in range(3))
    assert len(loaded[1].hidden_test_list) == 2
    ((name, told),) = loaded.changed
    assert name == "Python/119" and told.startswith(reason)
    assert told.endswith("first tests shown")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_id": "Java/1"}, "'task_id' is 'Java/1', expected Python/N"),
        ({"task_id": "Python/0"}, "'task_id' is 'Python/0' for a second time"),
    ],
)
def test_rows_of_another_set_are_refused(tmp_path, fields, message):
    rows = published_rows.humaneval_row(0), published_rows.humaneval_row(1, **fields)
    path = published_rows.write_rows(tmp_path / "pack.jsonl", *rows)
    with pytest.raises(UserError, match=f"pack.jsonl:2: field {message}"):
        load_tasks("humanevalfix", path=str(path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"declaration": None}, "'declaration' is null, expected a string"),
        ({"declaration": "def low(x):\n"}, "'declaration' defines no function 'top'"),
        ({"buggy_solution": 1}, "'buggy_solution' is int, expected a string"),
        ({"test": "def check("}, "'test' is no Python"),
        ({"test": "assert top([1]) == 1"}, "'test' defines no function check"),
        ({"test": "def check(): pass"}, "'test' defines no function check of one"),
        ({"test": "def check(top): pass"}, "'test' asserts nothing"),
        ({"instruction": " "}, "'instruction' is empty"),
    ],
)
def test_an_odd_humanevalfix_row_is_left_out_by_name(tmp_path, fields, message):
    good, odd = (published_rows.humaneval_row(n) for n in (0, 1))
    path = published_rows.write_rows(tmp_path / "pack.jsonl", good, odd | fields)
    loaded = load_tasks("humanevalfix", path=str(path))
    assert [task.task_id for task in loaded] == ["Python/0"] and loaded.found == 2
    ((name, reason),) = loaded.left_out
    assert name == "Python/1" and f"pack.jsonl:2: field {message}" in reason
    published_rows.write_rows(path, odd | fields)
    with pytest.raises(UserError, match=f"pack.jsonl:1: field {message}"):
        load_tasks("humanevalfix", path=str(path))


@pytest.mark.parametrize("field", ["entry_point", "test", "canonical_solution"])
def test_a_missing_humanevalfix_field_is_named(tmp_path, field):
    row = published_rows.humaneval_row()
    del row[field]
    path = published_rows.write_rows(tmp_path / "pack.jsonl", row)
    with pytest.raises(UserError, match=f":1: field '{field}' is missing"):
        load_tasks("humanevalfix", path=str(path))

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
    assert loaded.left_out == (("Python/3", "no tests to show"),)
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
    rows = published_rows.humaneval_row(0), published_rows.humaneval_row(1, **fields)
    path = published_rows.write_rows(tmp_path / "pack.jsonl", *rows)
    with pytest.raises(UserError, match=f"pack.jsonl:2: field {message}"):
        load_tasks("humanevalfix", path=str(path))


@pytest.mark.parametrize("field", ["entry_point", "test", "canonical_solution"])
def test_a_missing_humanevalfix_field_is_named(tmp_path, field):
    row = published_rows.humaneval_row()
    del row[field]
    path = published_rows.write_rows(tmp_path / "pack.jsonl", row)
    with pytest.raises(UserError, match=f":1: field '{field}' is missing"):
        load_tasks("humanevalfix", path=str(path))

"""QuixBugs becomes tasks that their references pass, or is refused with the place."""

import json
import re

import published_rows
import pytest

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import load_pair, load_tasks


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture
def clone(tmp_path):
    return published_rows.write_quixbugs(tmp_path)


def test_quixbugs(clone):
    loaded = load_tasks("quixbugs", path=str(clone))
    assert [task.task_id for task in loaded] == list(published_rows.QUIXBUGS)
    assert loaded.found == 6 and loaded.left_out == (("walk", "no test cases"),)
    line = "5 of 6 programs; left out: walk (no test cases)"
    assert loaded.line() == line
    tasks = {task.task_id: task for task in loaded}
    add_up = tasks["add_up"]
    assert add_up.code == "# Python 3\ndef add_up(xs):\n    return sum(xs)"
    assert add_up.faulty_code == "def add_up(xs):\n    return sum(xs[1:])"
    assert add_up.text == published_rows.QUIXBUGS["add_up"][2]
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
    assert load_tasks("quixbugs", path=str(clone), count=2) == list(loaded[:2])


def test_quixbugs_in_the_sandbox(clone, sandbox):
    loaded = load_tasks("quixbugs", path=str(clone))
    references, faulty = published_rows.judge(sandbox, loaded)
    for task, right, wrong in zip(loaded, references, faulty, strict=True):
        assert right.passed and right.trust == "value", (task, right)
        assert wrong.status in ("failed", "error"), (task, wrong)
    # The bug of add_up shows in its fifth case only.
    checked = load_tasks("quixbugs", path=str(clone), sandbox=sandbox)
    first = checked[0]
    assert first.test_list[3:] == ("assert add_up([3, 4]) == 7",)
    assert first.hidden_test_list == ("assert add_up([]) == 0",)
    assert checked[1:] == loaded[1:]
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
def test_an_odd_program_is_left_out_by_name(clone, file, text, message):
    (clone / file).write_text(text)
    loaded = load_tasks("quixbugs", path=str(clone))
    (name, reason), _ = loaded.left_out
    assert name == "half" and re.search(message, reason), reason
    assert [task.task_id for task in loaded] == ["add_up", "climb", "moves", "root"]


def test_a_missing_reference_or_text_or_folder(clone):
    (clone / "python_programs/half.py").write_text("def half(x): return x\n")
    (clone / "correct_python_programs/climb.py").unlink()
    loaded = load_tasks("quixbugs", path=str(clone))
    (one, file), (two, text), _ = loaded.left_out
    assert (one, two) == ("climb", "half")
    assert "cannot read the program" in file and "climb.py" in file
    assert text == "half.py has no string at its end that says what it should do"
    with pytest.raises(UserError, match="has no python_programs"):
        load_tasks("quixbugs", path=str(clone / "json_testcases"))
    for file in (clone / "correct_python_programs").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"cannot read the program .*add_up.py"):
        load_tasks("quixbugs", path=str(clone))


def test_programs_over_graphs(clone, sandbox):
    published_rows.write_graphs(clone)
    loaded = load_tasks("quixbugs", path=str(clone))
    assert loaded.line() == "9 of 10 programs; left out: walk (no test cases)"
    tasks = {task.task_id: task for task in loaded}
    cycle = tasks["detect_cycle"]
    # Each test has the part of the top that it needs, and no other.
    assert cycle.test_list == (
        "node1 = Node(1)\nnode2 = Node(2, node1)\nassert not detect_cycle(node2)",
        "node1 = Node(1)\nnode2 = Node(2, node1)\nnode1.successor = node2\n"
        "assert detect_cycle(node2)",
        "node1 = Node(1)\nassert not detect_cycle(node1)",
    )
    assert cycle.hidden_test_list == ("node = Node(0)\nassert not detect_cycle(node)",)
    assert cycle.test_setup_code == published_rows.NODE.strip()
    assert tasks["shortest_paths"].test_setup_code == ""
    assert cycle.text == "Work on a graph."
    graphs = [tasks[name] for name in published_rows.GRAPHS]
    references, faulty = published_rows.judge(sandbox, graphs)
    assert all(result.passed for result in references), references
    assert not any(result.passed for result in faulty), faulty
    trust = {t.task_id: r.trust for t, r in zip(graphs, references, strict=True)}
    whole = trust.pop("reverse_linked_list")  # a loop over the program's own nodes
    assert whole == "in_child" and set(trust.values()) == {"value"}
    checked = load_tasks("quixbugs", path=str(clone), sandbox=sandbox)
    assert len(checked) == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def test1(:", "cannot read the tests .*test_detect_cycle.py"),
        ("x = 1", "holds no function test"),
        ("def test1(n):\n    assert n", ":1: test1 has a decorator or arguments"),
        ("@mark\ndef test1():\n    assert 1", "test1 has a decorator or arguments"),
    ],
)
def test_odd_tests_of_a_graph(clone, text, message):
    published_rows.write_graphs(clone)
    (clone / "python_testcases/test_detect_cycle.py").write_text(text)
    loaded = load_tasks("quixbugs", path=str(clone))
    (name, reason), _ = loaded.left_out
    assert name == "detect_cycle" and re.search(message, reason), reason


def test_node_may_stand_beside_the_programs_or_be_missing(clone):
    published_rows.write_graphs(clone)
    (clone / "python_testcases/node.py").unlink()
    assert len(load_tasks("quixbugs", path=str(clone))) == 9
    for part in ("python_programs", "correct_python_programs"):
        (clone / part / "node.py").unlink()
    loaded = load_tasks("quixbugs", path=str(clone))
    assert len(loaded) == 6
    assert "node.py" in dict(loaded.left_out)["detect_cycle"]


def test_a_published_set_is_held_out_from_its_own_path(tmp_path, clone):
    rows = [
        {"task_id": n, "text": "t", "code": f"x = {n}", "test_list": ["assert x"]}
        for n in (601, 602)
    ]
    path = published_rows.write_rows(tmp_path / "mbpp.jsonl", *rows)
    train, held = load_pair(
        "mbpp/train", "quixbugs", path=str(path), held_path=str(clone), held_count=3
    )
    assert [len(train), len(held)] == [2, 3]
    assert json.loads(path.read_text().split("\n")[0])["task_id"] == train[0].task_id
    with pytest.raises(UserError, match="quixbugs needs the folder.*tasks.eval_path"):
        load_pair("mbpp/train", "quixbugs", path=str(path))

"""Tiny programs of our own in the formats of published evaluation sets."""

import json

# NAME: (reference, faulty, text, cases)
QUIXBUGS = {
    "add_up": (
        "# Python 3\ndef add_up(xs):\n    return sum(xs)\n\n\n"
        "'''\nAnother:\n    0\n'''\n",
        "def add_up(xs):\n    return sum(xs[1:])\n",
        "Add numbers up.\n\nExample:\n    >>> add_up([1, 2])\n    3",
        [[[[0]], 0], [[[0, 1]], 1], [[[0, 2]], 2], [[[]], 0], [[[3, 4]], 7]],
    ),
    "climb": (
        "def climb(n):\n    while True:\n        yield n\n        n -= 1\n"
        "        if n < 0:\n            return\n",
        "def climb(n):\n    while True:\n        yield n\n        n -= 1\n"
        "        if n <= 0:\n            return\n",
        "Count down.",
        [[2, [2, 1, 0]], [[0], [0]]],
    ),
    "half": (
        "def half(x):\n    return [x / 2, str(x)]\n",
        "def half(x):\n    return [x / 3, str(x)]\n",
        "Halve.",
        [[[1], [0.5, "1"]], [[0.3], [0.15, "0.3"]]],
    ),
    "moves": (
        "def moves(n):\n    out = []\n    for i in range(n):\n"
        "        out.append((i, n))\n    return out\n",
        "def moves(n):\n    out = []\n    for i in range(n):\n"
        "        out.append((n, i))\n    return out\n",
        "List the moves.",
        [[[0], []], [[2], [[0, 2], [1, 2]]]],
    ),
    "root": (
        "def root(x, epsilon):\n    y = x\n    while abs(y * y - x) > epsilon:\n"
        "        y = (y + x / y) / 2\n    return y\n",
        "def root(x, epsilon):\n    y = x\n    while abs(y * y - x) > epsilon:\n"
        "        y = (y - x / y) / 2\n        if y < 0:\n            break\n"
        "    return y\n",
        "Find the root.",
        [[[2, 0.01], 1.4166666666666665], [[4, 0.2], 2]],
    ),
}


def write_quixbugs(folder):
    """Write a clone of QuixBugs with programs of our own; return the path."""
    for part in ("python_programs", "correct_python_programs", "json_testcases"):
        (folder / part).mkdir()
    for name, (reference, faulty, text, cases) in QUIXBUGS.items():
        (folder / f"correct_python_programs/{name}.py").write_text(reference)
        program = f'{faulty}\n\n"""\n{text}\n"""\n'
        (folder / f"python_programs/{name}.py").write_bytes(
            program.replace("\n", "\r\n").encode()
        )
        lines = [json.dumps(case) for case in cases]
        (folder / f"json_testcases/{name}.json").write_text("\n".join([*lines, ""]))
    for name in ("node", "walk", "walk_test"):
        for part in ("python_programs", "correct_python_programs"):
            (folder / part / f"{name}.py").write_text("class Node:\n    pass\n")
    return folder


# Imports of the tests of programs over graphs.
NODE = """class Node:
    def __init__(self, value=None, successor=None, successors=[]):
        self.value = value
        self.successor = successor
        self.successors = successors
"""
_IMPORT = """import pytest
{node}
if pytest.use_correct:
    from correct_python_programs.{name} import {name}
else:
    from python_programs.{name} import {name}

"""
# NAME: (reference, faulty, tests, True if they import node)
GRAPHS = {
    "breadth_first_search": (
        "def breadth_first_search(a, b):\n    seen, todo = {a}, [a]\n"
        "    while todo:\n        node = todo.pop(0)\n        if node is b:\n"
        "            return True\n        new = [n for n in node.successors if n not in"
        " seen]\n        todo += new\n        seen.update(new)\n    return False\n",
        "def breadth_first_search(a, b):\n    seen, todo = {a}, [a]\n"
        "    while True:\n        node = todo.pop(0)\n        if node is b:\n"
        "            return True\n        new = [n for n in node.successors if n not in"
        " seen]\n        todo += new\n        seen.update(new)\n    return False\n",
        'def test1():\n    """Case 1"""\n\n    a = Node("A")\n'
        '    b = Node("B", None, [a])\n    found = breadth_first_search(b, a)\n\n'
        "    assert found\n\n\n"
        'def test2():\n    a = Node("A")\n    b = Node("B")\n'
        "    assert not breadth_first_search(a, b)\n",
        True,
    ),
    "detect_cycle": (
        "def detect_cycle(node):\n    seen = set()\n    while node:\n"
        "        if node in seen:\n            return True\n        seen.add(node)\n"
        "        node = node.successor\n    return False\n",
        "def detect_cycle(node):\n    seen = set()\n    while True:\n"
        "        if node in seen:\n            return True\n        seen.add(node)\n"
        "        node = node.successor\n    return False\n",
        "node1 = Node(1)\nnode2 = Node(2, node1)\nother = Node(3)\n\n\n"
        "def test1():\n    assert not detect_cycle(node2)\n\n\n"
        "def test2():\n    node1.successor = node2\n    assert detect_cycle(node2)\n"
        # Right only from a graph of its own.
        "\n\ndef test3():\n    assert not detect_cycle(node1)\n\n\n"
        "def test4():\n    node = Node(0)\n    assert not detect_cycle(node)\n",
        True,
    ),
    "reverse_linked_list": (
        "def reverse_linked_list(node):\n    last = None\n    while node:\n"
        "        after = node.successor\n        node.successor = last\n"
        "        last, node = node, after\n    return last\n",
        "def reverse_linked_list(node):\n    last = None\n    while node:\n"
        "        after = node.successor\n        node.successor = last\n"
        "        node = after\n    return last\n",
        "def test1():\n    one = Node(1)\n    two = Node(2, one)\n"
        "    result = reverse_linked_list(two)\n    assert result == one\n"
        "    output = []\n    while result:\n        output.append(result.value)\n"
        "        result = result.successor\n    assert output == [1, 2]\n",
        True,
    ),
    "shortest_paths": (
        "def shortest_paths(source, edges):\n    best = {source: 0}\n"
        "    for _ in edges:\n        for (a, b), length in edges.items():\n"
        "            if a in best:\n                new = best[a] + length\n"
        "                best[b] = min(best.get(b, new), new)\n    return best\n",
        "def shortest_paths(source, edges):\n    best = {source: 0}\n"
        "    for _ in edges:\n        for (a, b), length in edges.items():\n"
        "            if a in best:\n                new = best[a] + length\n"
        "                best[b] = max(best.get(b, new), new)\n    return best\n",
        'def test1():\n    graph = {("A", "B"): 3, ("A", "C"): 3, ("C", "B"): -2}\n'
        '    result = shortest_paths("A", graph)\n\n'
        '    expected = {"A": 0, "B": 1, "C": 3}\n    assert result == expected\n',
        False,
    ),
}


def write_graphs(folder):
    """Add programs over graphs to a clone of QuixBugs."""
    (folder / "python_testcases").mkdir()
    for part in ("python_programs", "python_testcases"):
        (folder / part / "node.py").write_text(NODE)
    for name, (reference, faulty, tests, node) in GRAPHS.items():
        (folder / f"correct_python_programs/{name}.py").write_text(reference)
        program = f'{faulty}\n\n"""\nWork on a graph.\n"""\n'
        (folder / f"python_programs/{name}.py").write_text(program)
        head = _IMPORT.format(name=name, node="from node import Node\n" * node)
        file = folder / f"python_testcases/test_{name}.py"
        file.write_text(f"{head}\n{tests}")
    return folder


def humaneval_row(number=0, **fields):
    """Return a Python row of HumanEvalPack."""
    row = {
        "task_id": f"Python/{number}",
        "prompt": "ignored",
        "declaration": "from typing import List\n\n\ndef top(xs: List[int]) -> int:\n",
        "canonical_solution": "    return max(xs)\n",
        "buggy_solution": "    return xs[0]\n",
        "bug_type": "value misuse",
        "failure_symptoms": "incorrect output",
        "entry_point": "top",
        "import": "",
        "test_setup": "",
        "test": (
            "\n\n\n\n\ndef check(top):\n    # some cases\n"
            "    assert top([1, 2]) == 2, 'why'\n    assert top([1,\n      3]) == 3\n"
            '    assert True, "This prints if it fails"\n\ncheck(top)'
        ),
        "example_test": "def check(top):\n    assert top([1,2]) == 2\ncheck(top)\n",
        "signature": "top(xs: List[int]) -> int",
        "docstring": "The largest.",
        "instruction": "Write a Python function `top` to solve:\nThe largest.",
    }
    return row | fields


def mbppplus_row(number=11, **fields):
    """Return a row of EvalPlus's MbppPlus.jsonl."""
    row = {
        "task_id": f"Mbpp/{number}",
        "prompt": '"""\nKeep what both have.\nassert both((1,), (1,)) == (1,)\n"""\n',
        "entry_point": "both",
        "canonical_solution": "\ndef both(a, b):\n"
        "  return tuple(x for x in a if x in b)\n",
        "base_input": [[[3, 1], [1, 4]], [[2], [2]]],
        "plus_input": [[[], []], [[5, 1, 5], [5]], [[2], [2]]],
        "atol": 0,
        "contract": "\n  assert isinstance(a, tuple)\n",
        "assertion": "assert both((3, 1), (1, 4)) == (1,)",
    }
    return row | fields


def write_rows(path, *rows):
    """Write a file of JSON lines; return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judge(sandbox, tasks):
    """Return the results of references and of faulty programs, on all tests."""
    jobs = [
        (code, (*task.test_list, *task.hidden_test_list), task.test_setup_code)
        for task in tasks
        for code in (task.code, task.faulty_code)
    ]
    results = sandbox.map(jobs)
    return results[::2], results[1::2]

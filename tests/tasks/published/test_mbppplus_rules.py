"""Rows of our own in MBPP+'s format get evalplus's inputs and verdicts."""

import dataclasses

import published_rows
import pytest

pytest.importorskip("evalplus")

from benchmarks import mbppplus  # noqa: E402

# (task id, function, reference, inputs): of each rule that depends on the task.
ROWS = [
    (2, "similar_elements", "return tuple(set(a) & set(b))", [[[3, 4], [4, 3, 5]]]),
    (124, "angle_complex", "return (a + b).real", [["1", "2j"], ["0", "(-0-1j)"]]),
    (580, "extract_even", "return (a, b)", [[[1, [2, [3]]], [4]]]),
    (278, "count_first", "return a", [[[1, [2, [3]]]]]),
    (115, "empty_dit", "return [x == {} for x in a]", [[[[1], []]]]),
    (
        722,
        "filter_data",
        "return [(k, v[0] > b, v) for k, v in a.items()]",
        [[{"a": [1]}, 0]],
    ),
    (413, "extract_nth", "return [x[b] for x in a]", [[[[1, 2], [3, 4]], 1]]),
    (737, "check_str", "import re; return re.match(a, b)", [["a", "ab"], ["b", "a"]]),
    (558, "digit_distance_nums", "return abs(a - b)", [[12, 3], [7, 2]]),
    (581, "surface_Area", "return 2 * a * b + a**2", [[3, 4], [2, 1]]),
    (82, "volume", "return a * b / 3", [[1, 2], [0.5, 7]]),
    (14, "both", "return [a / 3, b / 3]", [[1, 2]]),
]


@pytest.mark.slow
def test_rows_beside_evalplus(tmp_path):
    rows = [
        published_rows.mbppplus_row(
            number,
            entry_point=function,
            canonical_solution=f"def {function}(a, b=0):\n    {body}\n",
            base_input=inputs[:1],
            plus_input=inputs[1:],
            atol=1e-4 if number == 82 else 0,
        )
        for number, function, body, inputs in ROWS
    ]
    path = published_rows.write_rows(tmp_path / "plus.jsonl", *rows)
    found = mbppplus.compare(str(path), mutants=3, workers=1)
    assert found.passed and found.summary == "12 of 12 programs", found.lines()
    assert found.inputs == sum(len(inputs) for *_, inputs in ROWS)
    assert len(found.judged) > 3 * len(ROWS)
    wrong = dataclasses.replace(found.judged[0], ours=False)
    assert not dataclasses.replace(found, judged=(wrong, *found.judged)).passed
    assert not dataclasses.replace(found, unequal=("Mbpp/2",)).passed

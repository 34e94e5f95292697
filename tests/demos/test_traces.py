"""Reasoning traces in s1K's format: what is read, and what is refused."""

import json

import pytest

from repair.demos.traces import Trace, read_traces
from repair.errors import UserError

ROW = {
    "question": "What is 2 + 2?\r\n",
    "thinking_trajectories": ["Two and two.\nThat is four.\n", "another"],
    "attempt": "4",
    "solution": "4",
    "cot_type": "math",
    "metadata": None,
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_is_a_question_a_thought_and_what_it_comes_to(tmp_path):
    path = write(tmp_path / "s1k.jsonl", ROW, ROW | {"question": "And 3?"})
    thought = "Two and two.\nThat is four.\n4"
    assert read_traces(path) == [
        Trace("What is 2 + 2?", thought),
        Trace("And 3?", thought),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"attempt": None}, ":2: field 'attempt' is null"),
        ({"question": 3}, ":2: field 'question' is int, expected a string"),
        ({"thinking_trajectories": []}, "'thinking_trajectories' is empty"),
        ({"thinking_trajectories": "x"}, "is str, expected a list of strings"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    path = write(tmp_path / "s1k.jsonl", ROW, ROW | row)
    with pytest.raises(UserError, match=message):
        read_traces(path)


def test_no_rows_no_objects_no_file(tmp_path):
    with pytest.raises(UserError, match="holds no traces"):
        read_traces(write(tmp_path / "empty.jsonl"))
    with pytest.raises(UserError, match=":2: expected a JSON object, found list"):
        read_traces(write(tmp_path / "list.jsonl", ROW, [ROW]))
    with pytest.raises(UserError, match="cannot read .*none.jsonl"):
        read_traces(tmp_path / "none.jsonl")

"""Scripts are shortest, exact and a function of the program as it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repair.demos.edit_script import top_down
from repair.env import editor
from repair.env.edit_distance import levenshtein
from repair.env.editor import AddLine, DeleteLine, ReplaceLine, ReplaceWord

WORDS = st.text("ab", max_size=8)
PROGRAMS = st.lists(st.text("ab +>", max_size=4), max_size=6)


def plain_distance(a, b):
    """Return the textbook table, for strings and for lists of lines."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@given(PROGRAMS, PROGRAMS)
def test_script_is_shortest_exact_and_stepwise(faulty, correct):
    script = top_down(faulty, correct)
    assert len(script) == plain_distance(faulty, correct)
    lines = faulty
    for position, command in enumerate(script):
        assert top_down(lines, correct) == script[position:]
        assert editor.parse(command.format()) == command
        lines = editor.apply(lines, command)
    assert lines == correct
    numbers = [command.line for command in script]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "faulty, correct, script",
    [
        # One word, everywhere on the line, even inside of a longer one.
        ("x = a + a", "x = b + b", [ReplaceWord(1, "a", "b")]),
        ("for x xn xtems", "for i in items", [ReplaceWord(1, "x", "i")]),
        ("f(x)[1]:", "f(x)[2]:", [ReplaceWord(1, "1", "2")]),
        ("a <= b", "a >= b", [ReplaceWord(1, "<=", ">=")]),
        # Not exact (the first a stays), two words, another indentation, more words.
        ("a + a", "a + b", [ReplaceLine(1, "a + b")]),
        ("a + b", "b + a", [ReplaceLine(1, "b + a")]),
        (" a", "  a", [ReplaceLine(1, "  a")]),
        ("a", "not a", [ReplaceLine(1, "not a")]),
        # Two commands either way: the pair that needs less writing is changed.
        ("long line y", "first\nlong line x", None),
        # A line twice: the first is kept.
        ("p\np\nq", "p\nq", [DeleteLine(2)]),
        ("p\nq", "p\np\nq", [AddLine(2, "p")]),
        ("p\nq\nr", "q\nr\ns", [DeleteLine(1), AddLine(3, "s")]),
        ("", "p", [AddLine(1, "p")]),
        ("p", "", [DeleteLine(1)]),
    ],
)
def test_script(faulty, correct, script):
    if script is None:
        script = [AddLine(1, "first"), ReplaceWord(2, "y", "x")]
    lines = editor.split_program(faulty), editor.split_program(correct)
    assert top_down(*lines) == script


@given(WORDS, WORDS)
def test_levenshtein(a, b):
    assert levenshtein(a, b) == plain_distance(a, b)


def test_levenshtein_beyond_a_machine_word():
    assert levenshtein("kitten", "sitting") == 3
    assert levenshtein("é" * 300, "x" + "é" * 299 + "yy") == 3
    assert levenshtein("a" * 200, "") == levenshtein("", "a" * 200) == 200

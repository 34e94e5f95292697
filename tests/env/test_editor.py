"""The editor: total, exact and invertible, on any program and any string."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repair.env import editor
from repair.env.editor import (
    AddLine,
    DeleteLine,
    Exit,
    MalformedCommand,
    ReplaceLine,
    ReplaceWord,
)

# Small alphabets make the interesting collisions (>>>, repeated words) frequent.
CHARS = st.one_of(st.sampled_from("ab> \t\u2028\x0cé"), st.characters(codec="utf-8"))
TEXTS = st.text(CHARS.filter(lambda c: c not in "\r\n"), max_size=12)
PROGRAMS = st.lists(TEXTS, max_size=6)
NUMBERS = st.integers(0, 8)
COMMANDS = st.one_of(
    st.builds(AddLine, NUMBERS, TEXTS),
    st.builds(ReplaceLine, NUMBERS, TEXTS),
    st.builds(DeleteLine, NUMBERS),
    st.builds(ReplaceWord, NUMBERS, TEXTS, TEXTS),
    st.just(Exit()),
)


@st.composite
def applicable(draw):
    """Draw a program and a command that applies to it, REPW included."""
    lines = draw(PROGRAMS)
    kinds = ["add", "exit"] + (["replace", "delete", "word"] if lines else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "exit":
        return lines, Exit()
    if kind == "add":
        return lines, AddLine(draw(st.integers(1, len(lines) + 1)), draw(TEXTS))
    line = draw(st.integers(1, len(lines)))
    if kind == "delete":
        return lines, DeleteLine(line)
    text = lines[line - 1]
    if kind == "replace" or not text:
        return lines, ReplaceLine(line, draw(TEXTS))
    start = draw(st.integers(0, len(text) - 1))
    end = draw(st.integers(start + 1, len(text)))
    return lines, ReplaceWord(line, text[start:end], draw(TEXTS))


@pytest.mark.parametrize(
    "text, command",
    [
        ("### ADDL 3 >>>    return x", AddLine(3, "    return x")),
        ("### ADDL 1 >>>", AddLine(1, "")),
        ("### REPL 2 >>>\tx >>>= 1  ", ReplaceLine(2, "\tx >>>= 1  ")),
        ("### REPL 2 >>>>>>", ReplaceLine(2, ">>>")),
        ("### DELL 007", DeleteLine(7)),
        ("### REPW 1 >>>a >>>b", ReplaceWord(1, "a", "b")),
        ("### REPW 1 >>>a>>>b", ReplaceWord(1, "a", "b")),
        ("### REPW 1 >>>a>>>b >>>c", ReplaceWord(1, "a>>>b", "c")),
        ("### REPW 1 >>>a >>>b >>>c", ReplaceWord(1, "a", "b >>>c")),
        ("### REPW 1 >>>a  >>> b", ReplaceWord(1, "a ", " b")),
        ("### REPW 1 >>>é >>>", ReplaceWord(1, "é", "")),
        ("### EXIT", Exit()),
        ("### EXIT\r\n", Exit()),
        ("### REPL 1 >>>x\n", ReplaceLine(1, "x")),
        ("### REPL 1 >>>x\u2028y", ReplaceLine(1, "x\u2028y")),
    ],
)
def test_parse(text, command):
    assert editor.parse(text) == command


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "unknown command"),
        ("EXIT", "unknown command"),
        (" ### EXIT", "unknown command"),
        ("### addl 1 >>>x", "unknown command"),
        ("### EXIT now", "EXIT takes nothing"),
        ("### DELL", "missing line number"),
        ("### DELL -1", "missing line number"),
        ("### DELL ٣", "missing line number"),
        ("### DELL 1 >>>x", "DELL takes a line number only"),
        ("### DELL " + "9" * 5000, "line number too large"),
        ("### ADDL 1 x", "missing >>>"),
        ("### ADDL 1 >> x", "missing >>>"),
        ("### REPW 1 >>>x", "missing second >>>"),
        ("### EXIT\n\n", "more than one line"),
        ("### REPL 1 >>>x\r", "more than one line"),
        ("### REPL 1 >>>x\r\r\n", "more than one line"),
        ("### ADDL 1 >>>x\n### EXIT", "more than one line"),
    ],
)
def test_parse_says_what_is_wrong(text, reason):
    with pytest.raises(MalformedCommand) as error:
        editor.parse(text)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    "command, after",
    [
        (AddLine(1, " x"), [" x", "a a", "b"]),
        (AddLine(3, ""), ["a a", "b", ""]),
        (ReplaceLine(2, "\tc"), ["a a", "\tc"]),
        (DeleteLine(1), ["b"]),
        (ReplaceWord(1, "a", "aa"), ["aa aa", "b"]),
        (ReplaceWord(1, "a a", ""), ["", "b"]),
        (Exit(), ["a a", "b"]),
    ],
)
def test_apply(command, after):
    lines = ["a a", "b"]
    assert editor.apply(lines, command) == after
    assert lines == ["a a", "b"]


@pytest.mark.parametrize(
    "command, reason",
    [
        (AddLine(0, ""), "no line 0"),
        (AddLine(4, ""), "no line 4"),
        (ReplaceLine(3, ""), "no line 3"),
        (DeleteLine(9), "no line 9"),
        (ReplaceWord(3, "a", "b"), "no line 3"),
        (ReplaceWord(2, "foo", "b"), "'foo' is not on line 2"),
        (ReplaceWord(2, "f" * 99, "b"), f"'{'f' * 40}...' is not on line 2"),
        (ReplaceWord(2, "", "b"), "nothing to replace"),
        (ReplaceWord(1, "a", "x" * 9999), "line 1 would be too long"),
        (AddLine(1, "a\nb"), "more than one line"),
    ],
)
def test_apply_says_what_is_wrong(command, reason):
    with pytest.raises(MalformedCommand) as error:
        editor.apply(["a a", "b"], command)
    assert error.value.reason == reason


def test_only_line_can_be_deleted_and_added_again():
    assert editor.apply(["x"], DeleteLine(1)) == []
    assert editor.apply([], AddLine(1, "x")) == ["x"]
    assert editor.split_program("") == []
    assert editor.split_program("a\n\x0cb\u2028c\n") == ["a", "\x0cb\u2028c", ""]


@pytest.mark.parametrize(
    "line, command, inverse",
    [
        ("a + b", ReplaceWord(1, "a", "c"), ReplaceWord(1, "c", "a")),
        ("a + b", ReplaceWord(1, "a", "b"), ReplaceLine(1, "a + b")),
        ("a + b", ReplaceWord(1, " + b", ""), ReplaceLine(1, "a + b")),
        ("a + b", ReplaceWord(1, "+", ">>>"), ReplaceLine(1, "a + b")),
        ("x" * 10_001, ReplaceWord(1, "x", "y"), ReplaceWord(1, "y", "x")),
        ("xx" * 9000, ReplaceWord(1, "xx", "y"), ReplaceLine(1, "xx" * 9000)),
    ],
)
def test_invert_of_word(line, command, inverse):
    assert editor.invert([line], command) == inverse


@given(applicable())
def test_inverse_restores_and_can_be_written(case):
    lines, command = case
    inverse = editor.invert(lines, command)
    assert editor.apply(editor.apply(lines, command), inverse) == lines
    assert editor.parse(inverse.format()) == inverse


@given(PROGRAMS, COMMANDS)
def test_apply_is_total(lines, command):
    before = list(lines)
    try:
        after = editor.apply(lines, command)
    except MalformedCommand as error:
        assert "\n" not in error.reason
        with pytest.raises(MalformedCommand):
            editor.invert(lines, command)
    else:
        assert editor.apply(after, editor.invert(lines, command)) == lines
    assert lines == before


@given(COMMANDS, st.sampled_from(["", "\n", "\r\n"]))
@example(ReplaceWord(1, ">>>", " >>>"), "")
@example(ReplaceWord(1, "", ""), "")
def test_format_then_parse(command, end):
    if isinstance(command, ReplaceWord) and " >>>" in command.old:
        with pytest.raises(ValueError):
            command.format()
        return
    assert editor.parse(command.format() + end) == command


@pytest.mark.parametrize(
    "command",
    [AddLine(1, "a\nb"), ReplaceLine(1, "a\r"), DeleteLine(-1), DeleteLine(10**9)],
)
def test_format_refuses_what_no_text_can_say(command):
    with pytest.raises(ValueError):
        command.format()


HEADS = st.sampled_from(["", "### ", "### ADDL 1", "### REPW 2 >>>", "### DELL "])


@settings(max_examples=300)
@given(HEADS, st.text(st.one_of(st.sampled_from("> 1#\r\n"), st.characters())))
def test_parse_is_total(head, tail):
    try:
        command = editor.parse(head + tail)
    except MalformedCommand as error:
        assert 0 < len(error.reason) < 60
    else:
        assert editor.parse(command.format()) == command


@pytest.mark.parametrize("unit", [" ", ">", " >>", "9", ">>>", "\r"])
@pytest.mark.parametrize("head", ["", "### DELL 1", "### REPW 1 >>>", "### EXIT "])
def test_parse_is_linear(head, unit):
    text = head + unit * (2_000_000 // len(unit))
    start = time.perf_counter()
    try:
        editor.parse(text)
    except MalformedCommand:
        pass
    assert time.perf_counter() - start < 1.0

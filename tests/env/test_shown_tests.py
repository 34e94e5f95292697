"""Statements that models are shown of tests that fail."""

import textwrap

import pytest

from repair.env.shown_tests import show_test
from repair.sandbox.project_pool import Failure


@pytest.mark.parametrize(
    "body, shown, values",
    [
        ("assert f(1) == 2", "assert f(1) == 2", {}),
        ("assert f(x) == y", "assert f([6, 1]) == 'b'", {"x": "[6, 1]", "y": "'b'"}),
        ("assert f(x) == y", "assert f(x) == y", {"x": "<object>"}),
        ("r = f(1)\nassert r == 2", "assert f(1) == 2", {"r": "9"}),
        ("a = f(1)\nb = g(a)\nassert b", "assert g(f(1))", {"a": "1", "b": "0"}),
        ("r = f(1)\nr = 3\nassert r == 2", "assert 3 == 2", {"r": "3"}),
        ("for i in [1]:\n    assert f(i)", "assert f(1)", {"i": "1"}),
        ("self.assertEqual(f(1), 2)", "assert f(1) == 2", {}),
        ("self.assertIn(1, f(1), 'no')", "assert 1 in f(1)", {}),
        ("self.assertFalse(f(1))", "assert not f(1)", {}),
        ("self.assertIsNone(f(1))", "assert f(1) is None", {}),
        (
            "with pytest.raises(ValueError):\n    f(-1)",
            "with pytest.raises(ValueError):\n    f(-1)",
            {},
        ),
        ("try:\n    f(1)\nfinally:\n    assert g(2)", "assert g(2)", {}),
        ("assert f(x)", f"assert f({'1' * 70})", {"x": "1" * 70}),
    ],
)
def test_it_is_the_last_statement_with_its_values(body, shown, values):
    text = "def test():\n" + textwrap.indent(body, "    ") + "\n"
    line = text.count("\n")
    failure = Failure("t", frames=(("t.py", line, "test"), ("p.py", 1, "f")))
    failure = Failure("t", frames=failure.frames, values=values)
    assert show_test(failure, {"t.py": text.encode()}, "p.py") == shown


def test_a_long_statement_keeps_its_variables():
    text = b"def test():\n    assert f(x, x, x, x)\n"
    frames = (("t.py", 2, "test"),)
    failure = Failure("t", frames=frames, values={"x": "1" * 79})
    assert show_test(failure, {"t.py": text}, "p.py") == "assert f(x, x, x, x)"


def test_doctests_are_asserts_where_they_have_a_value():
    assert show_test(Failure("t", source="f(1)\n2\n"), {}, "p.py") == "assert f(1) == 2"
    assert show_test(Failure("t", source="f()\nno value\n"), {}, "") == (
        "f()\nno value"
    )


def test_nothing_is_shown_where_no_test_ran():
    for frames in ((), (("t.py", 1, "<module>"),), (("p.py", 2, "f"),)):
        failure = Failure("t", frames=frames)
        assert show_test(failure, {"t.py": b"import p\n"}, "p.py") == ""
    failure = Failure("t", frames=(("t.py", 1, "test"),))
    assert show_test(failure, {"t.py": b"def test(:"}, "p.py") == ""

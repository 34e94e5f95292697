"""Verdicts: forged and torn answers, values decoded, and classes of failure."""

import collections
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repair.sandbox import Sandbox, asserts, decoding, encode, sandbox_shares, verdict
from repair.sandbox.worker import Answer

TESTS = ("assert f(1) == 2",)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(x):\n    return x + 1", "passed"),
        ("def f(x):\n    return x", "failed"),
        ("def f(x):\n    return y", "NameError"),
        ("def f(x):\n    return 'a: b' + x", "TypeError"),
        ("def f(x):\n    assert x > 1", "AssertionError"),
        ("def f(x):\n    raise ValueError('KeyError: x')", "ValueError"),
        ("x = {}['a']", "KeyError"),
        ("class Odd(Exception):\n    pass\ndef f(x):\n    raise Odd('x')", "Odd"),
        ("def f(x: return", "syntax_error"),
        ("import os\nos.kill(os.getppid(), 9)", "forbidden"),
        ("while True: pass", "timeout"),
    ],
)
def test_classes(sandbox, code, expected):
    assert verdict.failure_class(sandbox.run(code, TESTS)) == expected


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as box:
        yield box


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", "{}", '{"token": "t"}', '{"token": "t", "tests": [5]}', "[" * 9999]
    + [
        json.dumps({"token": "t", **rest})
        for rest in (
            {"load": 5},
            {"load": {"type": 1, "message": "", "line": 1}},
            {"tests": []},
            {"tests": [{"held": True}]},
            {"tests": [[]]},
            {"tests": [[5]]},
            {"tests": [[{}]]},
            {"tests": [[{"value": 2}]]},
            {"tests": [[{"value": 2, "converted": "no"}]]},
            {"tests": [[{"value": {"set": [[]]}, "converted": False}]]},
            {"tests": [[{"value": {"set": 5}, "converted": False}]]},
            {"tests": [[{"value": {"code": "x"}, "converted": False}]]},
            {"tests": [[{"value": {"int": "x"}, "converted": False}]]},
            {"tests": [[{"value": {"range": [0, 10**9, 1]}, "converted": False}]]},
            {"tests": [[{"value": {"Decimal": "1e99999"}, "converted": False}]]},
            {"tests": [[{"value": 2, "converted": False}]] * 2},
            {"tests": [[{"fault": 5}]]},
        )
    ]
    + [json.dumps({"token": "u", "tests": [[{"value": 2, "converted": False}]]})],
)
def test_garbled_answers_are_crashes(text):
    answer = Answer("answered", text + "\n")
    tests = [asserts.split_test("assert f(1) == 2")]
    result = verdict.judge(tests, "t", answer, ())
    assert (result.passed, result.status, result.failed_tests) == (
        False,
        "crashed",
        (0,),
    )


def test_a_right_answer_passes_once():
    line = json.dumps({"token": "t", "tests": [[{"value": 2, "converted": False}]]})
    tests = [asserts.split_test("assert f(1) == 2")]
    for text, passed in (
        (f"{line}\n", True),
        (line, False),
        (f"{line}\n{line}\n", False),
    ):
        assert verdict.judge(tests, "t", Answer("answered", text), ()).passed == passed
    for end in ("used up", "too long", "flood", "died"):
        assert not verdict.judge(tests, "t", Answer(end, f"{line}\n"), ()).passed


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
HASHABLE = LEAVES | st.tuples(LEAVES, LEAVES) | st.frozensets(LEAVES, max_size=3)
VALUES = st.recursive(
    LEAVES | st.sets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_cross_the_pipe_unchanged(value):
    sent = json.loads(json.dumps(encode.encode(value, [1 << 20, 0])))
    rebuilt = decoding.rebuild(sent)
    assert rebuilt == value and type(rebuilt) is type(value)
    shown = decoding.format_value(value)
    known = {"inf": float("inf"), "infj": complex("infj")}
    assert str(value).count("nan") or eval(shown, known) == value


def test_shares_are_of_the_answers_and_not_of_other_counts():
    counts = {"passed": 3, "timeout": 1, "trust_value": 2, "trust_in_child": 2}
    shares = sandbox_shares(collections.Counter(counts | {"cached": 9, "shared": 9}))
    assert shares["sandbox_passed"] == 0.75 and shares["sandbox_timeout"] == 0.25
    assert shares["sandbox_trust_in_child"] == 0.5 and shares["sandbox_failed"] == 0
    assert set(sandbox_shares(collections.Counter()).values()) == {0.0}

"""Asserts hold for the value and near values, and for nothing else."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repair.sandbox import asserts
from repair.tasks.published.expect import as_literal, expect_one_of, expectation

_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
_leaves |= st.text(max_size=5) | st.binary(max_size=3)
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=6,
)


def holds(test, value):
    """Return True if an assert about f() holds for an f that gives the value."""
    try:
        exec(test, {"f": lambda: value})
    except (AssertionError, TypeError):
        return False
    return True


def nudged(value, by):
    """Return the value with its floats a little off."""
    if isinstance(value, float):
        return value + by
    if isinstance(value, list | tuple):
        return type(value)(nudged(item, by) for item in value)
    return value


@given(_values)
@settings(max_examples=200, deadline=None)
def test_an_assert_holds_for_its_value_and_is_judged_outside(value):
    test = expectation("f()", value)
    assert holds(test, value) and "\n" not in test
    assert asserts.split_test(test).kind == "value"
    assert holds(test, nudged(value, 5e-7))
    assert not holds(test, [value])


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (0.5, 0.50001),
        ([1, 2.0], [1, 2.1]),
        ([1, 2.0], [2, 2.0]),
        ([1.0], [1.0, 1.0]),
        ((1.0, ["a", 2.5]), (1.0, ["b", 2.5])),
        (math.inf, 1e300),
        (1e9, 1e9 + 200),
        ({"a": 0.5}, {"a": 0.5000001}),
        ([1, 2], (1, 2)),
    ],
)
def test_what_differs_does_not_hold(value, other):
    assert holds(expectation("f()", value), value)
    assert not holds(expectation("f()", value), other)
    assert as_literal(other) is not None


def test_tolerance_and_alternatives():
    test = expectation("f()", [1.5], tolerance=0.1)
    assert holds(test, [1.59]) and holds(test, (1.41,)) and not holds(test, [1.7])
    test = expect_one_of("f()", [1], (1,))
    assert test == "assert f() in ([1], (1,))"
    assert expect_one_of("f()", 1, 1) == "assert f() == 1"
    assert expect_one_of("f()", 1, math.nan) is None


@pytest.mark.parametrize("value", [math.nan, object(), [len], {1: {2: iter(())}}])
def test_what_has_no_literal(value):
    assert as_literal(value) is None and expectation("f()", value) is None


def test_sets_come_in_one_order():
    assert as_literal({"b", "a", 10, 9}) == "{'a', 'b', 10, 9}"
    assert as_literal(set()) == "set()" and as_literal((1,)) == "(1,)"
    assert as_literal([math.inf, -math.inf, 10**5000]) is None

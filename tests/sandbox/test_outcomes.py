"""Classes of failure, of programs that really fail so."""

import collections

import pytest

from repair.sandbox import Sandbox, sandbox_shares
from repair.sandbox.outcomes import failure_class

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
    assert failure_class(sandbox.run(code, TESTS)) == expected


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as box:
        yield box


def test_shares_are_of_the_answers_and_not_of_other_counts():
    counts = {"passed": 3, "timeout": 1, "trust_value": 2, "trust_in_child": 2}
    shares = sandbox_shares(collections.Counter(counts | {"cached": 9, "shared": 9}))
    assert shares["sandbox_passed"] == 0.75 and shares["sandbox_timeout"] == 0.25
    assert shares["sandbox_trust_in_child"] == 0.5 and shares["sandbox_failed"] == 0
    assert set(sandbox_shares(collections.Counter()).values()) == {0.0}

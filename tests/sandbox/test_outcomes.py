"""Classes of failure, of programs that really fail in these ways."""

import pytest

from repair.sandbox import Sandbox
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

"""Constants: they equal what Python computes, and what is none is refused."""

import ast
import collections
import datetime
import decimal
import fractions
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repair.sandbox import bounded, fold

NAMES = {
    "math": math,
    "Fraction": fractions.Fraction,
    "Decimal": decimal.Decimal,
    "Counter": collections.Counter,
    "datetime": datetime,
    "x": 3,
    "xs": [1, 2],
}


@pytest.mark.parametrize(
    "source",
    """10 ** 9; 2**31 - 1; float("inf"); set([1, 2]); list(range(3)); [0] * 3
    math.sqrt(2); math.pi * 4; sorted({3, 1}); "a" + "b" * 2; (1, 2) + (3,)
    x + xs[0]; xs + [x]; {1: "a"}[1]; [i * 2 for i in range(4) if i % 2]
    {i for i in xs}; {i: j for i, j in zip(xs, [3, 4])}; sum(i for i in xs)
    Fraction(1, 2) + 1; Decimal("1.50"); Counter("aab"); abs(-3); -x; not x
    round(2.567, 2); max(1, 2); divmod(7, 2); ~5; 7 // 2; 7 % 4; 1 << 4; 6 & 3
    {1, 2} - {1}; {1} | {1, 2}; {1, 2} ^ {2}; "abc"[1:]; 1 < 2; 3 in xs; math.inf
    datetime.date(2020, 1, 2) - datetime.date(2020, 1, 1); complex(1, 2); b"a" + b"b"
    [(i, s) for i, s in enumerate("ab")]; pow(2, 10); pow(3, 5, 7); bytes([1, 2])
    [k for k, v in {"a": 1}.items()]; len("abc"); chr(97); ord("a"); str(5)""".replace(
        "\n", ";"
    ).split(";"),
)
def test_a_constant_is_what_python_computes(source):
    node = ast.parse(source.strip(), mode="eval").body
    found = fold.constant(node, {"x": 3, "xs": [1, 2]})
    wanted = eval(source.strip(), dict(NAMES))
    assert found == wanted and type(found) is type(wanted)


@pytest.mark.parametrize(
    "source",
    """f(1); y; 10 ** 10 ** 9; [0] * 10 ** 9; "a" * 10 ** 9; 1 << 10 ** 9
    range(10 ** 9); 1 / 0; [1][2]; "%99999999d" % 1; [i for i in range(10 ** 6)]
    open("x"); __import__("os"); (lambda: 1)(); math.factorial(10 ** 7); bytes(10 ** 10)
    Fraction("1e999999999"); round(5, -10 ** 9); [*xs]; {**{}}; f"{x}"; x.real
    xs.append(1); set([[]]); (y := 3)""".replace("\n", ";").split(";"),
)
def test_anything_else_is_no_constant(source):
    node = ast.parse(source.strip(), mode="eval").body
    with pytest.raises(fold.NotConstant):
        fold.constant(node, {"x": 3, "xs": [1, 2]})


VALUES = (
    st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=3)
    | st.sets(st.integers(), max_size=3)
    | st.fractions()
    | st.decimals()
    | st.complex_numbers()
)


@given(st.sampled_from(list(bounded.OPERATORS)), VALUES, VALUES)
def test_operators_are_those_of_python_or_refuse(kind, left, right):
    node = ast.Expression(
        ast.BinOp(ast.Name("a", ast.Load()), kind(), ast.Name("b", ast.Load()))
    )
    if kind in (ast.Pow, ast.LShift) and not isinstance(left, float):
        right = min(abs(right), 9) if isinstance(right, int) else right
    try:
        found = bounded.OPERATORS[kind](left, right)
    except (TypeError, ValueError, ArithmeticError):
        return
    code = compile(ast.fix_missing_locations(node), "operator", "eval")
    assert repr(found) == repr(eval(code, {"a": left, "b": right}))

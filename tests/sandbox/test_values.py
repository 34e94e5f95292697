"""Values of expressions are those of the program, and a failing one costs itself."""

from repair.sandbox import Limits
from repair.sandbox.values import evaluate_expressions


def test_values_are_those_of_the_program():
    code = "def f(x):\n    while x == 'hang': pass\n    return [x, {x: (1.5, None)}]"
    sources = ["f(1)", "f([])", "f", "g(1)", "{f(2)[0], 'a'}"]
    values = [([1, {1: (1.5, None)}],), None, None, None, ({2, "a"},)]
    jobs = [(code, sources), ("def f(:", ["1", "2"]), ("", [])]
    assert evaluate_expressions(jobs) == [values, [None, None], []]
    # One that hangs, or takes the memory of all, costs itself only.
    limits = Limits(cpu_seconds=0.2, memory_mb=128)
    job = (code, ["f(1)[0]", "f('hang')", "[0] * 10**9", "f(2)[0]"])
    assert evaluate_expressions([job], limits) == [[(1,), None, None, (2,)]]


def test_values_may_be_large():
    (((value,),),) = evaluate_expressions([("", ["list(range(50_000))"])])
    assert value == list(range(50_000))
    small = Limits(output_bytes=1 << 16)
    assert evaluate_expressions([("", ["list(range(50_000))"])], small) == [[None]]

"""Plain Python in place of pytest's functions."""

import ast
import math

from repair.env.usertests.bodies import literal
from repair.errors import UserError

# pytest's rules: two numbers are equal or near, also as items of containers.
APPROX = """\
class _approx:
    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.limits = expected, (rel, abs, nan_ok)
        many = (list, tuple, dict)
        inner = expected.values() if isinstance(expected, dict) else expected
        if isinstance(expected, (set, frozenset)) or (
            isinstance(expected, many) and any(isinstance(x, many) for x in inner)
        ):
            raise TypeError('approx is for numbers and for lists of them')
    def __eq__(self, actual):
        expected = self.expected
        if isinstance(expected, dict):
            return isinstance(actual, dict) and actual.keys() == expected.keys() and (
                all(self.near(actual[key], expected[key]) for key in expected)
            )
        if isinstance(expected, (list, tuple)):
            return hasattr(actual, '__len__') and len(actual) == len(expected) and (
                all(map(self.near, actual, expected))
            )
        return self.near(actual, expected)
    def near(self, actual, expected):
        rel, absolute, nan_ok = self.limits
        if actual == expected:
            return True
        number = __import__('numbers').Complex
        if not (isinstance(actual, number) and isinstance(expected, number)):
            return False
        size = abs(expected)
        if isinstance(expected, bool) or size == float('inf'):
            return False
        if size != size:
            return nan_ok and actual != actual
        least = 1e-12 if absolute is None else absolute
        if rel is not None or absolute is None:
            least = max((1e-6 if rel is None else rel) * size, least)
        return abs(expected - actual) <= least
    __hash__ = None
"""
_RELATIVE, _ABSOLUTE = 1e-6, 1e-12  # pytest's defaults


class PlainPython(ast.NodeTransformer):
    """Replace `pytest.raises`, `pytest.fail` and `pytest.approx` by plain Python.

    The result may call the functions that APPROX defines.

    Args:
      where: The file's name, for errors.

    Raises:
      UserError: Another function of pytest is used, or these in another way.
    """

    def __init__(self, where: str):
        self._where = where
        self._raised: dict[str, str] = {}

    def visit_With(self, node: ast.With):  # noqa: N802
        asked = [_raises(item.context_expr) for item in node.items]
        if not any(asked):
            return self.generic_visit(node)
        if len(asked) > 1:
            self._refuse(node, "pytest.raises beside something else in one with")
        if any(map(_leaves, node.body)):
            self._refuse(node, "a return, break or continue in pytest.raises")
        kinds, pattern = self._raises_arguments(asked[0], node)
        kept, checks = node.items[0].optional_vars, []
        if kept is not None:
            if not isinstance(kept, ast.Name):
                self._refuse(node, "pytest.raises kept in something but a name")
            self._raised[kept.id] = f"_{kept.id}_value"
            checks.append(f"_{kept.id}_value = _caught")
        if pattern is not None:
            searched = f"{ast.unparse(pattern)}, str(_caught)"
            checks.append(f"assert __import__('re').search({searched})")
        caught = " as _caught" if checks else ""
        text = f"try:\n    pass\nexcept {ast.unparse(kinds)}{caught}:\n"
        text += "".join(f"    {check}\n" for check in checks or ["pass"])
        # As in pytest, no handler of the test catches this, not even for SystemExit.
        text += "else:\n    raise BaseException('nothing was raised')\n"
        (made,) = ast.parse(text).body
        made.body = node.body
        return self.generic_visit(ast.copy_location(made, node))

    def _raises_arguments(self, call: ast.Call, node: ast.AST):
        match call:
            case ast.Call(_, [kinds], []):
                return kinds, None
            case ast.Call(_, [kinds], [ast.keyword("match", pattern)]):
                return kinds, pattern
        self._refuse(node, "pytest.raises with other arguments than a kind and match")

    def visit_Attribute(self, node: ast.Attribute):  # noqa: N802
        match node.value:
            case ast.Name("pytest") if node.attr == "approx":
                return ast.copy_location(ast.Name("_approx", ast.Load()), node)
            case ast.Name("pytest"):
                self._refuse(node, f"pytest.{node.attr}")
            case ast.Name(name) if name in self._raised and node.attr == "value":
                return ast.copy_location(ast.Name(self._raised[name], ast.Load()), node)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name):  # noqa: N802
        if node.id == "pytest" or node.id in self._raised:
            self._refuse(node, f"{node.id} as a whole")
        return node

    def visit_Expr(self, node: ast.Expr):  # noqa: N802
        match node.value:
            case ast.Call(ast.Attribute(ast.Name("pytest"), "fail"), arguments):
                raised = ast.Call(ast.Name("BaseException", ast.Load()), arguments, [])
                return ast.copy_location(ast.Raise(self.generic_visit(raised)), node)
        return self.generic_visit(node)

    def _refuse(self, node: ast.AST, what: str):
        raise UserError(
            f"{self._where}:{node.lineno} uses {what}, which cannot be turned into a"
            " test for the sandbox; of pytest there are parametrize, raises with a kind"
            " and match, fail and approx"
        )


def _raises(node: ast.expr) -> ast.Call | None:
    match node:
        case ast.Call(ast.Attribute(ast.Name("pytest"), "raises")):
            return node
    return None


def _leaves(node: ast.AST, in_loop: bool = False) -> bool:
    """Return True if a statement of a function may leave it early."""
    match node:
        case ast.Return():
            return True
        case ast.Break() | ast.Continue():
            return not in_loop
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return False
        case ast.For() | ast.AsyncFor() | ast.While():
            inside = any(_leaves(each, True) for each in node.body)
            return inside or any(_leaves(each, in_loop) for each in node.orelse)
    return any(_leaves(child, in_loop) for child in ast.iter_child_nodes(node))


def shorten_approx(statement: ast.stmt) -> ast.stmt:
    """Replace `assert x == pytest.approx(0.5)` by arithmetic.

    Only where an error counts as False, since the value may be no number.
    """
    match statement:
        case ast.Assert(ast.Compare(left, [ast.Eq()], [right])):
            for value, near in ((left, right), (right, left)):
                tolerance = _tolerance(near)
                if tolerance is not None:
                    gap = ast.BinOp(value, ast.Sub(), near.args[0])
                    size = ast.Call(ast.Name("abs", ast.Load()), [gap], [])
                    test = ast.Compare(size, [ast.LtE()], [ast.Constant(tolerance)])
                    return ast.copy_location(ast.Assert(test), statement)
    return statement


def _tolerance(call: ast.Call) -> float | None:
    """Return the tolerance of `pytest.approx(number, ...)`."""
    match call:
        case ast.Call(ast.Attribute(ast.Name("pytest"), "approx"), [expected], more):
            pass
        case _:
            return None
    limits = {each.arg: literal(each.value) for each in more}
    values = [literal(expected), *limits.values()]
    if not (limits.keys() <= {"rel", "abs"} and all(map(_is_finite, values))):
        return None
    size, relative, absolute = abs(values[0][0]), limits.get("rel"), limits.get("abs")
    least = absolute[0] if absolute else _ABSOLUTE
    if relative or not absolute:
        least = max((relative[0] if relative else _RELATIVE) * size, least)
    return least


def _is_finite(value: tuple | None) -> bool:
    return (
        value is not None
        and type(value[0]) in (int, float)
        and (math.isfinite(value[0]))
    )

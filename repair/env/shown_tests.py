"""Failing assertions as a model is shown them: one statement, with its values.

For display only: no verdict depends on it.
"""

import ast
import copy
from collections.abc import Mapping

from repair.sandbox.project_pool import Failure

_MOST = 200  # characters
_DEPTH = 4  # of variables that are put in place of one another
_COMPARE = {
    "assertEqual": ast.Eq,
    "assertEquals": ast.Eq,
    "assertListEqual": ast.Eq,
    "assertDictEqual": ast.Eq,
    "assertTupleEqual": ast.Eq,
    "assertSetEqual": ast.Eq,
    "assertNotEqual": ast.NotEq,
    "assertIs": ast.Is,
    "assertIsNot": ast.IsNot,
    "assertIn": ast.In,
    "assertNotIn": ast.NotIn,
    "assertGreater": ast.Gt,
    "assertGreaterEqual": ast.GtE,
    "assertLess": ast.Lt,
    "assertLessEqual": ast.LtE,
}


def show_test(failure: Failure, files: Mapping[str, bytes], program: str) -> str:
    """Return the statement of a test that failed, or "" if there is none to show.

    Args:
      failure: The failure.
      files: The project's files.
      program: Path of the program, whose frames are no tests.
    """
    if failure.source:
        return _show_example(failure.source)
    frames = [frame for frame in failure.frames if frame[0] != program and frame[2]]
    if not frames or frames[-1][2] == "<module>":
        return ""
    path, line, _ = frames[-1]
    try:
        tree = ast.parse(files[path])
    except (KeyError, SyntaxError, ValueError):
        return ""
    function = _around(tree, line)
    statement = _at(function.body, line) if function else None
    if function is None or statement is None:
        return ""
    plain = ast.unparse(statement)
    found = copy.deepcopy(statement)
    for _ in range(_DEPTH):
        found = _Values(_assigned(function, line), failure.values).visit(found)
    text = ast.unparse(ast.fix_missing_locations(_Asserts().visit(found)))
    text = text if len(text) <= _MOST else plain
    return text if len(text) <= _MOST else text[:_MOST] + "..."


def _show_example(source: str) -> str:
    call, _, wanted = source.partition("\n")
    try:
        ast.parse(call, mode="eval")
        ast.parse(wanted.strip(), mode="eval")
    except SyntaxError:
        return source.strip()
    return f"assert {call} == {wanted.strip()}"


def _around(tree: ast.Module, line: int) -> ast.FunctionDef | None:
    """Return the innermost function around a line."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, kinds) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(found, key=lambda node: node.lineno, default=None)  # type: ignore


def _at(body: list[ast.stmt], line: int) -> ast.stmt | None:
    """Return the statement at a line; of compound ones the part, but a `with` whole."""
    for each in body:
        if each.lineno <= line <= (each.end_lineno or 0):
            if isinstance(each, ast.With):
                return each
            parts = [
                part
                for name in ("body", "orelse", "finalbody")
                for part in getattr(each, name, [])
            ]
            parts += [
                p for handler in getattr(each, "handlers", ()) for p in handler.body
            ]
            return _at(parts, line) or (each if not parts else None)
    return None


def _assigned(function: ast.FunctionDef, line: int) -> dict[str, ast.expr]:
    """Return the last expression with a call that each variable got before a line."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(function):
        match node:
            case ast.Assign([ast.Name(name)], value) if node.lineno < line:
                if any(isinstance(n, ast.Call) for n in ast.walk(value)):
                    found[name] = value
                else:
                    found.pop(name, None)
    return found


class _Values(ast.NodeTransformer):
    """Put expressions and plain values in the place of variables."""

    def __init__(self, expressions: dict[str, ast.expr], values: Mapping[str, str]):
        self._expressions, self._values = expressions, values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace a variable that is read."""
        if not isinstance(node.ctx, ast.Load):
            return node
        if node.id in self._expressions:
            return copy.deepcopy(self._expressions[node.id])
        try:
            value = self._values[node.id]
            ast.literal_eval(value)
            return ast.parse(value, mode="eval").body
        except (KeyError, ValueError, SyntaxError, MemoryError, RecursionError):
            return node


class _Asserts(ast.NodeTransformer):
    """Write methods of unittest as asserts."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        """Replace a call of one of these methods."""
        match node.value:
            case ast.Call(ast.Attribute(ast.Name("self"), name), [left, right, *_]) if (
                name in _COMPARE
            ):
                return ast.Assert(ast.Compare(left, [_COMPARE[name]()], [right]))
            case ast.Call(ast.Attribute(ast.Name("self"), "assertTrue"), [value, *_]):
                return ast.Assert(value)
            case ast.Call(ast.Attribute(ast.Name("self"), "assertFalse"), [value, *_]):
                return ast.Assert(ast.UnaryOp(ast.Not(), value))
            case ast.Call(ast.Attribute(ast.Name("self"), "assertIsNone"), [value, *_]):
                return ast.Assert(ast.Compare(value, [ast.Is()], [ast.Constant(None)]))
        return node

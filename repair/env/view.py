"""The part of a file that a model works on: all of it, or one function."""

import ast
import dataclasses
from collections.abc import Iterable

from repair.env.editor import split_program
from repair.sandbox.syntax import parse_program


@dataclasses.dataclass(frozen=True)
class View:
    """Some lines of a program, without the indentation that they share.

    Attributes:
      before: Lines before them.
      code: The lines, joined.
      after: Lines after them.
      indent: The indentation that was removed.
      name: Name of the function; "" for the whole program.
    """

    before: tuple[str, ...]
    code: str
    after: tuple[str, ...]
    indent: str = ""
    name: str = ""

    def whole(self, code: str) -> str:
        """Return the program with other code in the place of these lines."""
        if not self.name:
            return code
        lines = [self.indent + line if line else line for line in split_program(code)]
        return "\n".join((*self.before, *lines, *self.after))

    def line(self, number: int) -> int | None:
        """Return the number that a line of the program has here, or None."""
        here = number - len(self.before)
        return here if 1 <= here <= len(split_program(self.code)) else None


def whole_view(code: str) -> View:
    """Return the view of a whole program."""
    return View((), code, ())


def function_views(code: str, lines: Iterable[int], names: set[str]) -> list[View]:
    """Return views of a program's functions, the likeliest to be faulty first.

    Args:
      code: The program.
      lines: Lines of a failing traceback, innermost first: their functions lead.
      names: Names in the failing tests; functions of these names follow, then those
        that such functions use, then all others.
    """
    try:
        tree = parse_program(code)
    except (SyntaxError, ValueError):
        return []
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    functions = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    ordered: dict[int, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for line in lines:
        around = [f for f in functions if _first(f) <= line <= (f.end_lineno or 0)]
        if around:
            inner = max(around, key=_first)
            ordered.setdefault(id(inner), inner)
    wanted, known = set(names), set[str]()
    while wanted - known:
        found = [f for f in functions if f.name in wanted - known]
        known |= wanted
        for each in found:
            ordered.setdefault(id(each), each)
            wanted |= _used(each)
    for each in functions:
        ordered.setdefault(id(each), each)
    return [_view(code, each) for each in ordered.values()]


def names_in(source: str) -> set[str]:
    """Return the names and attributes of some statements; none if they do not parse."""
    try:
        return _used(ast.parse(source))
    except (SyntaxError, ValueError):
        return set()


def _used(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    plain = {node.id for node in nodes if isinstance(node, ast.Name)}
    return plain | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def _first(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min(node.lineno for node in (function, *function.decorator_list))


def _view(code: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> View:
    lines = split_program(code)
    start, end = _first(function) - 1, function.end_lineno or 0
    body = lines[start:end]
    indent = body[0][: len(body[0]) - len(body[0].lstrip())]
    if not all(line.startswith(indent) and line != indent for line in body if line):
        indent = ""  # such as a text of several lines that is less indented
    code = "\n".join(line.removeprefix(indent) for line in body)
    return View(tuple(lines[:start]), code, tuple(lines[end:]), indent, function.name)

"""Checks for failures that no repair can mend, before a model is loaded.

Some tests fail for every program, and some programs need modules that the sandbox
lacks. Certain cases are refused, likely ones give a warning.
"""

import ast
import collections
import importlib.util
import re
import sys
from collections.abc import Iterator

from repair.env.sourcefile import SourceFile
from repair.env.usertests.bodies import binds, literal, loads
from repair.env.usertests.read import Tests
from repair.env.usertests.scopes import BUILTINS
from repair.errors import UserError
from repair.sandbox import Result, Sandbox


def doubts(
    tests: Tests, where: str, program: str, code: str, sandbox: Sandbox
) -> list[str]:
    """Return warnings about tests that probably cannot pass.

    Args:
      tests: The tests.
      where: The name of their file.
      program: The name of the program's file.
      code: The program.
      sandbox: Runs the parts of the tests that do without the program.

    Raises:
      UserError: No test uses the program, or one fails for every program.
    """
    words = set(re.findall(r"\w+", code))
    trees = [ast.parse(source) for source in tests.sources]
    asked = [_asked(tree, words | tests.names) for tree in trees]
    names = set().union(*asked)
    if not names or not (tests.named or names & words):
        used = ", ".join(sorted(names)) or "nothing but Python's own"
        raise UserError(
            f"{where} tests nothing of {program}: it uses {used}; give tests that call"
            " what the program defines"
        )
    alone = list(tests.imports)
    for i, (tree, about) in enumerate(zip(trees, asked, strict=True)):
        own = map(ast.unparse, _own_parts(tree, words)) if about else [tests.sources[i]]
        alone += [(tests.lines[i], source) for source in own]
    results = sandbox.map([("", (source,), tests.setup) for _, source in alone])
    for (line, source), result in zip(alone, results, strict=True):
        if not result.passed:
            said = result.feedback.partition(": ")[2] or result.feedback
            raise UserError(
                f"{where}:{line} fails whatever {program} does: `{source}`"
                f" has nothing of it and ends so: {said}"
            )
    return list(_contradictions(tests, trees, where))


def check_imports(file: SourceFile, result: Result) -> None:
    """Refuse a program that fails because the sandbox lacks a module of this machine.

    A module that exists nowhere may be a typing error, which a repair can mend.

    Args:
      file: The program.
      result: Its result in the sandbox.

    Raises:
      UserError: It imports a file of its folder, or an installed package.
    """
    missing = re.search(r"No module named '([^'.]+)|relative import", result.feedback)
    if not missing or missing[1] in sys.stdlib_module_names:
        return
    top, folder = missing[1], file.path.parent
    if top and not (
        any((folder / name).exists() for name in (top, f"{top}.py"))
        or importlib.util.find_spec(top)
    ):
        return
    for node in ast.walk(ast.parse(file.code)):
        match node:
            case ast.Import(names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module, _, level):
                found = ["." * level + (module or "")]
            case _:
                continue
        for name in found:
            if name.partition(".")[0] == (top or ""):
                raise UserError(
                    f"{file.path}:{node.lineno} imports {name}, which the sandbox does"
                    " not have: programs there have the standard library alone"
                )


def _asked(tree: ast.AST, words: set[str]) -> set[str]:
    """Return the names of the program that a test uses."""
    ours = (BUILTINS | sys.stdlib_module_names | {"_approx"}) - words
    return loads(tree).keys() - binds(tree).keys() - ours


def _own_parts(tree: ast.Module, words: set[str]) -> Iterator[ast.expr]:
    """Return the largest expressions of a bare assert that use builtin names only."""
    match tree.body:
        case [ast.Assert(test)]:
            waiting = [test]
        case _:
            return
    python = BUILTINS - words
    while waiting:
        node = waiting.pop()
        if literal(node) or isinstance(node, ast.Name | ast.Constant):
            continue
        if loads(node).keys() - binds(node).keys() <= python:
            yield node
        else:
            waiting += _always_evaluated(node)


def _always_evaluated(node: ast.expr) -> list[ast.expr]:
    """Return the parts of an expression that are always evaluated."""
    match node:
        case ast.Compare(left, _, [right, *_]):
            return [left, right]
        case ast.Call(function, arguments, keywords):
            return [function, *arguments, *(each.value for each in keywords)]
        case ast.BinOp(left, _, right):
            return [left, right]
        case ast.UnaryOp(_, inner) | ast.Attribute(inner) | ast.BoolOp(_, [inner, *_]):
            return [inner]
        case ast.List(items) | ast.Tuple(items) | ast.Set(items):
            return [each for each in items if not isinstance(each, ast.Starred)]
        case ast.Subscript(inner, index) if not isinstance(index, ast.Slice):
            return [inner, index]
    return []


def _contradictions(tests: Tests, trees, where: str) -> Iterator[str]:
    """Return asserts that expect different values of equal calls."""
    wanted: dict[str, list[tuple[int, object]]] = collections.defaultdict(list)
    for tree, line in zip(trees, tests.lines, strict=True):
        match tree.body:
            case [ast.Assert(ast.Compare(ast.Call() as call, [ast.Eq()], [value]))]:
                known = literal(value)
                if known:
                    wanted[ast.unparse(call)].append((line, known[0]))
    for call, ((first, value), *others) in wanted.items():
        for line, other in others:
            if other != value:
                yield (
                    f"{where} wants two values of {call}, in lines {first} and {line};"
                    " both can only hold if the program remembers its calls"
                )
                break

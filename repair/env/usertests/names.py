"""What the names of a tests file mean: the program's, pytest's, the library's, its own.

The program's names are already there where the sandbox runs a test, and pytest is not,
so a tests file loses its imports of both; names that were given by them are written as
the program and pytest have them.
"""

import ast
import sys

from repair.env.usertests.bodies import binds
from repair.errors import UserError


def settle(
    tree: ast.Module, where: str, module: str
) -> tuple[ast.Module, bool, set[str]]:
    """The tests without imports of the program and of pytest.

    Args:
      tree: A tests file; it is changed.
      where: Its name, for errors.
      module: The program's name as a module.

    Returns:
      The tests, whether they have imported the program, and what they have from it
      by name.

    Raises:
      UserError: It imports what the sandbox does not have, or uses one name for two
        things.
    """
    imports = _Imports(where, module)
    tree = imports.visit(tree)
    given = {
        *(*imports.program, *imports.modules),
        *(*imports.pytest, *imports.from_pytest),
    }
    own = _own_names(tree)
    for name in given & own.keys():
        raise UserError(
            f"{where}:{own[name]} gives {name} a meaning of its own, and it is imported"
            " too; choose another name"
        )
    asked = {value for name, value in imports.program.items() if name != value}
    asked |= {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and _names(n.value, imports.modules)
    }
    renamed = {name: _fresh(name, own, asked) for name in asked & own.keys()}
    for n in ast.walk(tree):
        if isinstance(n, ast.Name) and n.id in renamed:
            n.id = renamed[n.id]
        elif renamed.keys() & _defined(n):
            (name, *_) = renamed.keys() & _defined(n)
            raise UserError(
                f"{where}:{getattr(n, 'lineno', 1)} gives {name} a meaning of its own,"
                f" and {module} has one too; choose another name"
            )
    return (
        _Plain(where, imports).visit(tree),
        imports.named,
        set(imports.program.values()),
    )


def _own_names(tree: ast.AST) -> dict[str, int]:
    """Names that the file gives a meaning, and a line where it does."""
    return {
        name: n.lineno
        for n in ast.walk(tree)
        if hasattr(n, "lineno")
        for name in binds(n)
    }


def _defined(node: ast.AST) -> set[str]:
    """Names that a node itself defines in another way than by assigning to them."""
    match node:
        case ast.arg(name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.alias(name, kept):
            return {kept or name.partition(".")[0]}
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return {name}
        case ast.Global(names) | ast.Nonlocal(names):
            return set(names)
    return set()


def _fresh(name: str, own, asked) -> str:
    while name in own or name in asked:
        name += "_"
    return name


def _names(node: ast.expr, modules) -> bool:
    return isinstance(node, ast.Name) and node.id in modules


class _Imports(ast.NodeTransformer):
    """Takes imports of the program and of pytest out, wherever they stand.

    Attributes:
      program: Names that were imported from the program, with what it calls them.
      modules: Names for the program itself.
      pytest: Names for pytest.
      from_pytest: Names that were imported from pytest, with what it calls them.
      named: Whether the program was imported at all.
    """

    def __init__(self, where: str, module: str):
        self._where, self._module = where, module
        self.program: dict[str, str] = {}
        self.modules: set[str] = set()
        self.pytest: set[str] = set()
        self.from_pytest: dict[str, str] = {}
        self.named = False

    def visit_Import(self, node: ast.Import):  # noqa: N802
        kept = []
        for alias in node.names:
            if alias.name.rpartition(".")[2] == self._module and (
                alias.asname or "." not in alias.name
            ):
                self.modules.add(alias.asname or alias.name)
                self.named = True
            elif alias.name == "pytest":
                self.pytest.add(alias.asname or "pytest")
            else:
                self._check(alias.name, node)
                kept.append(alias)
        return self._left(node, kept)

    def visit_ImportFrom(self, node: ast.ImportFrom):  # noqa: N802
        origin = node.module or ""
        if origin == "__future__":
            return self._left(node, [])
        if origin.rpartition(".")[2] == self._module:
            self.named = True
            for alias in node.names:
                name = alias.asname or alias.name
                if name.lower().startswith("test"):
                    raise UserError(
                        f"{self._where}:{node.lineno} imports {alias.name}, which"
                        " pytest would take for a test; give it another name"
                    )
                if name != "*":
                    self.program[name] = alias.name
            return self._left(node, [])
        if origin == "pytest":
            for alias in node.names:
                self.from_pytest[alias.asname or alias.name] = alias.name
            return self._left(node, [])
        kept = []
        for alias in node.names:
            if alias.name == self._module and not _standard(origin):
                self.modules.add(alias.asname or alias.name)
                self.named = True
            else:
                self._check("." * node.level + origin, node)
                kept.append(alias)
        return self._left(node, kept)

    def _left(self, node, kept: list):
        if not kept:
            return ast.copy_location(ast.Pass(), node)
        node.names = kept
        return node

    def _check(self, name: str, node: ast.stmt) -> None:
        if not _standard(name):
            raise UserError(
                f"{self._where}:{node.lineno} imports {name}; in the sandbox there are"
                f" {self._module}, what stands for pytest, and the standard library"
            )


def _standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


class _Plain(ast.NodeTransformer):
    """Writes names as the program and pytest have them."""

    def __init__(self, where: str, meanings: _Imports):
        self._where, self._meanings = where, meanings

    def visit_Attribute(self, node: ast.Attribute):  # noqa: N802
        if not _names(node.value, self._meanings.modules):
            return self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            raise UserError(
                f"{self._where}:{node.lineno} changes {node.attr} of the program, which"
                " tests for the sandbox cannot do"
            )
        return ast.copy_location(ast.Name(node.attr, node.ctx), node)

    def visit_Name(self, node: ast.Name):  # noqa: N802
        meanings = self._meanings
        if node.id in meanings.modules:
            raise UserError(
                f"{self._where}:{node.lineno} uses the module {node.id} as a whole; use"
                " names in it"
            )
        if node.id in meanings.pytest:
            made = ast.Name("pytest", node.ctx)
        elif node.id in meanings.from_pytest:
            name = meanings.from_pytest[node.id]
            made = ast.Attribute(ast.Name("pytest", ast.Load()), name, node.ctx)
        elif node.id in meanings.program:
            made = ast.Name(meanings.program[node.id], node.ctx)
        else:
            return node
        return ast.fix_missing_locations(ast.copy_location(made, node))

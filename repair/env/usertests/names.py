"""Resolution of a tests file's names: the program's, pytest's, the library's, its own.

In the sandbox the program's names exist already, and pytest does not. So a tests file
loses its imports of both, and their aliases become the original names.
"""

import ast
import dataclasses
import re
import sys

from repair.env.usertests.bodies import binds
from repair.env.usertests.scopes import (
    OF_A_MODULE,
    check_order,
    given_by,
    scope,
    settle_free,
)
from repair.errors import UserError


@dataclasses.dataclass(frozen=True)
class Settled:
    """A tests file without imports of the program and of pytest.

    Attributes:
      tree: The file.
      named: True if it has imported the program.
      imported: Names that it imports from the program.
      asked: The same, and attributes of the program's module that it uses.
    """

    tree: ast.Module
    named: bool
    imported: frozenset[str]
    asked: frozenset[str]


def settle(tree: ast.Module, where: str, module: str, code: str) -> Settled:
    """Resolve each name of the tests to one meaning, the same as in pytest.

    Args:
      tree: The parts of a tests file that run; it is changed.
      where: Its name, for errors.
      module: The program's name as a module.
      code: The program.

    Raises:
      UserError: It imports what the sandbox does not have, uses one name for two
        things, or one that nothing gives.
    """
    scopes = [scope(statement) for statement in tree.body]
    check_order(tree.body, scopes, where)
    imports = _Imports(where, module)
    tree = imports.visit(tree)
    own = _own_names(tree)
    for name in imports.meanings.keys() & own.keys():
        raise UserError(
            f"{where}:{own[name]} gives {name} a meaning of its own, and it is imported"
            " too; choose another name"
        )
    imported = imports.of("program")
    modules = imports.of("module")
    through = {
        n.attr: n.lineno
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and _names(n.value, modules)
    }
    asked = through.keys() | set(imported.values())
    for name in asked & OF_A_MODULE:
        raise UserError(
            f"{where}:{through.get(name, 1)} uses {name} of {module}, which is another"
            " one in the sandbox; mend the tests"
        )
    absent = None
    others = asked | imports.meanings.keys()
    if imports.star:
        absent = "_"
        _check_star(code, where, module)
    elif imports.named:
        absent = ""
        others |= given_by(code)
    settle_free(tree.body, scopes, where, absent, others)
    _rename(tree, where, module, own, asked)
    return Settled(
        _Plain(where, imports).visit(tree),
        imports.named,
        frozenset(imported.values()),
        frozenset(asked),
    )


def _check_star(code: str, where: str, module: str) -> None:
    """Refuse `import *` of a program from which pytest would take other names."""
    for pattern in (r"__all__", r"(?:async )?def test\w*", r"class \w*Test\w*"):
        found = re.search(f"^{pattern}", code, re.MULTILINE)
        if found:
            raise UserError(
                f"{where} imports * from {module}, and pytest would heed its"
                f" {found[0]}; import names"
            )


def _rename(tree: ast.Module, where: str, module: str, own, asked: set[str]) -> None:
    """Rename definitions of the file that hide names of the program."""
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


def _own_names(tree: ast.AST) -> dict[str, int]:
    """Return the names that the file binds, each with a line."""
    return {
        name: n.lineno
        for n in ast.walk(tree)
        if hasattr(n, "lineno")
        for name in binds(n)
    }


def _defined(node: ast.AST) -> set[str]:
    """Return the names that a node binds other than by assignment."""
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
    """Remove imports of the program and of pytest, anywhere in the file.

    Attributes:
      meanings: For each name imported from the program or from pytest, its kind
        ("program", "module", "pytest", "from pytest") and its original name.
      named: True if the program was imported.
      star: True if all of its names were imported.
    """

    def __init__(self, where: str, module: str):
        self._where, self._module = where, module
        self.meanings: dict[str, tuple[str, str]] = {}
        self.named = self.star = False

    def of(self, kind: str) -> dict[str, str]:
        """Return the names of a kind, with the original name of each."""
        found = self.meanings.items()
        return {name: origin for name, (its, origin) in found if its == kind}

    def _give(self, name: str, kind: str, origin: str, node: ast.stmt) -> None:
        if self.meanings.setdefault(name, (kind, origin)) != (kind, origin):
            raise UserError(
                f"{self._where}:{node.lineno} imports {name} in a second meaning;"
                " choose another name"
            )
        self.named |= kind in ("program", "module")

    def visit_Import(self, node: ast.Import):  # noqa: N802
        kept = []
        for alias in node.names:
            if self._is_program(alias.name) and (alias.asname or "." not in alias.name):
                name = alias.asname or alias.name
                self._give(name, "module", self._module, node)
            elif alias.name == "pytest":
                self._give(alias.asname or "pytest", "pytest", "pytest", node)
            else:
                self._check(alias.name, node)
                kept.append(alias)
        return self._left(node, kept)

    def visit_ImportFrom(self, node: ast.ImportFrom):  # noqa: N802
        origin = node.module or ""
        if self._is_program(origin):
            for alias in node.names:
                name = alias.asname or alias.name
                if name.lower().startswith("test"):
                    raise UserError(
                        f"{self._where}:{node.lineno} imports {alias.name}, which"
                        " pytest would take for a test; give it another name"
                    )
                if name == "*":
                    self.named = self.star = True
                else:
                    self._give(name, "program", alias.name, node)
            return self._left(node, [])
        kept = []
        for alias in node.names:
            name = alias.asname or alias.name
            if origin == "pytest":
                self._give(name, "from pytest", alias.name, node)
            elif alias.name == self._module and not _standard(origin):
                self._give(name, "module", self._module, node)
            else:
                self._check("." * node.level + origin, node)
                kept.append(alias)
        return self._left(node, kept)

    def _is_program(self, origin: str) -> bool:
        """Return True if a module is the program; `urllib.parse` is not parse.py."""
        if "." in origin and _standard(origin):
            return False
        return origin.rpartition(".")[2] == self._module

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
    """Replace aliases by the names in the program and in pytest."""

    def __init__(self, where: str, imports: _Imports):
        self._where, self._meanings = where, imports.meanings
        self._modules = imports.of("module")

    def visit_Attribute(self, node: ast.Attribute):  # noqa: N802
        if not _names(node.value, self._modules):
            return self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            raise UserError(
                f"{self._where}:{node.lineno} changes {node.attr} of the program, which"
                " tests for the sandbox cannot do"
            )
        return ast.copy_location(ast.Name(node.attr, node.ctx), node)

    def visit_Name(self, node: ast.Name):  # noqa: N802
        match self._meanings.get(node.id):
            case ("module", _):
                raise UserError(
                    f"{self._where}:{node.lineno} uses the module {node.id} as a whole;"
                    " use names in it"
                )
            case ("program", origin):
                made: ast.expr = ast.Name(origin, node.ctx)
            case ("pytest", _):
                made = ast.Name("pytest", node.ctx)
            case ("from pytest", origin):
                made = ast.Attribute(ast.Name("pytest", ast.Load()), origin, node.ctx)
            case _:
                return node
        return ast.fix_missing_locations(ast.copy_location(made, node))

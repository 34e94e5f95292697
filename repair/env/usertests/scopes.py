"""Scopes: the names that each statement of a tests file reads and binds.

As Python's compiler sees them: a function's local names do not count.
"""

import ast
import builtins
import dataclasses
import re
import symtable
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from repair.env.usertests.bodies import binds, substitute
from repair.errors import UserError

_INLINE = frozenset("listcomp setcomp dictcomp genexpr".split())
# Names of a module for itself: in the sandbox these would be the program's.
OF_A_MODULE = frozenset(
    f"__{name}__" for name in "builtins dict doc file loader name package spec".split()
)
BUILTINS = frozenset(vars(builtins)) - OF_A_MODULE - {"globals"}


@dataclasses.dataclass(frozen=True)
class Scope:
    """The names of one statement of the file's top level.

    Attributes:
      gives: Those that it binds.
      takes: Those that it reads from the file or the builtins.
      at_once: Those of them that it reads at import.
    """

    gives: frozenset[str]
    takes: frozenset[str]
    at_once: frozenset[str]


def scope(statement: ast.stmt) -> Scope:
    """Return a statement's names."""
    top = symtable.symtable(ast.unparse(statement), "tests", "exec")
    gives = [s for s in top.get_symbols() if s.is_assigned() or s.is_imported()]
    takes = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    return Scope(
        gives=frozenset(each.get_name() for each in gives),
        takes=frozenset(takes.union(*_taken(top, at_once=False))),
        at_once=frozenset(takes.union(*_taken(top, at_once=True))),
    )


def _taken(table: symtable.SymbolTable, at_once: bool) -> Iterator[set[str]]:
    """Return the names that inner scopes read from the file."""
    for child in table.get_children():
        runs = child.get_type() == "class" or child.get_name() in _INLINE
        if runs or not at_once:
            symbols = [s for s in child.get_symbols() if s.is_global()]
            yield {s.get_name() for s in symbols if s.is_referenced()}
            yield from _taken(child, at_once)


def check_order(body: Sequence[ast.stmt], scopes: Sequence[Scope], where: str) -> None:
    """Refuse names that are read before they are bound, since definitions move.

    Raises:
      UserError: There is one.
    """
    first: dict[str, int] = {}
    for i, each in enumerate(scopes):
        for name in each.gives:
            first.setdefault(name, i)
    for i, each in enumerate(scopes):
        for name in sorted(each.at_once):
            if first.get(name, i) > i:
                line = body[first[name]].lineno
                _refuse(where, body[i], name, f"which only line {line} defines")


def settle_free(
    body: list[ast.stmt],
    scopes: Sequence[Scope],
    where: str,
    absent: str | None,
    others: set[str],
) -> None:
    """Resolve names that the file does not bind as pytest does.

    Args:
      body: The file's statements; they are changed.
      scopes: Of each of them.
      where: The file's name, for errors.
      absent: Prefix of names that pytest would not find in the program: "" for all
        where the file imports it by names, None where it finds every name.
      others: Names that are somewhere bound to other objects than the builtins.

    Raises:
      UserError: pytest would find no such name.
    """
    given = frozenset().union(*(each.gives for each in scopes))
    for i, each in enumerate(scopes):
        free = each.takes - given
        for name in sorted(free & {*OF_A_MODULE, "globals"}):
            _refuse(where, body[i], name, "which is another one in the sandbox")
        for name in sorted(free - BUILTINS):
            if absent is not None and name.startswith(absent):
                _refuse(where, body[i], name, "which it neither defines nor imports")
        python = {}
        for name in sorted(free & BUILTINS & others):
            if binds(body[i])[name]:
                _refuse(where, body[i], name, "and gives it another meaning beside")
            text = f"__import__('builtins').{name}"
            python[name] = ast.parse(text, mode="eval").body
        if python:
            body[i] = substitute(body[i], **python)


def given_by(code: str) -> set[str]:
    """Return the names that a program binds, or may bind if it is no Python."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return set(re.findall(r"\w+", "".join(re.findall(r"^\S.*\n?", code, re.M))))
    found = set(re.findall(r"\w+", " ".join(re.findall(r"\bglobal (.*)", code))))
    for statement in body:
        match statement:
            case ast.ImportFrom(origin, [ast.alias("*")]):
                known = sys.modules.get(origin or "")
                found |= (
                    set(getattr(known, "__all__", vars(known))) if known else BUILTINS
                )
            case _:
                found |= scope(statement).gives
    return found


def _refuse(where: str, statement: ast.stmt, name: str, what: str) -> NoReturn:
    lines = [
        n.lineno
        for n in ast.walk(statement)
        if isinstance(n, ast.Name) and n.id == name
    ]
    line = min(lines, default=statement.lineno)  # a class's own __names are not there
    raise UserError(f"{where}:{line} uses {name}, {what}; mend the tests")

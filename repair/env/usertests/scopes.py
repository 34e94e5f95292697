"""Which names each statement of a tests file takes from the file, and which it gives.

As Python's own compiler sees them: a name that is local to a function is neither.
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
# What a module knows of itself: in the sandbox these would be the program's.
OF_A_MODULE = frozenset(
    f"__{name}__" for name in "builtins dict doc file loader name package spec".split()
)
BUILTINS = frozenset(vars(builtins)) - OF_A_MODULE - {"globals"}


@dataclasses.dataclass(frozen=True)
class Scope:
    """The names of one statement of the file's top level.

    Attributes:
      gives: Those that it gives the file.
      takes: Those that it takes from the file, or from what is beneath.
      at_once: Those of them that it takes when the file is loaded.
    """

    gives: frozenset[str]
    takes: frozenset[str]
    at_once: frozenset[str]


def scope(statement: ast.stmt) -> Scope:
    """Finds a statement's names."""
    top = symtable.symtable(ast.unparse(statement), "tests", "exec")
    gives = [s for s in top.get_symbols() if s.is_assigned() or s.is_imported()]
    takes = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    return Scope(
        gives=frozenset(each.get_name() for each in gives),
        takes=frozenset(takes.union(*_taken(top, at_once=False))),
        at_once=frozenset(takes.union(*_taken(top, at_once=True))),
    )


def _taken(table: symtable.SymbolTable, at_once: bool) -> Iterator[set[str]]:
    """What scopes within another one take from the file."""
    for child in table.get_children():
        runs = child.get_type() == "class" or child.get_name() in _INLINE
        if runs or not at_once:
            symbols = [s for s in child.get_symbols() if s.is_global()]
            yield {s.get_name() for s in symbols if s.is_referenced()}
            yield from _taken(child, at_once)


def check_order(body: Sequence[ast.stmt], scopes: Sequence[Scope], where: str) -> None:
    """Refuses names that are read before the file gives them, since definitions move.

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
    """Lets names that the file does not give mean what they mean to pytest.

    Args:
      body: The file's statements; they are changed.
      scopes: Of each of them.
      where: The file's name, for errors.
      absent: How names begin that pytest would not find among the program's: all ("")
        where the file imports it by names, and None where its names are simply meant.
      others: Names that mean something else than Python's own somewhere.

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
    """Names that a program gives itself; if it is no Python, those that it may give."""
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

"""A screen of programs that may share a child: their source reaches no other program.

It protects neighbours from each other only. The isolation of a child and the verdict
on its values do not depend on it.
"""

import ast
import functools
import importlib
import re
import types

from repair.sandbox import syntax

MAX_CHARS = 20_000

# Changing the contents of these modules takes storing an attribute.
_MODULES = frozenset(
    "bisect cmath collections collections.abc copy fractions functools heapq "
    "itertools math operator re statistics string typing".split()
)
_NAMES = frozenset(
    "attrgetter breakpoint compile delattr dir eval exec exit getattr get_type_hints "
    "globals help input locals memoryview methodcaller open quit setattr type "
    "vars Formatter ForwardRef".split()
)
# Frames and code give access to other programs.
_ATTRIBUTES = frozenset(
    "ag_frame cr_frame f_back f_builtins f_globals f_locals format_map gi_frame "
    "tb_frame tb_next".split()
)
_STATEMENTS = frozenset(
    "async await case class from global import match nonlocal".split()
)
_WORD = re.compile(r"[A-Za-z]\w*")
_HIDDEN = re.compile(r"(?<!\w)_\w")
# An attribute that is not called at once.
_STORED = re.compile(r"\.(?!\d|[A-Za-z]\w*+\()")
_METHODS = frozenset(
    f"__{name}__"
    for name in (
        "abs add and bool call contains enter eq exit floordiv ge getitem gt hash "
        "iadd init int isub iter le len lt mod mul ne neg next or post_init pow radd "
        "repr reversed rmul rsub setitem str sub truediv xor"
    ).split()
)


def may_share(code: str, tests: tuple[str, ...], setup: str) -> bool:
    """Return True if a job may share a process with others of which that is true.

    A program that does not compile may: it never runs.
    """
    for source in (code, setup, *tests):
        if len(source) > MAX_CHARS:
            return False
        if _plainly_harmless(source):
            continue
        try:
            tree = syntax.parse_program(source)
        except SyntaxError:
            continue
        except (ValueError, MemoryError, RecursionError):
            return False
        if not all(_harmless(node) for node in ast.walk(tree)):
            return False
    return True


def _plainly_harmless(source: str) -> bool:
    """Return True if the words alone prove it, ten times faster than the tree.

    No word is one that the tree would be searched for, and every attribute is called
    at once, so none is stored. ASCII only: other letters may be normalised to a word.
    """
    return (
        source.isascii()
        and not _STORED.search(source)
        and _suspicious_words().isdisjoint(_WORD.findall(source))
        and not _HIDDEN.search(source)
    )


@functools.cache
def _suspicious_words() -> frozenset[str]:
    return _NAMES | _ATTRIBUTES | _inner_modules() | _STATEMENTS


def _harmless(node: ast.AST) -> bool:
    match node:
        case ast.Import(names):
            return all(alias.name in _MODULES for alias in names)
        case ast.ImportFrom(module, names, level):
            known = module in _MODULES and not level
            return known and not any(_leads_out(alias.name) for alias in names)
        case ast.Attribute(value, name, context):
            if _leads_out(name):
                return False
            own = isinstance(value, ast.Name) and value.id == "self"
            return isinstance(context, ast.Load) or own
        case ast.Name(name):
            return name not in _NAMES and not _hidden(name)
        case ast.FunctionDef(name=name):
            return not _hidden(name) or name in _METHODS
        case ast.ClassDef(name=name, keywords=keywords):
            return not _hidden(name) and not keywords
        case ast.MatchClass(kwd_attrs=attributes):
            return not any(name.startswith("_") for name in attributes)
        case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
            return False
        case ast.Global(names) | ast.Nonlocal(names):
            return not any(_hidden(name) for name in names)
        case ast.arg(name) | ast.keyword(name):
            return name is None or not _hidden(name)
    return True


@functools.cache
def _inner_modules() -> frozenset[str]:
    """Return the names of modules inside of modules, such as `statistics.sys`."""
    modules = map(importlib.import_module, _MODULES)
    return frozenset(
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, types.ModuleType) and name != "abc"
    )


def _leads_out(name: str) -> bool:
    """Return True if an attribute of this name may lead outside of the program."""
    return name.startswith("_") or name in _ATTRIBUTES | _NAMES | _inner_modules()


def _hidden(name: str) -> bool:
    return name.startswith("__")

"""Slips found on the syntax tree: common mistakes in programs that still parse.

| kind | change | example |
|---|---|---|
| operator | an operator of arithmetic, comparison or logic | `a < b` to `a <= b` |
| constant | a number by one, a truth value, a string to another one | `7` to `8` |
| swap_arguments | two positional arguments of a call | `f(a, b)` to `f(b, a)` |
| off_by_one | a bound of range or of a slice, or an index | `xs[i]` to `xs[i + 1]` |
| variable | a variable that is read, to another of its scope | `n` to `s` |
| drop_branch | a branch goes, or its condition does and its lines stay | `if x:` |

Positions in the tree tell the characters on a line that change, so blanks, comments and
quotes stay as they were. Text inside f-strings and annotations is left alone.
"""

import ast
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from repair.tasks.source import Source, Span, children, walk

# Most lines that a dropped branch may touch: each costs one command to restore.
MOST_LINES = 4

_ARITHMETIC = ("+", "-", "*", "/", "//", "%")
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
# Operators that replace one another. None becomes a power or a left shift, whose
# values could fill the memory.
_SLIPS = {
    **{op: tuple(o for o in _ARITHMETIC if o != op) for op in _ARITHMETIC},
    **{op: tuple(o for o in _COMPARISONS if o != op) for op in _COMPARISONS},
    **{"**": ("*",), "<<": (">>",), ">>": ("//",), "&": ("|", "^"), "|": ("&", "^")},
    **{"^": ("&", "|"), "and": ("or",), "or": ("and",), "is": ("is not",)},
    **{"is not": ("is",), "in": ("not in",), "not in": ("in",)},
}
_LARGEST = 10**15  # larger numbers stay as they are
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# A line and its new text, or None if it goes.
Edit = tuple[int, str | None]
# A stretch, None if it has more lines than one, and the texts that could replace it.
_Site = tuple[Span | None, Sequence[str]]


def propose(
    kind: str, lines: Sequence[str], rng: random.Random
) -> tuple[Edit, ...] | None:
    """Draw one slip of a kind as edits of single lines, to be made in this order.

    None where the program does not parse or has no place for the kind, so that another
    draw would find none either; () where the drawn slip would not parse.
    """
    source = Source.read(lines)
    if source is None:
        return None
    edits: tuple[Edit, ...]
    if kind == "drop_branch":
        ways = list(_drops(source))
        if not ways:
            return None
        edits = rng.choice(ways)
    else:
        found = _FINDERS[kind](source)
        sites = [(span, others) for span, others in found if span and others]
        if not sites:
            return None
        (number, start, end), others = rng.choice(sites)
        line = lines[number - 1]
        edits = ((number, line[:start] + rng.choice(others) + line[end:]),)
    changed = list(lines)
    for number, text in edits:
        changed[number - 1 : number] = [] if text is None else [text]
    return () if Source.read(changed) is None else edits


def _operators(source: Source) -> Iterator[_Site]:
    for node in walk(source.tree):
        match node:
            case ast.BinOp(left, _, right) | ast.AugAssign(left, _, right):
                sides = [left, right]
            case ast.Compare(left, _, comparators):
                sides = [left, *comparators]
            case ast.BoolOp(_, sides):
                pass
            case _:
                continue
        for left, right in itertools.pairwise(sides):
            span, sign = source.operator(left, right)
            others = _SLIPS.get(sign)
            if others is None:  # an assignment's, such as +=
                others = tuple(op + "=" for op in _SLIPS.get(sign[:-1], ()))
            yield span, others


def _constants(source: Source) -> Iterator[_Site]:
    texts: dict[str, str] = {}
    found: list[ast.Constant] = []
    for node in walk(source.tree):
        for child in children(node):
            # A string that is a statement is a docstring.
            if isinstance(child, ast.Constant) and not isinstance(node, ast.Expr):
                found.append(child)
                if isinstance(child.value, str) and source.span(child):
                    texts.setdefault(child.value, source.text(child))
    for node in found:
        match node.value:
            case bool(value):
                yield source.span(node), [str(not value)]
            case int(value) | float(value) if abs(value) < _LARGEST:
                yield source.span(node), [repr(value + 1), repr(value - 1)]
            case str(value):
                others = [text for other, text in texts.items() if other != value]
                yield source.span(node), others


def _arguments(source: Source) -> Iterator[_Site]:
    for node in walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        plain = [a for a in node.args if not isinstance(a, ast.Starred)]
        spans = filter(None, map(source.span, plain))
        for (line, start, end), (other, begin, stop) in itertools.combinations(
            spans, 2
        ):
            text = source.lines[line - 1]
            first, second = text[start:end], text[begin:stop]
            if other == line and first != second:
                yield (line, start, stop), [second + text[end:begin] + first]


def _bounds(source: Source) -> Iterator[_Site]:
    bounds: Sequence[ast.expr | None]
    for node in walk(source.tree):
        match node:
            case ast.Call(ast.Name("range"), bounds):
                pass
            case ast.Subscript(slice=ast.Slice(lower, upper)):
                bounds = [lower, upper]
            case ast.Subscript(slice=index):
                bounds = [index]
            case _:
                continue
        for bound in bounds:
            if bound is not None and source.span(bound):
                yield source.span(bound), _neighbours(source, bound)


def _neighbours(source: Source, bound: ast.expr) -> list[str]:
    """Return the bound plus and minus one; nothing for all but numbers."""
    text = source.text(bound)
    match bound:
        case ast.Constant(int(value)) if not isinstance(value, bool):
            return [str(value + 1), str(value - 1)]
        case ast.UnaryOp(ast.USub(), ast.Constant(int(value))):
            return [str(1 - value), str(-1 - value)]
        case ast.BinOp(left, ast.Add() | ast.Sub(), ast.Constant(1)) if text[-1] == "1":
            return [source.text(left), text[:-1] + "2"]
        case ast.BinOp(_, ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv()):
            return [f"{text} + 1", f"{text} - 1"]
        case ast.Name() | ast.Attribute() | ast.Subscript() | ast.Call():
            return [f"{text} + 1", f"{text} - 1"]
    return []


def _variables(source: Source) -> Iterator[_Site]:
    names = dict.fromkeys(n for part in source.tree.body for n in _stored(part))
    for node, scope in _read_names(source.tree, tuple(names)):
        if node.id in scope:
            yield source.span(node), [name for name in scope if name != node.id]


def _read_names(
    node: ast.AST, scope: tuple[str, ...]
) -> Iterator[tuple[ast.Name, tuple[str, ...]]]:
    """Yield the names read at or below a node, each with the variables of its scope."""
    below: Sequence[ast.AST] = list(children(node))
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node, scope
    elif isinstance(node, ast.ClassDef):
        scope = ()
    elif isinstance(node, _COMPREHENSIONS):
        first = node.generators[0]
        yield from _read_names(first.iter, scope)  # it does not see the targets
        bound = [n for each in node.generators for n in _stored(each.target)]
        scope = tuple(dict.fromkeys([*scope, *bound]))
        below = [*first.ifs, *(part for part in below if part is not first)]
    elif isinstance(node, _FUNCTIONS):
        # Defaults and decorators belong to the enclosing scope.
        outside = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        for part in outside + getattr(node, "decorator_list", []):
            yield from _read_names(part, scope)
        scope = _scope(node)
        below = node.body if isinstance(node.body, list) else [node.body]
    for part in below:
        yield from _read_names(part, scope)


def _scope(function) -> tuple[str, ...]:
    """Return the names that a function binds: its parameters and assigned names."""
    a = function.args
    parameters = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
    names = [parameter.arg for parameter in parameters if parameter]
    if isinstance(function.body, list):
        names += [name for part in function.body for name in _stored(part)]
    return tuple(dict.fromkeys(names))


def _stored(node: ast.AST) -> Iterator[str]:
    """Yield the names that are assigned at or below a node, in its own scope."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if not isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef)):
        for child in children(node):
            yield from _stored(child)


def _drops(source: Source) -> Iterator[tuple[Edit, ...]]:
    """Yield ways to lose a branch of an `if`, each with its last line first."""
    for node in walk(source.tree):
        if not isinstance(node, ast.If):
            continue
        # Comments may stand between the condition and the first statement.
        colons = (t.start for t in source.tokens if t.string == ":")
        begin = next(at[0] for at in colons if at >= source.end(node.test)) + 1
        if node.body[0].lineno < begin:
            continue  # all on one line
        end = source.end(node.body[-1])[0] + 1
        body, header = _gone(range(begin, end)), _gone(range(node.lineno, begin))
        rest = _gone(range(end, source.end(node)[0] + 1))
        is_elif = source.lines[node.lineno - 1].lstrip().startswith("elif")
        ways = []
        if node.orelse:
            ways.append(rest)
        if not node.orelse or is_elif:
            ways.append(body + header)
        if not is_elif:
            kept = _dedented(source, body, node.col_offset, node.body[0].col_offset)
            if kept is not None:
                ways.append(rest + kept + header)
        yield from (tuple(way) for way in ways if 0 < len(way) <= MOST_LINES)


def _gone(lines: range) -> list[Edit]:
    return [(line, None) for line in reversed(lines)]


def _dedented(
    source: Source, body: Sequence[Edit], outer: int, inner: int
) -> list[Edit] | None:
    """Return edits that move lines out of their block; None if one cannot move."""
    edits: list[Edit] = []
    for number, _ in body:
        line = source.lines[number - 1]
        if not line.strip():
            continue
        if line[:inner].strip() or _inside_string(source, number):
            return None
        edits.append((number, line[:outer] + line[inner:]))
    return edits


def _inside_string(source: Source, number: int) -> bool:
    """Return True for a line that begins within a string, whose blanks are its own."""
    return any(
        isinstance(node, ast.Constant | ast.JoinedStr)
        and node.lineno < number <= source.end(node)[0]
        for node in walk(source.tree)
    )


_FINDERS: dict[str, Callable[[Source], Iterator[_Site]]] = {
    "operator": _operators,
    "constant": _constants,
    "swap_arguments": _arguments,
    "off_by_one": _bounds,
    "variable": _variables,
}
MORE_KINDS = (*_FINDERS, "drop_branch")

"""What a test function does, as statements that the sandbox judges one by one.

`result = f(2)` and `assert result == 4` become `assert f(2) == 4`, and a loop over
literals becomes an assert for each of them: only where no verdict changes by it. What
cannot be made so short stays as it is.
"""

import ast
import collections
import copy

_LOOPS = (
    ast.For | ast.While | ast.AsyncFor | ast.Lambda | ast.FunctionDef | ast.ClassDef
)


def literal(node: ast.expr) -> tuple | None:
    """The value of a literal, in a tuple."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


def frozen(value) -> bool:
    """Whether nothing can change the value, so that all may share it."""
    if isinstance(value, tuple):
        return all(map(frozen, value))
    return value is None or isinstance(
        value, bool | int | float | complex | str | bytes
    )


def loads(*nodes: ast.AST) -> collections.Counter[str]:
    """How often each name is read."""
    return collections.Counter(
        n.id
        for node in nodes
        for n in ast.walk(node)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    )


def binds(*nodes: ast.AST) -> collections.Counter[str]:
    """How often each name is given a meaning, wherever in the nodes."""
    found: collections.Counter[str] = collections.Counter()
    for node in nodes:
        for n in ast.walk(node):
            match n:
                case ast.Name(name, ast.Store() | ast.Del()) | ast.arg(name):
                    found[name] += 1
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    found[name] += 1
                case ast.AsyncFunctionDef(name=name) | ast.alias(name, None):
                    found[name.partition(".")[0]] += 1
                case ast.alias(_, str(name)) | ast.ExceptHandler(name=str(name)):
                    found[name] += 1
                case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    found[name] += 1
                case ast.MatchMapping(rest=str(name)):
                    found[name] += 1
                case ast.Global(names) | ast.Nonlocal(names):
                    found.update(names)
    return found


def read_once(name: str, *nodes: ast.AST) -> bool:
    """Whether the nodes, when they run, read the name at most once."""
    if loads(*nodes)[name] > 1:
        return False
    return not any(loads(part)[name] for node in nodes for part in _repeated(node))


def _repeated(node: ast.AST):
    """Parts of a node that may run more than once."""
    for n in ast.walk(node):
        if isinstance(n, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            inner = copy.deepcopy(n)
            inner.generators[0].iter = ast.Constant(None)  # evaluated once
            yield inner
        elif isinstance(n, ast.For | ast.AsyncFor):
            yield from n.body
        elif isinstance(n, _LOOPS):
            yield n


class _Substitute(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr]):
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:  # noqa: N802
        if isinstance(node.ctx, ast.Load) and node.id in self._values:
            return ast.copy_location(copy.deepcopy(self._values[node.id]), node)
        return node


def substitute(node, **values: ast.expr):
    """A copy of the node in which expressions take the place of names."""
    return _Substitute(values).visit(copy.deepcopy(node))


def shorten(body: list[ast.stmt]) -> list[ast.stmt]:
    """Fewer names and no loop, where that changes no verdict."""
    body = [each for each in body if not _says_nothing(each)]
    for each in body:
        for node in ast.walk(each):
            if isinstance(node, ast.Assert):
                node.msg = None  # told of a failure, and else never evaluated
    at = 0
    while at < len(body):
        shorter = _inlined(body, at) or _unrolled(body, at)
        if shorter is None:
            at += 1
        else:
            body, at = shorter, 0
    return body


def _says_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _inlined(body: list[ast.stmt], at: int) -> list[ast.stmt] | None:
    """The body without the assignment at a place, if its name can be done without."""
    match body[at]:
        case ast.Assign([ast.Name(name)], value):
            pass
        case ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
            pass
        case _:
            return None
    before, after = body[:at], body[at + 1 :]
    if (
        binds(*body)[name] > 1
        or loads(*before, value)[name]
        or by_identity(name, *after)
    ):
        return None
    known = literal(value)
    if known and (frozen(known[0]) or read_once(name, *after)):
        return before + [substitute(each, **{name: value}) for each in after]
    follows = after and isinstance(after[0], ast.Assert) and loads(*after)[name] == 1
    if follows and _leads(after[0].test, name):
        return [*before, substitute(after[0], **{name: value}), *after[1:]]
    return None


def by_identity(name: str, *nodes: ast.AST) -> bool:
    """Whether it matters which object the name stands for, and not only its value."""
    return any(
        isinstance(n, ast.Compare)
        and any(isinstance(each, ast.Is | ast.IsNot) for each in n.ops)
        and loads(n)[name]
        for node in nodes
        for n in ast.walk(node)
    )


def _leads(node: ast.expr, name: str) -> bool:
    """Whether nothing that could matter is evaluated before the name is."""
    match node:
        case ast.Name(found):
            return found == name
        case ast.Compare(left, [_], [inner]) if literal(left):
            return _leads(inner, name)
        case ast.Compare(inner) | ast.Attribute(inner) | ast.BinOp(inner):
            return _leads(inner, name)
        case ast.UnaryOp(_, inner) | ast.BoolOp(_, [inner, *_]):
            return _leads(inner, name)
        case ast.Subscript(inner, index):
            return _leads(inner, name) and literal(index) is not None
        case ast.Call(ast.Name() | ast.Attribute(ast.Name()), [inner, *_]):
            return _leads(inner, name)
    return False


def _unrolled(body: list[ast.stmt], at: int) -> list[ast.stmt] | None:
    """The body with the loop at a place written out, if only asserts are left."""
    match body[at]:
        case ast.For(target, ast.List(items) | ast.Tuple(items), inner, []):
            pass
        case _:
            return None
    inside = binds(body[at])
    others = body[:at] + body[at + 1 :]
    if any(name in inside for name in loads(*others) | binds(*others)):
        return None
    rounds: list[ast.stmt] = []
    for item in items:
        pairs = _pairs(target, item)
        if pairs is None:
            return None
        heads = [ast.Assign([name], value, lineno=0) for name, value in pairs]
        once = shorten(copy.deepcopy([*heads, *inner]))
        if not all(isinstance(each, ast.Assert) for each in once):
            return None
        rounds += once
    return body[:at] + rounds + body[at + 1 :]


def _pairs(target: ast.expr, item: ast.expr) -> list | None:
    """Names and the literals that they get; None if they do not match."""
    if literal(item) is None:
        return None
    match target, item:
        case ast.Name(), _:
            return [(target, item)]
        case (
            ast.Tuple(names) | ast.List(names),
            ast.Tuple(items) | ast.List(items),
        ) if len(names) == len(items):
            parts = [_pairs(*pair) for pair in zip(names, items, strict=True)]
            return None if None in parts else sum(parts, [])
    return None

"""Short tests for the sandbox from the body of a test function.

`result = f(2)` and `assert result == 4` become `assert f(2) == 4`, and a loop over
literals becomes an assert for each of them, where that changes no verdict. All other
statements stay as they are.
"""

import ast
import collections
import copy

_LOOPS = (
    ast.For | ast.While | ast.AsyncFor | ast.Lambda | ast.FunctionDef | ast.ClassDef
)


def literal(node: ast.expr) -> tuple | None:
    """Return the value of a literal in a 1-tuple."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


def frozen(value) -> bool:
    """Return True if the value is immutable, so that all may share it."""
    if isinstance(value, tuple):
        return all(map(frozen, value))
    return value is None or isinstance(
        value, bool | int | float | complex | str | bytes
    )


def loads(*nodes: ast.AST) -> collections.Counter[str]:
    """Return the number of times that each name is read."""
    return collections.Counter(
        n.id
        for node in nodes
        for n in ast.walk(node)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    )


def binds(*nodes: ast.AST) -> collections.Counter[str]:
    """Return the number of times that each name is bound, anywhere in the nodes."""
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
    """Return True if the nodes, when they run, read the name at most once."""
    if loads(*nodes)[name] > 1:
        return False
    return not any(loads(part)[name] for node in nodes for part in _repeated(node))


def _repeated(node: ast.AST):
    """Return the parts of a node that may run more than once."""
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
    """Return a copy of the node with expressions in place of names."""
    return _Substitute(values).visit(copy.deepcopy(node))


def shorten(body: list[ast.stmt]) -> list[ast.stmt]:
    """Remove names and loops, where that changes no verdict."""
    body = [each for each in body if not _says_nothing(each)]
    for each in body:
        for node in ast.walk(each):
            if isinstance(node, ast.Assert):
                node.msg = None  # shown on failure, else never evaluated
    lines = _Lines(body)
    at = lines.after(-1)
    while at is not None:
        if _inline(lines, at):
            # Only the one before it has another neighbour now.
            before = lines.before(at)
            at = lines.after(at) if before is None else before
        elif (rounds := _unrolled(lines, at)) is not None:
            lines = _Lines([*lines.kept(0, at), *rounds, *lines.kept(at + 1)])
            at = lines.after(-1)
        else:
            at = lines.after(at)
    return lines.kept(0)


class _Lines:
    """Statements with an index of the names that they read and bind.

    The index of a statement is rebuilt only when it changes.

    Args:
      body: The statements. They keep their places: None stands for a removed one.
    """

    def __init__(self, body: list[ast.stmt]):
        self._body: list[ast.stmt | None] = [None] * len(body)
        self._loads = [collections.Counter[str]()] * len(body)
        self._binds = [collections.Counter[str]()] * len(body)
        self._readers: dict[str, dict[int, int]] = collections.defaultdict(dict)
        self.bound: collections.Counter[str] = collections.Counter()
        for at, statement in enumerate(body):
            self.put(at, statement)

    def __getitem__(self, at: int) -> ast.stmt:
        return self._body[at]

    def put(self, at: int, statement: ast.stmt | None) -> None:
        """Put a statement in a place, or remove the one there."""
        for name in self._loads[at]:
            del self._readers[name][at]
        self.bound.subtract(self._binds[at])
        self._body[at] = statement
        nodes = [] if statement is None else [statement]
        self._loads[at], self._binds[at] = loads(*nodes), binds(*nodes)
        for name, times in self._loads[at].items():
            self._readers[name][at] = times
        self.bound.update(self._binds[at])

    def readers(self, name: str) -> dict[int, int]:
        """Return the places that read a name, with the number of times."""
        return self._readers.get(name, {})

    def alone(self, at: int) -> bool:
        """Return True if no name that a statement binds occurs in another one."""
        return all(
            self.readers(name).keys() <= {at} and self.bound[name] == times
            for name, times in self._binds[at].items()
        )

    def before(self, at: int) -> int | None:
        """Return the last place before another that is not empty."""
        return next((i for i in range(at - 1, -1, -1) if self._body[i]), None)

    def after(self, at: int) -> int | None:
        """Return the first place after another that is not empty."""
        places = range(at + 1, len(self._body))
        return next((i for i in places if self._body[i]), None)

    def kept(self, start: int, end: int | None = None) -> list[ast.stmt]:
        """Return the statements from one place to before another."""
        return [each for each in self._body[start:end] if each]


def _says_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _inline(lines: _Lines, at: int) -> bool:
    """Remove the assignment at a place, if its value can replace its name."""
    match lines[at]:
        case ast.Assign([ast.Name(name)], value):
            pass
        case ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
            pass
        case _:
            return False
    readers = dict(lines.readers(name))
    nodes = [lines[i] for i in readers]
    if (
        lines.bound[name] > 1
        or any(i <= at for i in readers)
        or by_identity(name, *nodes)
    ):
        return False
    known, follows = literal(value), lines.after(at)
    if not (known and (frozen(known[0]) or read_once(name, *nodes))):
        if readers != {follows: 1} or not isinstance(nodes[0], ast.Assert):
            return False
        if not _leads(nodes[0].test, name):
            return False
    for i in readers:
        lines.put(i, substitute(lines[i], **{name: value}))
    lines.put(at, None)
    return True


def by_identity(name: str, *nodes: ast.AST) -> bool:
    """Return True if the identity of the name's object matters, not only its value."""
    return any(
        isinstance(n, ast.Compare)
        and any(isinstance(each, ast.Is | ast.IsNot) for each in n.ops)
        and loads(n)[name]
        for node in nodes
        for n in ast.walk(node)
    )


def _leads(node: ast.expr, name: str) -> bool:
    """Return True if nothing with an effect is evaluated before the name is."""
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


def _unrolled(lines: _Lines, at: int) -> list[ast.stmt] | None:
    """Return the loop at a place unrolled, if only asserts are left of it."""
    match lines[at]:
        case ast.For(target, ast.List(items) | ast.Tuple(items), inner, []):
            pass
        case _:
            return None
    if not lines.alone(at):
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
    return rounds


def _pairs(target: ast.expr, item: ast.expr) -> list | None:
    """Return names and the literals assigned to them; None if they do not match."""
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

"""What a test function does, as statements that the sandbox judges one by one.

`result = f(2)` and `assert result == 4` become `assert f(2) == 4`, a loop over literals
becomes an assert for each of them, and pytest's `raises` and `approx` become plain
Python: all only where no verdict changes by it. What cannot be made so short stays as
it is, and runs in a function of its own.
"""

import ast
import collections
import copy
import math

from repair.errors import UserError

# pytest's rules: two numbers are equal or near one another, and so is each of many.
APPROX = """\
class _approx:
    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.limits = expected, (rel, abs, nan_ok)
        many = (list, tuple, dict)
        inner = expected.values() if isinstance(expected, dict) else expected
        if isinstance(expected, (set, frozenset)) or (
            isinstance(expected, many) and any(isinstance(x, many) for x in inner)
        ):
            raise TypeError('approx is for numbers and for lists of them')
    def __eq__(self, actual):
        expected = self.expected
        if isinstance(expected, dict):
            return isinstance(actual, dict) and actual.keys() == expected.keys() and (
                all(self.near(actual[key], expected[key]) for key in expected)
            )
        if isinstance(expected, (list, tuple)):
            return hasattr(actual, '__len__') and len(actual) == len(expected) and (
                all(map(self.near, actual, expected))
            )
        return self.near(actual, expected)
    def near(self, actual, expected):
        rel, absolute, nan_ok = self.limits
        if actual == expected:
            return True
        number = __import__('numbers').Complex
        if not (isinstance(actual, number) and isinstance(expected, number)):
            return False
        size = abs(expected)
        if isinstance(expected, bool) or size == float('inf'):
            return False
        if size != size:
            return nan_ok and actual != actual
        least = 1e-12 if absolute is None else absolute
        if rel is not None or absolute is None:
            least = max((1e-6 if rel is None else rel) * size, least)
        return abs(expected - actual) <= least
    __hash__ = None
"""
_RELATIVE, _ABSOLUTE = 1e-6, 1e-12  # pytest's own, where nothing is said
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
    if binds(*body)[name] > 1 or loads(*before, value)[name] or _identity(name, after):
        return None
    known = literal(value)
    if known and (frozen(known[0]) or read_once(name, *after)):
        return before + [substitute(each, **{name: value}) for each in after]
    follows = after and isinstance(after[0], ast.Assert) and loads(*after)[name] == 1
    if follows and _leads(after[0].test, name):
        return [*before, substitute(after[0], **{name: value}), *after[1:]]
    return None


def _identity(name: str, body: list[ast.stmt]) -> bool:
    """Whether it matters which object the name stands for, and not only its value."""
    return any(
        isinstance(n, ast.Compare)
        and any(isinstance(each, ast.Is | ast.IsNot) for each in n.ops)
        and loads(n)[name]
        for each in body
        for n in ast.walk(each)
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


class PlainPython(ast.NodeTransformer):
    """Puts Python in the place of `pytest.raises`, `pytest.fail` and `pytest.approx`.

    What comes out may need APPROX, which it then calls by its name.

    Args:
      where: The file's name, for errors.

    Raises:
      UserError: Something else of pytest is used, or these in another way.
    """

    def __init__(self, where: str):
        self._where = where
        self._raised: dict[str, str] = {}

    def visit_With(self, node: ast.With):  # noqa: N802
        asked = [_raises(item.context_expr) for item in node.items]
        if not any(asked):
            return self.generic_visit(node)
        if len(asked) > 1:
            self._refuse(node, "pytest.raises beside something else in one with")
        kinds, pattern = self._raises_arguments(asked[0], node)
        kept, checks = node.items[0].optional_vars, []
        if kept is not None:
            if not isinstance(kept, ast.Name):
                self._refuse(node, "pytest.raises kept in something but a name")
            self._raised[kept.id] = f"_{kept.id}_value"
            checks.append(f"_{kept.id}_value = _caught")
        if pattern is not None:
            searched = f"{ast.unparse(pattern)}, str(_caught)"
            checks.append(f"assert __import__('re').search({searched})")
        caught = " as _caught" if checks else ""
        text = f"try:\n    pass\nexcept {ast.unparse(kinds)}{caught}:\n"
        text += "".join(f"    {check}\n" for check in checks or ["pass"])
        # As in pytest, no `except Exception` of the test's may catch what this raises.
        text += "else:\n    raise SystemExit('nothing was raised')\n"
        (made,) = ast.parse(text).body
        made.body = node.body
        return self.generic_visit(ast.copy_location(made, node))

    def _raises_arguments(self, call: ast.Call, node: ast.AST):
        match call:
            case ast.Call(_, [kinds], []):
                return kinds, None
            case ast.Call(_, [kinds], [ast.keyword("match", pattern)]):
                return kinds, pattern
        self._refuse(node, "pytest.raises with other arguments than a kind and match")

    def visit_Attribute(self, node: ast.Attribute):  # noqa: N802
        match node.value:
            case ast.Name("pytest") if node.attr == "approx":
                return ast.copy_location(ast.Name("_approx", ast.Load()), node)
            case ast.Name("pytest"):
                self._refuse(node, f"pytest.{node.attr}")
            case ast.Name(name) if name in self._raised and node.attr == "value":
                return ast.copy_location(ast.Name(self._raised[name], ast.Load()), node)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name):  # noqa: N802
        if node.id == "pytest" or node.id in self._raised:
            self._refuse(node, f"{node.id} as a whole")
        return node

    def visit_Expr(self, node: ast.Expr):  # noqa: N802
        match node.value:
            case ast.Call(ast.Attribute(ast.Name("pytest"), "fail"), arguments):
                raised = ast.Call(ast.Name("SystemExit", ast.Load()), arguments, [])
                return ast.copy_location(ast.Raise(self.generic_visit(raised)), node)
        return self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare):  # noqa: N802
        match node:
            case ast.Compare(left, [ast.Eq()], [right]):
                sides = ((left, right), (right, left))
            case _:
                sides = ()
        for value, near in sides:
            tolerance = _tolerance(near)
            if tolerance is not None:
                gap = ast.BinOp(self.visit(value), ast.Sub(), near.args[0])
                size = ast.Call(ast.Name("abs", ast.Load()), [gap], [])
                made = ast.Compare(size, [ast.LtE()], [ast.Constant(tolerance)])
                return ast.copy_location(made, node)
        return self.generic_visit(node)

    def _refuse(self, node: ast.AST, what: str):
        raise UserError(
            f"{self._where}:{node.lineno} uses {what}, which cannot be turned into a"
            " test for the sandbox; of pytest there are parametrize, raises with a kind"
            " and match, fail and approx"
        )


def _raises(node: ast.expr) -> ast.Call | None:
    match node:
        case ast.Call(ast.Attribute(ast.Name("pytest"), "raises")):
            return node
    return None


def _tolerance(call: ast.Call) -> float | None:
    """How far a number may be from that of `pytest.approx(number, ...)`."""
    match call:
        case ast.Call(ast.Attribute(ast.Name("pytest"), "approx"), [expected], more):
            pass
        case _:
            return None
    limits = {each.arg: literal(each.value) for each in more}
    values = [literal(expected), *limits.values()]
    if not (limits.keys() <= {"rel", "abs"} and all(map(_is_finite, values))):
        return None
    size, relative, absolute = abs(values[0][0]), limits.get("rel"), limits.get("abs")
    least = absolute[0] if absolute else _ABSOLUTE
    if relative or not absolute:
        least = max((relative[0] if relative else _RELATIVE) * size, least)
    return least


def _is_finite(value: tuple | None) -> bool:
    return (
        value is not None
        and type(value[0]) in (int, float)
        and (math.isfinite(value[0]))
    )

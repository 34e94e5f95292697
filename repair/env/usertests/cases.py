"""Arguments that pytest calls a test function with."""

import ast
import itertools

from repair.env.usertests.bodies import frozen, literal
from repair.errors import UserError


def arguments(test: ast.FunctionDef, where: str) -> list[list[ast.stmt]]:
    """Return a test function's body for each set of arguments, assigned first.

    Args:
      test: A function whose name pytest would collect.
      where: The file's name, for errors.

    Raises:
      UserError: It wants fixtures, or arguments that are no literals.
    """
    refuse = _Refusal(where)
    sets = [_read(each, refuse) for each in test.decorator_list]
    given = [name for names, _ in sets for name in names]
    spec = test.args
    wanted = [each.arg for each in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    if spec.defaults or any(spec.kw_defaults) or spec.vararg or spec.kwarg:
        refuse(test, f"{test.name}, whose arguments are more than names")
    for name in wanted:
        if name not in given:
            refuse(test, f"{test.name}, which wants the fixture {name}")
    if sorted(given) != sorted(wanted):
        refuse(test, f"{test.name}, which has no argument for what parametrize gives")
    if any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(test)):
        refuse(test, f"{test.name}, which yields")
    if len(sets) > 1 and not all(frozen(v) for _, rows in sets for v in _values(rows)):
        refuse(test, f"{test.name}, whose stacked cases share lists or the like")
    cases = []
    # The decorator next to the function varies slowest.
    for rows in itertools.product(*(rows for _, rows in reversed(sets))):
        named = [names for names, _ in reversed(sets)]
        heads = [
            ast.Assign([ast.Name(name, ast.Store())], value, lineno=test.lineno)
            for names, row in zip(named, rows, strict=True)
            for name, value in zip(names, row, strict=True)
        ]
        cases.append([*heads, *test.body])
    return cases


class _Refusal:
    def __init__(self, where: str):
        self._where = where

    def __call__(self, node: ast.AST, what: str):
        raise UserError(
            f"{self._where}:{node.lineno} has {what}; of pytest's ways to call a test"
            " there is parametrize with literals"
        )


def _read(decorator: ast.expr, refuse) -> tuple[list[str], list[list[ast.expr]]]:
    """Return (names, values of each case) of a parametrize decorator."""
    match decorator:
        case ast.Call(
            ast.Attribute(ast.Attribute(ast.Name("pytest"), "mark"), "parametrize"),
            [names, ast.List(cases) | ast.Tuple(cases)],
            keywords,
        ):
            pass
        case _:
            refuse(decorator, f"the decorator {ast.unparse(decorator).split('(')[0]}")
    for keyword in keywords:
        if keyword.arg != "ids":
            refuse(decorator, f"parametrize with {keyword.arg or '**'}")
    match literal(names):
        case (str(text),):
            found = [each.strip() for each in text.split(",") if each.strip()]
            single = "," not in text
        case ((*parts,),) if all(isinstance(each, str) for each in parts):
            found, single = parts, False
        case _:
            refuse(decorator, "parametrize with names that are no literals")
    if not cases:
        refuse(decorator, "parametrize without cases, so a test that never runs")
    return found, [_row(each, len(found), single, refuse) for each in cases]


def _row(case: ast.expr, count: int, single: bool, refuse) -> list[ast.expr]:
    """Return the values of one case."""
    match case:
        case ast.Call(ast.Attribute(ast.Name("pytest"), "param"), values, keywords):
            if any(keyword.arg != "id" for keyword in keywords):
                refuse(case, "pytest.param with marks")
        case ast.Tuple(values) | ast.List(values) if not single:
            pass
        case _:
            values = [case]
    if len(values) != count:
        refuse(case, f"a case of {len(values)} values where {count} are named")
    for value in values:
        if literal(value) is None:
            refuse(value, f"{ast.unparse(value)} as an argument, which is no literal")
    return values


def _values(rows: list[list[ast.expr]]):
    return (literal(value)[0] for row in rows for value in row)

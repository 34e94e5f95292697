"""The steps of a test in the child, and the names that live there."""

import ast
from collections.abc import Callable
from typing import Any

from repair.sandbox import bounded, fold
from repair.sandbox.outcomes import Outcomes, Step

# Methods whose truth says all: their arguments would tell the program the answer.
_TELLING = frozenset(
    "startswith endswith issubset issuperset isdisjoint count find index get".split()
)
_IMMUTABLE = (int, float, complex, str, bytes, type(None), frozenset)

Value = Callable[[Outcomes], Any]


class Whole(Exception):
    """The test cannot be split without giving its answer to the program."""


class Script:
    """Steps of a test so far.

    Args:
      helpers: Functions and classes that the setup of the task defines.
      values: Names of other values of the setup.
      under_test: A function of the closed list with constant arguments, such as `sum`,
        is the program's own: it is asked for, not computed.

    Attributes:
      steps: The steps so far.
      constants: Constants by name. A name goes to the child when something there needs
        it; a list may be changed there, so it is a constant no longer.
      inner: Names that live in the child.
      soft: Python may never evaluate what is asked for next.
    """

    def __init__(
        self, helpers: frozenset[str], values: frozenset[str], under_test: bool
    ):
        self.steps: list[Step] = []
        self.constants: dict[str, Any] = {}
        self.inner = set(values)
        self._helpers, self._under_test = helpers, under_test
        self._waiting: dict[str, ast.Assign] = {}  # assignments of constants
        self.soft = False

    def bind(self, name: str, statement: ast.Assign) -> bool:
        """Keep an assignment of a constant back; return False if it is none."""
        if self._under_test and isinstance(statement.value, ast.Call):
            return False
        try:
            self.constants[name] = fold.constant(statement.value, self.constants)
        except fold.NotConstant:
            return False
        self._waiting[name] = statement
        return True

    def run(self, statement: ast.stmt) -> None:
        """Add a statement that the child runs."""
        self.send_names(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self.inner.add(node.id)
                self.constants.pop(node.id, None)
        self.steps.append(Step(ast.unparse(statement), ask=False))

    def is_plain(self, node: ast.expr) -> bool:
        """Return True if the child may evaluate an expression and keep its value."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return all(map(self.is_plain, node.elts))
        try:
            fold.constant(node, self.constants)
            return True
        except fold.NotConstant:
            return self.is_blind(node, truth=False)

    def send_names(self, node: ast.AST) -> None:
        """Bind in the child the constants that a node reads."""
        for each in ast.walk(node):
            name = each.id if isinstance(each, ast.Name) else ""
            statement = self._waiting.pop(name, None)
            if statement is None:
                continue
            self.send_names(statement.value)
            self.steps.append(Step(ast.unparse(statement), ask=False))
            if not isinstance(self.constants[name], _IMMUTABLE):
                del self.constants[name]
                self.inner.add(name)

    def is_under_test(self, node: ast.expr) -> bool:
        """Return True if an expression is a call of the program by choice."""
        return (
            self._under_test
            and isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and not any(map(has_call, node.args))
        )

    def ask(
        self,
        node: ast.expr,
        conversion: str = "",
        convert: Callable[[Any], Any] | None = None,
    ) -> Value:
        """Add a step that asks for a value; return the function that reads it."""
        self.send_names(node)
        place = len(self.steps)
        self.steps.append(Step(ast.unparse(node), True, conversion, convert, self.soft))
        return lambda outcomes: outcomes.value(place)

    def is_blind(self, node: ast.expr, truth: bool) -> bool:
        """Return True if the program decides only a value, and is not told it.

        The program's objects may return anything. So arguments that call must not
        compute with the results, and the call around them must not count only as true
        or false, nor be of a helper or of a module.
        """
        outermost = node
        while isinstance(node, ast.Subscript | ast.Attribute):
            if isinstance(node, ast.Subscript):
                try:
                    fold.constant(node.slice, self.constants)
                except fold.NotConstant:
                    return False
            node = node.value
        if isinstance(node, ast.Name):
            return node.id in self.inner
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if bounded.function_of(function) and not self.is_under_test(node):
            return False
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        inside = [n for argument in arguments for n in ast.walk(argument)]
        if isinstance(function, ast.Attribute):
            if function.attr.startswith("__"):
                return False
            telling = function.attr in _TELLING and has_call(function.value)
            if truth and telling and node is outermost:
                return False
            if not self._is_object(function.value):
                return False
        elif isinstance(function, ast.Call):
            if not self.is_blind(function, truth=False):
                return False
        elif not isinstance(function, ast.Name):
            return False
        if not any(isinstance(n, ast.Call) for n in inside):
            return True
        computes = any(
            isinstance(n, ast.BinOp | ast.BoolOp | ast.Compare) for n in inside
        )
        helps = isinstance(function, ast.Name) and function.id in self._helpers
        return not computes and not truth and not helps

    def _is_object(self, receiver: ast.expr) -> bool:
        """Return True if a method's receiver is a value of the program, no module."""
        while isinstance(receiver, ast.Subscript | ast.Attribute):
            receiver = receiver.value
        if isinstance(receiver, ast.Name):
            return receiver.id in self.inner
        return isinstance(receiver, ast.Call) and self.is_blind(receiver, False)


def has_call(node: ast.expr) -> bool:
    """Return True if an expression calls something."""
    return any(isinstance(each, ast.Call) for each in ast.walk(node))

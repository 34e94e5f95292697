"""The outcomes of a test's steps in the child, as the checks outside see them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from repair.sandbox import decoding


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a test in the child.

    Attributes:
      source: Statements to run, or the expression to ask for.
      ask: Send the expression's value.
      conversion: Expression of `_`, the value, to apply; "" for none.
      convert: The same outside, for a plain value.
      or_else: Python may never evaluate the expression, so it may fail.
    """

    source: str
    ask: bool = True
    conversion: str = ""
    convert: Callable[[Any], Any] | None = None
    or_else: bool = False

    def request(self) -> list:
        """Return the step as the child takes it; see `child`."""
        if not self.ask:
            return ["run", self.source]
        return ["ask", self.source, self.conversion, self.or_else]


class Fault(Exception):
    """A step raised an exception.

    Attributes:
      content: Its description; see `child.fault`.
    """

    def __init__(self, content: dict):
        super().__init__()
        self.content = content


class Outcomes:
    """Values and exceptions by step, decoded when a check asks for them.

    Every method raises decoding.Garbled if the child cannot have sent the outcome.
    """

    def __init__(self, steps: Sequence[Step], sent: list):
        self._steps, self._sent = steps, sent
        self._values: dict[int, Any] = {}

    def value(self, place: int) -> Any:
        """Return the value of a step; raise Fault if it raised."""
        if place not in self._values:
            self._values[place] = self._decode(place)
        return self._values[place]

    def fault(self, place: int) -> dict | None:
        """Return the exception of a step, or None."""
        fault = self._outcome(place).get("fault")
        if fault is not None and not isinstance(fault, dict):
            raise decoding.Garbled
        return fault

    def require(self, count: int) -> None:
        """Raise Fault if one of the first `count` steps to run raised."""
        for place, step in enumerate(self._steps[:count]):
            if not step.ask and (fault := self.fault(place)):
                raise Fault(fault)

    def seen(self, check: "Check") -> list:
        """Return the values that a check compares, as far as there are any."""
        return [
            self.value(place)
            for place in check.asks
            if place < len(self._sent) and not self.fault(place)
        ]

    def _outcome(self, place: int) -> dict:
        if place >= len(self._sent) or not isinstance(self._sent[place], dict):
            raise decoding.Garbled
        return self._sent[place]

    def _decode(self, place: int) -> Any:
        if fault := self.fault(place):
            raise Fault(fault)
        match self._outcome(place):
            case {"value": sent, "converted": bool(converted)}:
                value = decoding.rebuild(sent)
            case _:
                raise decoding.Garbled
        convert = self._steps[place].convert
        if convert is None or converted:
            return value
        try:
            return convert(value)
        except decoding.Garbled:
            return decoding.Opaque("too much", True)
        except Exception as error:  # as Python would raise it in the test
            name, message = type(error).__name__, str(error)
            raise Fault({"type": name, "message": message, "line": None}) from None


@dataclasses.dataclass(frozen=True)
class Check:
    """A condition of a test that is evaluated outside of the child.

    Attributes:
      first: Number of steps that come before it.
      asks: Places of the steps whose values it uses.
      condition: Function of the outcomes.
    """

    first: int
    asks: tuple[int, ...]
    condition: Callable[[Outcomes], Any]

    def holds(self, outcomes: Outcomes) -> bool:
        """Evaluate; False if the comparison is not defined for the values."""
        try:
            return bool(self.condition(outcomes))
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            return False
        except (MemoryError, RecursionError):  # the values are too large to compare
            return False

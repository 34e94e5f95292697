"""From tests to what is sent, and from what comes back to a verdict.

Only `assert call == literal` is taken apart: the call is sent, the literal stays
here. Any other test is sent whole and judged by the program's own process.
"""

import ast
import dataclasses
import json

from repair.env.sandbox.records import Result
from repair.env.sandbox.values import Opaque, decode, one_line, show

_MESSAGE_CHARS = 80  # of an exception, in feedback
# Calls around the program's call that give its value another shape, no verdict.
_SHAPES = frozenset(
    "dict float frozenset int len list max min round set sorted str sum tuple".split()
)
_UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


@dataclasses.dataclass(frozen=True)
class Test:
    """A test.

    Attributes:
      kind: "value" if `source` is an expression whose value is compared with
        `expected`, "exec" if it is statements that raise where they do not hold.
      source: What is sent.
      expected: What stays.
    """

    kind: str
    source: str
    expected: object = None


def split_test(test: str) -> Test:
    """Takes a test apart where its verdict can be had outside."""
    try:
        (statement,) = ast.parse(test).body
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return Test("exec", test)  # the child will say what is wrong with it
    match statement:
        case ast.Assert(ast.Compare(call, [ast.Eq()], [literal])):
            try:
                expected = ast.literal_eval(literal)
            except (ValueError, TypeError, MemoryError, RecursionError):
                return Test("exec", test)
            if _gives_values(call, expected):
                return Test("value", ast.unparse(call), expected)
    return Test("exec", test)


def _gives_values(node: ast.expr, expected) -> bool:
    """Whether the expression holds nothing of the answer that it is compared with.

    `isclose(f(x), 3.14) == True` does, so a truth value must come from a call
    without calls in its arguments.
    """
    while True:
        match node:
            case ast.Subscript(inner) | ast.Attribute(inner):
                node = inner
            case ast.Call(ast.Name(name), [inner, *_]) if name in _SHAPES:
                node = inner
            case _:
                break
    if not isinstance(node, ast.Call):
        return False
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    calls = any(isinstance(n, ast.Call) for a in arguments for n in ast.walk(a))
    return not calls or not (expected is None or isinstance(expected, bool))


def judge(tests: list[Test], token: str, answer: dict) -> Result:
    """The verdict on one program.

    Args:
      tests: Its tests, split.
      token: What its reply must repeat.
      answer: The zygote's: {"end", "text", "seconds"}; see `zygote.run`.
    """
    seconds = answer["seconds"]
    trust = "value" if all(t.kind == "value" for t in tests) else "in_child"

    def whole(status: str, feedback: str) -> Result:
        return Result(
            False, status, feedback, tuple(range(len(tests))), seconds, trust
        )

    if answer["end"] == "timeout":
        return whole("timeout", "timeout")
    if answer["end"] == "flood":
        return whole("memory", "output too large")
    try:
        reply = _read_reply(answer["text"], token, len(tests))
        if "load" in reply:
            return whole(*_load_failure(reply))
        said = [
            _judge_test(test, outcome)
            for test, outcome in zip(tests, reply["tests"], strict=True)
        ]
    except _UNREADABLE:  # nothing, or torn, or forged: it proves nothing
        return whole("crashed", "the program ended the interpreter")
    failed = tuple(index for index, words in enumerate(said) if words)
    if failed:
        status, text = said[failed[0]]
        feedback = f"test {failed[0] + 1}: {text}"
        return Result(False, status, feedback, failed, seconds, trust)
    return Result(True, "passed", "", (), seconds, trust)


def _read_reply(text: str, token: str, count: int) -> dict:
    reply = json.loads(text)
    if reply["token"] != token:
        raise ValueError("another token")
    if "load" not in reply and len(reply["tests"]) != count:
        raise ValueError("another number of tests")
    return reply


def _load_failure(reply: dict) -> tuple[str, str]:
    status, text = _describe(reply["load"])
    if reply["where"] == "setup":
        return status, f"setup: {text}"
    if reply["where"] == "compile" and status == "error":
        return "syntax_error", text
    return status, text


def _judge_test(test: Test, outcome: dict) -> tuple[str, str] | None:
    """None if the test held, else (status, what to say of it)."""
    if "fault" in outcome:
        if test.kind == "exec" and outcome["fault"]["type"] == "AssertionError":
            return "failed", "failed"
        return _describe(outcome["fault"])
    if test.kind == "exec":
        return None if outcome["held"] is True else ("failed", "failed")
    try:
        value = decode(outcome["value"])
        if value == test.expected:
            return None
        return "failed", f"got {show(value)}"
    except Opaque as opaque:
        return "failed", f"got {opaque}"


def _describe(fault: dict) -> tuple[str, str]:
    """(status, text) of an exception."""
    kind, message, line = fault["type"], fault["message"], fault["line"]
    if kind == "MemoryError":
        return "memory", "out of memory"
    if kind == "OutputTooLarge":
        return "memory", "output too large"
    where = f"line {int(line)}: " if line is not None else ""
    name = one_line(kind, _MESSAGE_CHARS)
    message = one_line(message, _MESSAGE_CHARS)
    text = f"{where}{name}: {message}" if message else f"{where}{name}"
    return ("forbidden" if kind == "Forbidden" else "error"), text

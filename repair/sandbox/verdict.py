"""Verdicts from the answers of a child process, which are not trusted.

Expected values never reach a child: they are compared here.
"""

import builtins
import collections
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from repair.sandbox.asserts import Test

STATUSES = (
    *("passed", "failed", "error", "syntax_error", "timeout", "memory"),
    *("crashed", "forbidden"),
)
_SHOWN_CHARS = 60  # of a value
_MESSAGE_CHARS = 80  # of an exception's message
_MAX_INT_BITS = 10_000  # str() refuses larger integers
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_ORIGIN = re.compile(r" \((/[^)]*|unknown location)\)")  # of a module, in ImportError
# "line 2: NameError: name 'y' is not defined", also of a test or the setup.
_FAULT = re.compile(r"(?:setup: |test \d+: )?(?:line \d+: )?([A-Za-z_]\w*)(?::|$)")
_SCALARS: dict[str, Callable[[Any], object]] = {
    "none": lambda content: None,
    "bool": bool,
    "str": str,
    "int": lambda content: int(content, 16),
    "float": float.fromhex,
    "complex": lambda content: complex(*map(float.fromhex, content)),
    "bytes": bytes.fromhex,
}
_CONTAINERS: dict[str, Callable] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}


@dataclasses.dataclass(frozen=True)
class Result:
    """Verdict on one program.

    Attributes:
      passed: True only if every test held on a real run.
      status: "passed", "failed", "error", "syntax_error", "timeout", "memory",
        "crashed" (it ended the interpreter, or wrote to the answer's pipe) or
        "forbidden". Of several failed tests, the first decides.
      feedback: One short deterministic line for the model; empty if all tests pass.
      failed_tests: 0-based indices of the tests that did not hold.
      seconds: Processor time; of programs that shared a child, an equal part.
      trust: "value" if every test compares values outside of the program's process.
        "in_child" if some test ran in the same process, where a hostile program can
        make it hold.
    """

    passed: bool
    status: str
    feedback: str
    failed_tests: tuple[int, ...]
    seconds: float
    trust: str


class _Opaque(Exception):
    """A value of no plain type: it never equals a literal."""


class _Garbled(Exception):
    """An answer that the child's own code does not write."""


def read_verdicts(
    jobs: list[tuple[int, list[Test], str, float]],
    answer: dict,
    private: tuple[str, ...],
) -> Iterator[tuple[int, Result]]:
    """Read the verdicts on the jobs of one child.

    Args:
      jobs: (place, tests, token, processor seconds allowed) of each, in the order in
        which they ran; the token is a secret that a true answer holds.
      answer: {"end", "text", "seconds", "last"} from the worker; text is not trusted.
      private: Paths of this machine, which feedback must not show.

    Yields:
      (place, result). A job alone always gets one. Of jobs that shared a child, those
      get one that finished before anything went wrong, and the next if it used up its
      time; any other failure may be a neighbour's fault.
    """
    *lines, rest = answer["text"].split("\n")
    end, last = answer["end"], answer["last"]
    if len(jobs) > 1:
        seconds = (answer["seconds"] - last) / max(len(lines), 1)
        for (place, tests, token, _), line in zip(jobs, lines, strict=False):
            result = _result(tests, token, "answered", line, seconds, private)
            if result.status in ("crashed", "memory"):
                return
            yield place, result
        if end == "timeout" and len(lines) < len(jobs):
            place, tests, token, allowed = jobs[len(lines)]
            if last >= allowed:
                yield place, _result(tests, token, end, rest, last, private)
        return
    ((place, tests, token, _),) = jobs
    line = _only_line(answer)
    yield place, _result(tests, token, end, line, answer["seconds"], private)


def read_values(answer: dict, token: str, count: int) -> list[tuple | None] | None:
    """Read the values of a trusted program's expressions, each in a 1-tuple.

    None stands for an expression that fails or has no plain type, and in place of the
    list for a child that ended early.
    """
    try:
        reply = _read_reply(answer["end"], _only_line(answer), token, count)
        if reply.get("memory") is True:
            return None
        if "load" in reply:
            return [None] * count
        return [
            None if "fault" in outcome else _read_plain(outcome)
            for outcome in reply["tests"]
        ]
    except _Garbled:
        return None


def _read_plain(outcome: dict) -> tuple | None:
    try:
        return tuple(_read_values(outcome, 1))
    except _Opaque:
        return None


def exception_in(feedback: str) -> str | None:
    """Return the exception's name in a line of feedback, or None."""
    found = _FAULT.match(feedback)
    return found[1] if found else None


def failure_class(result: Result) -> str:
    """Return the name of the exception of an "error", else the status."""
    if result.status != "error":
        return result.status
    return exception_in(result.feedback) or "error"


def _only_line(answer: dict) -> str:
    """Return the answer of a job alone; empty if torn or if the program wrote too."""
    *lines, rest = answer["text"].split("\n")
    return lines[0] if len(lines) == 1 and not rest else ""


def _result(
    tests: list[Test],
    token: str,
    end: str,
    line: str,
    seconds: float,
    private: tuple[str, ...],
) -> Result:
    values = tests and all(test.kind != "exec" for test in tests)
    trust = "value" if values else "in_child"
    failed = tuple(range(len(tests)))
    try:
        if end == "timeout":
            status, feedback = "timeout", "timeout"
        else:
            reply = _read_reply(end, line, token, len(tests))
            status, feedback, failed = _verdict(tests, reply, private)
    except _Garbled:
        status, feedback = "crashed", "the program ended the interpreter"
    return Result(status == "passed", status, feedback, failed, seconds, trust)


def _verdict(
    tests: list[Test], reply: dict, private: tuple[str, ...]
) -> tuple[str, str, tuple[int, ...]]:
    everything = tuple(range(len(tests)))
    if reply.get("memory") is True:
        return "memory", "out of memory", everything
    if "load" in reply:
        status, text = _fault(reply["load"], private)
        if reply.get("where") == "compile":
            status = "syntax_error"
        setup = "setup: " if reply.get("where") == "setup" else ""
        return status, setup + text, everything
    first, failed = ("passed", ""), list[int]()
    for index, (test, outcome) in enumerate(zip(tests, reply["tests"], strict=True)):
        if failure := _failure(test, outcome, private):
            status, text = failure
            first = first if failed else (status, f"test {index + 1}: {text}")
            failed.append(index)
    return *first, tuple(failed)


def _read_reply(end: str, text: str, token: str, count: int) -> dict:
    """Decode the child's line; raise _Garbled if it is missing, forged or torn."""
    if end != "answered":
        raise _Garbled
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        raise _Garbled from None
    match reply:
        case {"token": secret} if secret != token:
            raise _Garbled
        case {"token": _, "load": _} | {"token": _, "memory": True}:
            return reply
        case {"token": _, "tests": [*outcomes]} if len(outcomes) == count:
            if all(isinstance(outcome, dict) for outcome in outcomes):
                return reply
    raise _Garbled


def _read_values(outcome: dict, count: int) -> list:
    try:
        values = [_decode(tagged) for tagged in outcome["values"]]
    except (KeyError, TypeError):
        raise _Garbled from None
    if len(values) != count:
        raise _Garbled
    return values


def _failure(
    test: Test, outcome: dict, private: tuple[str, ...]
) -> tuple[str, str] | None:
    """Return None if the test held, else (status, feedback)."""
    if "fault" in outcome:
        status, text = _fault(outcome["fault"], private)
        if test.kind == "raises" and status == "error":
            kind = getattr(builtins, outcome["fault"]["type"], None)
            if isinstance(kind, type) and issubclass(kind, test.expected):
                return None
        # The test's own assert failed, and not one inside of the program.
        bare = test.kind == "exec" and text.startswith("AssertionError")
        return ("failed", "failed") if bare else (status, text)
    if test.kind == "exec":
        return None if outcome.get("held") is True else ("failed", "failed")
    try:
        values = _read_values(outcome, len(test.sources))
    except _Opaque as error:
        return "failed", f"got {_clean(str(error), private, _SHOWN_CHARS)}"
    if test.kind == "value" and _holds(test, values):
        return None
    shown = ", ".join(_repr(value) for value in values)
    return "failed", f"got {_clean(shown, private, _SHOWN_CHARS)}"


def _holds(test: Test, values: list) -> bool:
    try:
        return test.holds is not None and test.holds(values)
    except (ArithmeticError, TypeError, ValueError, MemoryError, RecursionError):
        return False  # the comparison is not defined for these values


def _fault(fault: dict, private: tuple[str, ...]) -> tuple[str, str]:
    """Return the status of an exception and the line of feedback for it."""
    match fault:
        case {"type": str(kind), "message": str(message), "line": line}:
            if not (line is None or type(line) is int and 0 <= line < 10**9):
                raise _Garbled
        case _:
            raise _Garbled
    where = f"line {line}: " if line else ""
    message = _clean(_ORIGIN.sub("", message), private, _MESSAGE_CHARS)
    kind = _clean(kind, private, _SHOWN_CHARS)
    text = where + kind + (f": {message}" if message else "")
    return "forbidden" if fault.get("forbidden") is True else "error", text


def _decode(tagged: Any) -> Any:
    """Decode a tagged value; the inverse of `child.encode`."""
    try:
        tag, content = tagged
        if tag in _SCALARS:
            return _SCALARS[tag](content)
        if tag in _CONTAINERS:
            return _CONTAINERS[tag](map(_decode, content))
        if tag == "dict":
            return {_decode(key): _decode(value) for key, value in content}
        if tag == "opaque" and isinstance(content, str):
            raise _Opaque(content)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise _Garbled from None
    raise _Garbled


def _repr(value: object) -> str:
    """Format as repr() does, but sets in sorted order, and integers of any size."""
    if isinstance(value, set | frozenset) and value:
        inner = "{" + ", ".join(sorted(map(_repr, value))) + "}"
        return inner if isinstance(value, set) else f"frozenset({inner})"
    if isinstance(value, list):
        return "[" + ", ".join(map(_repr, value)) + "]"
    if isinstance(value, tuple):
        inner = ", ".join(map(_repr, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        pairs = (f"{_repr(k)}: {_repr(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return f"an int of {value.bit_length()} bits"
    return repr(value)


def _clean(text: str, private: tuple[str, ...], most: int) -> str:
    """Return one short printable line without addresses or private paths."""
    for path in private:
        text = text.replace(path, "")
    text = _ADDRESS.sub("", text)
    # Filtered after the cut, so that a long text costs no more than a short one.
    cut = text if len(text) <= most else text[:most] + "..."
    return "".join(c if c.isprintable() else " " for c in cut).strip()


def sandbox_shares(counts: collections.Counter) -> dict[str, float]:
    """Return the shares of answers by status, and of those that ran in the child.

    Args:
      counts: A difference of two `Sandbox.counts`. Answers from the cache count as
        others do, so that a resumed run, whose cache is empty, reads the same.
    """
    answers = sum(counts[status] for status in STATUSES)
    return {
        f"sandbox_{name}": counts[name] / max(answers, 1)
        for name in (*STATUSES, "trust_in_child")
    }

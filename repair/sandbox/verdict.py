"""What a child's answer is worth: expected values stay and are compared here."""

import builtins
import dataclasses
import json
import re
from collections.abc import Iterator

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


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one program.

    Attributes:
      passed: True only if every test held on a real run.
      status: "passed", "failed", "error", "syntax_error", "timeout", "memory",
        "crashed" (it ended the interpreter, or wrote where it should not) or
        "forbidden". Of several failed tests, the first decides.
      feedback: One short deterministic line for the model; empty if all tests pass.
      failed_tests: 0-based indices of the tests that did not hold.
      seconds: Processor time; of programs that shared a child, an equal part.
      trust: "value" if every verdict comes from comparing values outside of the
        program's process. Else "in_child", which is weaker: some test ran beside
        the program, and a program that means to can make it hold.
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
    """Not what the worker's own code writes."""


def judge(
    jobs: list[tuple[int, list[Test], str, float]],
    answer: dict,
    private: tuple[str, ...],
) -> Iterator[tuple[int, Result]]:
    """The results of the jobs of one child.

    Args:
      jobs: (place, tests, token, processor seconds allowed) of each, in the order in
        which they ran; the token is a secret that a true answer holds.
      answer: {"end", "text", "seconds", "last"} from the worker; text is not trusted.
      private: Paths of this machine, which feedback must not show.

    Yields:
      (place, result). A job alone gets one whatever happened. In company only those
      do that ended before something went wrong, and the next if it used up its time:
      else it may not be the one who did it. The others' turn never came.
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
    seconds = answer["seconds"]
    # More than one line, or less, is nothing that the child's own code writes.
    line = lines[0] if len(lines) == 1 and not rest else ""
    yield place, _result(tests, token, end, line, seconds, private)


def _result(tests, token, end, line, seconds, private) -> Result:
    values = tests and all(test.kind != "exec" for test in tests)
    trust = "value" if values else "in_child"
    try:
        status, feedback, failed = _verdict(tests, token, end, line, private)
    except _Garbled:
        status, feedback = "crashed", "the program ended the interpreter"
        failed = tuple(range(len(tests)))
    return Result(status == "passed", status, feedback, failed, seconds, trust)


def _verdict(tests, token, end, line, private) -> tuple[str, str, tuple[int, ...]]:
    everything = tuple(range(len(tests)))
    if end == "timeout":
        return "timeout", "timeout", everything
    if end != "answered":
        raise _Garbled
    reply = _read_reply(line, token, len(tests))
    if reply.get("memory") is True:
        return "memory", "out of memory", everything
    if "load" in reply:
        status, text = _fault(reply["load"], private)
        if reply.get("where") == "compile":
            status = "syntax_error"
        setup = "setup: " if reply.get("where") == "setup" else ""
        return status, setup + text, everything
    failed, first = [], None
    for index, (test, outcome) in enumerate(zip(tests, reply["tests"], strict=True)):
        said = _judge_test(test, outcome, private)
        if said is not None:
            failed.append(index)
            first = first or (said[0], f"test {index + 1}: {said[1]}")
    return (*(first or ("passed", "")), tuple(failed))


def _read_reply(text: str, token: str, count: int) -> dict:
    """The child's line; raises _Garbled if it is forged or torn."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        raise _Garbled from None
    if not isinstance(reply, dict) or reply.get("token") != token:
        raise _Garbled
    if "load" in reply or reply.get("memory") is True:
        return reply
    outcomes = reply.get("tests")
    if not isinstance(outcomes, list) or len(outcomes) != count:
        raise _Garbled
    if not all(isinstance(outcome, dict) for outcome in outcomes):
        raise _Garbled
    return reply


def _judge_test(test: Test, outcome: dict, private) -> tuple[str, str] | None:
    """None if the test held, else (status, what to say of it)."""
    if "fault" in outcome:
        status, text = _fault(outcome["fault"], private)
        if test.kind == "raises" and status == "error":
            kind = getattr(builtins, outcome["fault"]["type"], None)
            if isinstance(kind, type) and issubclass(kind, test.expected):
                return None
        # An assert's own failure, as opposed to one inside of the program.
        bare = test.kind == "exec" and text.startswith("AssertionError")
        return ("failed", "failed") if bare else (status, text)
    if test.kind == "exec":
        return None if outcome.get("held") is True else ("failed", "failed")
    try:
        values = [_decode(tagged) for tagged in outcome["values"]]
    except _Opaque as error:
        return "failed", f"got {_clean(str(error), private, _SHOWN_CHARS)}"
    except (KeyError, TypeError):
        raise _Garbled from None
    if len(values) != len(test.sources):
        raise _Garbled
    if test.kind == "value" and _holds(test, values):
        return None
    shown = ", ".join(_repr(value) for value in values)
    return "failed", f"got {_clean(shown, private, _SHOWN_CHARS)}"


def _holds(test: Test, values: list) -> bool:
    try:
        return test.holds(values)
    except (ArithmeticError, TypeError, ValueError, MemoryError, RecursionError):
        return False  # the values are not such as can be compared so


def _fault(fault, private) -> tuple[str, str]:
    """The status of an exception and the line that tells of it."""
    try:
        kind, message, line = fault["type"], fault["message"], fault["line"]
    except (KeyError, TypeError):
        raise _Garbled from None
    if not (isinstance(kind, str) and isinstance(message, str)):
        raise _Garbled
    if not (line is None or type(line) is int and 0 <= line < 10**9):
        raise _Garbled
    where = f"line {line}: " if line else ""
    message = _clean(_ORIGIN.sub("", message), private, _MESSAGE_CHARS)
    kind = _clean(kind, private, _SHOWN_CHARS)
    text = where + kind + (f": {message}" if message else "")
    if fault.get("forbidden") is True:
        return "forbidden", text
    return "error", text


def _decode(tagged):
    """The value of a tagged form made by the zygote's `encode`."""
    try:
        tag, content = tagged
        if tag == "none":
            return None
        if tag in ("bool", "str"):
            return {"bool": bool, "str": str}[tag](content)
        if tag == "int":
            return int(content, 16)
        if tag == "float":
            return float.fromhex(content)
        if tag == "complex":
            return complex(*map(float.fromhex, content))
        if tag == "bytes":
            return bytes.fromhex(content)
        kinds = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
        if tag in kinds:
            return kinds[tag]([_decode(item) for item in content])
        if tag == "dict":
            return {_decode(key): _decode(value) for key, value in content}
        if tag == "opaque" and isinstance(content, str):
            raise _Opaque(content)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise _Garbled from None
    raise _Garbled


def _repr(value) -> str:
    """As repr(), but in an order that does not depend on hashes, and total."""
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
    """One short printable line without addresses or paths of this machine."""
    for path in private:
        text = text.replace(path, "")
    text = _ADDRESS.sub("", text)
    # After the cut, so that a long text costs no more than a short one.
    cut = text if len(text) <= most else text[:most] + "..."
    return "".join(c if c.isprintable() else " " for c in cut).strip()

"""Verdicts from the answers of a child process, which are not trusted.

Expected values never reach a child: they are compared here.
"""

import collections
import dataclasses
import json
import re
from collections.abc import Sequence

from repair.sandbox import decoding
from repair.sandbox.asserts import Test, split_tests
from repair.sandbox.outcomes import Fault, Outcomes
from repair.sandbox.worker import Answer

STATUSES = (
    *("passed", "failed", "error", "syntax_error", "timeout", "crashed", "forbidden"),
)
USED_UP = "out of time or memory"
ENDED = "the program ended the interpreter"
_SHOWN_CHARS = 60  # of a value
_MESSAGE_CHARS = 80  # of an exception's message
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_ORIGIN = re.compile(r" \((/[^)]*|unknown location)\)")  # of a module, in ImportError
# "line 2: NameError: name 'y' is not defined", also of a test or the setup.
_FAULT = re.compile(r"(?:setup: |test \d+: )?(?:line \d+: )?([A-Za-z_]\w*)(?::|$)")


@dataclasses.dataclass(frozen=True)
class Result:
    """Verdict on one program.

    Attributes:
      passed: True only if every test held on a real run.
      status: "passed", "failed", "error", "syntax_error", "timeout" (it used up its
        time or its memory), "crashed" (it ended the interpreter, or wrote to the
        answer's socket) or "forbidden". Of several failed tests, the first decides.
      feedback: One short deterministic line for the model; empty if all tests pass.
      failed_tests: 0-based indices of the tests that did not hold.
      seconds: Processor time.
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


def judge(
    tests: Sequence[Test], token: str, answer: Answer, private: tuple[str, ...]
) -> Result:
    """Return the verdict on one program.

    Args:
      tests: Its tests.
      token: A secret that a true answer holds.
      answer: The answer of its child.
      private: Paths of this machine, which feedback must not show.
    """
    trust = _trust(tests)
    failed = tuple(range(len(tests)))
    try:
        if answer.end in ("used up", "too long"):
            status, feedback = "timeout", USED_UP
        else:
            reply = _read_reply(answer, token, len(tests))
            status, feedback, failed = _verdict(tests, reply, private)
    except decoding.Garbled:
        status, feedback = "crashed", ENDED
    return Result(status == "passed", status, feedback, failed, answer.seconds, trust)


def trust_of(tests: Sequence[str], setup: str = "") -> str:
    """Return the trust that verdicts on these tests have; see `Result`."""
    return _trust(split_tests(tests, setup))


def _trust(tests: Sequence[Test]) -> str:
    values = tests and all(test.kind == "value" for test in tests)
    return "value" if values else "in_child"


def read_values(answer: Answer, token: str, count: int) -> list[tuple | None] | None:
    """Read the values of a trusted program's expressions, each in a 1-tuple.

    None stands for an expression that fails or has no plain type, and in place of the
    list for a child that ended early.
    """
    try:
        reply = _read_reply(answer, token, count)
        if reply.get("memory") is True:
            return None
        if "load" in reply:
            return [None] * count
        return [_read_plain(outcomes) for outcomes in reply["tests"]]
    except decoding.Garbled:
        return None


def _read_plain(outcomes: list) -> tuple | None:
    match outcomes:
        case [{"value": sent}]:
            value = decoding.rebuild(sent)
            return None if decoding.has_opaque(value) else (value,)
        case [{"fault": _}]:
            return None
    raise decoding.Garbled


def exception_in(feedback: str) -> str | None:
    """Return the exception's name in a line of feedback, or None."""
    found = _FAULT.match(feedback)
    return found[1] if found else None


def failure_class(result: Result) -> str:
    """Return the name of the exception of an "error", else the status."""
    if result.status != "error":
        return result.status
    return exception_in(result.feedback) or "error"


def _verdict(
    tests: Sequence[Test], reply: dict, private: tuple[str, ...]
) -> tuple[str, str, tuple[int, ...]]:
    everything = tuple(range(len(tests)))
    if reply.get("memory") is True:
        return "timeout", USED_UP, everything
    if "load" in reply:
        status, text = _describe(reply["load"], private)
        if reply.get("where") == "compile":
            status = "syntax_error"
        setup = "setup: " if reply.get("where") == "setup" else ""
        return status, setup + text, everything
    first, failed = ("passed", ""), list[int]()
    for index, (test, outcomes) in enumerate(zip(tests, reply["tests"], strict=True)):
        if failure := _failure(test, outcomes, private):
            status, text = failure
            first = first if failed else (status, f"test {index + 1}: {text}")
            failed.append(index)
    return *first, tuple(failed)


def _read_reply(answer: Answer, token: str, count: int) -> dict:
    """Decode the child's line; raise Garbled if it is missing, forged or torn."""
    line, *rest = answer.text.split("\n")
    if answer.end != "answered" or rest != [""]:  # a program that wrote too
        raise decoding.Garbled
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        raise decoding.Garbled from None
    match reply:
        case {"token": secret} if secret != token:
            raise decoding.Garbled
        case {"token": _, "load": _} | {"token": _, "memory": True}:
            return reply
        case {"token": _, "tests": [*tests]} if len(tests) == count:
            if all(isinstance(outcomes, list) for outcomes in tests):
                return reply
    raise decoding.Garbled


def _failure(
    test: Test, outcomes: list, private: tuple[str, ...]
) -> tuple[str, str] | None:
    """Return None if the test held, else (status, feedback)."""
    found = Outcomes(test.steps, outcomes)
    try:
        for check in test.checks:
            found.require(check.first)
            if not check.holds(found):
                shown = ", ".join(
                    decoding.format_value(value) for value in found.seen(check)
                )
                return "failed", f"got {clean_line(shown, private, _SHOWN_CHARS)}"
        found.require(len(test.steps))
    except Fault as fault:
        status, text = _describe(fault.content, private)
        # The test's own assert failed, and not one inside of the program.
        bare = test.kind == "exec" and text.startswith("AssertionError")
        return ("failed", "failed") if bare else (status, text)
    return None


def _describe(fault: dict, private: tuple[str, ...]) -> tuple[str, str]:
    """Return the status of an exception and the line of feedback for it."""
    match fault:
        case {"type": str(kind), "message": str(message), "line": line}:
            if not (line is None or type(line) is int and 0 <= line < 10**9):
                raise decoding.Garbled
        case _:
            raise decoding.Garbled
    where = f"line {line}: " if line else ""
    message = clean_line(_ORIGIN.sub("", message), private, _MESSAGE_CHARS)
    kind = clean_line(kind, private, _SHOWN_CHARS)
    text = where + kind + (f": {message}" if message else "")
    return "forbidden" if fault.get("forbidden") is True else "error", text


def clean_line(text: str, private: tuple[str, ...], most: int) -> str:
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

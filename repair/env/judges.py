"""Judges of a user's file: the real pytest, or the sandbox for plain asserts.

A judge is a verifier of one file. Its jobs hold the code of a view, which may be one
function; it runs the whole file.
"""

import ast
import collections
import dataclasses
import os
from collections.abc import Sequence
from typing import Self

from repair.env.shown_tests import show_test
from repair.env.sourcefile import SourceFile
from repair.env.view import View, whole_view
from repair.errors import UserError
from repair.sandbox import Level, Limits, Result, Sandbox
from repair.sandbox.project_pool import Failure, Project, PytestReport, PytestSandbox
from repair.sandbox.syntax import parse_program
from repair.sandbox.verdict import ENDED, USED_UP, clean_line

SYNTAX_ERRORS = ("SyntaxError", "IndentationError", "TabError")
_SHOWN = 60  # characters of a value, as in the sandbox's own feedback
_MESSAGE = 80  # of a message
_FACTOR, _LEAST = 10, 1.0  # time of an attempt: times the first run's, seconds


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The tests' answer to one version of a file.

    Attributes:
      result: The verdict, with the feedback for the model.
      total: Number of tests; 0 if none could be collected.
      failing: Names of those that fail.
      details: A line on each failure.
      text: The failures in full.
      shown: Statements that failed.
      lines: Lines of the file on the failing tracebacks, innermost first.
    """

    result: Result
    total: int
    failing: tuple[str, ...]
    details: tuple[str, ...]
    text: str = ""
    shown: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()

    @property
    def passed(self) -> bool:
        """True if the file passes."""
        return self.result.passed

    @property
    def rank(self) -> tuple:
        """Sort key: the less, the better."""
        return not self.passed, self.total == 0, len(self.failing)


class _Judge:
    """A verifier of one file; subclasses run the tests.

    Attributes:
      view: The part of the file that jobs hold.
      shown: Statements that the prompt shows, numbered in feedback from 1.
    """

    level: Level

    def __init__(self, file: SourceFile):
        self.file, self.view = file, whole_view(file.code)
        self.shown: tuple[str, ...] = ()
        self.counts: collections.Counter[str] = collections.Counter()
        self._outcomes: dict[str, Judgement] = {}

    def outcome(self, code: str) -> Judgement:
        """Return the tests' answer to a version of the file."""
        return self.outcomes([code])[0]

    def outcomes(self, codes: Sequence[str]) -> list[Judgement]:
        """Return the tests' answers to versions of the file, each run once."""
        new = [code for code in dict.fromkeys(codes) if code not in self._outcomes]
        self._outcomes.update(zip(new, self._run(new), strict=True))
        return [self._outcomes[code] for code in codes]

    def look_at(self, view: View, shown: tuple[str, ...]) -> None:
        """Take jobs of another view, and number feedback by other tests."""
        self.view, self.shown = view, shown
        self._outcomes.clear()

    def map(self, jobs: Sequence[tuple]) -> list[Result]:
        """Return results in the order of jobs (code of the view, ...)."""
        found = self.outcomes([self.view.whole(job[0]) for job in jobs])
        results = [each.result for each in found]
        for result in results:
            self.counts.update([result.status, f"trust_{result.trust}"])
        return results

    def allowances(self, references: Sequence[tuple]) -> list[float]:
        """Return the processor seconds of an attempt, which the judge keeps itself."""
        return [self.cpu_seconds] * len(references)

    cpu_seconds: float

    def _run(self, codes: list[str]) -> list[Judgement]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the workers."""
        raise NotImplementedError


class AssertJudge(_Judge):
    """Plain asserts, without pytest: values leave the program's process.

    Args:
      file: The program.
      tests: The asserts.
      limits: Limits of a run.
    """

    def __init__(self, file: SourceFile, tests: Sequence[str], limits: Limits):
        super().__init__(file)
        self.tests, self.cpu_seconds = tuple(tests), limits.cpu_seconds
        self._sandbox = Sandbox(limits=limits)

    @property
    def level(self) -> Level:  # type: ignore[override]
        """Isolation level of the programs."""
        return self._sandbox.level

    def close(self) -> None:
        self._sandbox.close()

    def _run(self, codes: list[str]) -> list[Judgement]:
        order = (*self.shown, *(t for t in self.tests if t not in self.shown))
        found = []
        for result in self._sandbox.map([(code, order) for code in codes]):
            shown = tuple(order[i] for i in result.failed_tests)
            told = result.feedback.removeprefix(
                f"test {min(result.failed_tests or (0,)) + 1}: "
            )
            details = [told, *[""] * (len(shown) - 1)][: len(shown)]
            total = len(self.tests)
            found.append(Judgement(result, total, shown, tuple(details), "", shown))
        return found


class PytestJudge(_Judge):
    """The real pytest.

    A version passes if pytest says so and every test of the file as it was is still
    there: a program that skips its tests, or no longer has their doctests, fails.

    Args:
      file: The program.
      project: Its project.
      limits: Limits of a run.
      workers: Number of processes.
    """

    def __init__(
        self,
        file: SourceFile,
        project: Project,
        limits: Limits,
        workers: int | None = None,
    ):
        super().__init__(file)
        self.project, self.cpu_seconds = project, limits.cpu_seconds
        self._limits = limits
        self._sandbox = PytestSandbox(project, workers, limits)
        self._known: tuple[str, ...] | None = None  # tests that must not vanish
        self._skipped: frozenset[str] = frozenset()
        self._examples = _examples(file.code)

    @property
    def level(self) -> Level:  # type: ignore[override]
        """Isolation level of the programs."""
        return self._sandbox.level

    def close(self) -> None:
        self._sandbox.close()

    def start(self) -> tuple[Judgement, PytestReport]:
        """Run the file as it is: its tests must stay, its time bounds the attempts."""
        (report,) = self._sandbox.map([{}])
        self._known = report.ids
        skipped = (x for x, outcome in report.outcomes.items() if outcome == "skipped")
        self._skipped = frozenset(skipped)
        if not report.used_up:
            least = max(_FACTOR * report.seconds, _LEAST)
            self.cpu_seconds = min(least, self._limits.cpu_seconds)
        return self._judge(self.file.code, report), report

    def _run(self, codes: list[str]) -> list[Judgement]:
        jobs, refused = [], {}
        for code in codes:
            try:
                jobs.append({self.project.program: self.file.with_code(code)})
            except UserError as error:
                refused[code] = str(error)
        reports = iter(self._sandbox.map(jobs, self.cpu_seconds))
        return [
            self._refuse(refused[code])
            if code in refused
            else self._judge(code, next(reports))
            for code in codes
        ]

    def _refuse(self, reason: str) -> Judgement:
        result = Result(False, "error", reason, (), 0.0, "in_child")
        return Judgement(result, 0, (), ())

    def _judge(self, code: str, report: PytestReport) -> Judgement:
        known = self._known or ()
        passed = {x for x, o in report.outcomes.items() if o == "passed"}
        gone = [x for x in known if x not in passed | self._skipped]
        broken = [f.id or "pytest" for f in report.failures if f.id not in report.ids]
        failing = tuple(dict.fromkeys([*report.failing, *gone, *broken]))
        status, feedback = self._feedback(report, failing)
        own = any(name.startswith(f"{self.project.program}::") for name in known)
        if status == "passed" and own and _examples(code) != self._examples:
            status, feedback = "failed", "the doctests have changed"
        shown = [self._show(failure) for failure in report.failures]
        details = {f.id or "pytest": self._describe(f) for f in report.failures}
        program = self.project.program
        lines = [
            line
            for failure in report.failures
            for path, line, _ in reversed(failure.frames)
            if path == program
        ]
        passes = status == "passed"
        counted = () if passes else tuple(range(len(self.shown)))
        return Judgement(
            Result(passes, status, feedback, counted, report.seconds, "in_child"),
            len(set(known) | set(report.ids)),
            failing,
            tuple(details.get(name, "") for name in failing),
            "\n".join(f"{f.id}\n{f.text}" for f in report.failures) or report.text,
            tuple(dict.fromkeys(filter(None, shown))) or self._any_asserts(),
            tuple(lines),
        )

    def _feedback(
        self, report: PytestReport, failing: tuple[str, ...]
    ) -> tuple[str, str]:
        """Return the status of a run and the line for the model."""
        if report.used_up:
            return "timeout", USED_UP
        if report.failures:
            failure = report.failures[0]
            forbidden = failure.kind == "PermissionError"
            asserts = failure.kind in ("AssertionError", "DocTestFailure", "Failed")
            status = "failed" if asserts else "forbidden" if forbidden else "error"
            if failure.kind in SYNTAX_ERRORS:
                status = "syntax_error"
            return status, self._say(failure)
        if report.exit_code is None:
            return "crashed", ENDED
        if report.passed and not failing:
            return "passed", ""
        errors = [x[2:].strip() for x in report.text.split("\n") if x.startswith("E ")]
        what = errors[-1] if errors else "tests are skipped or gone"
        return "error", self._clean(what, _MESSAGE)

    def _say(self, failure: Failure) -> str:
        source = self._show(failure)
        label = ""
        if source in self.shown:
            label = f"test {self.shown.index(source) + 1}: "
        elif source:
            label = self._clean(source.removeprefix("assert "), _MESSAGE) + ": "
        program = self.project.program
        lines = [line for path, line, _ in failure.frames if path == program]
        here = self.view.line(lines[-1]) if lines else None
        place = f"line {here}: " if here else ""
        return label + place + self._describe(failure)

    def _describe(self, failure: Failure) -> str:
        """Return the value that was got, or the exception, in one line."""
        message = failure.message.strip().split("\n")[0]
        if failure.kind in ("AssertionError", "DocTestFailure", "Failed"):
            if failure.got is not None:
                return f"got {self._clean(failure.got, _SHOWN)}"
            return self._clean(message or "failed", _MESSAGE)
        text = self._clean(message, _MESSAGE)
        return failure.kind + (f": {text}" if text else "")

    def _show(self, failure: Failure) -> str:
        return show_test(failure, self.project.files, self.project.program)

    def _any_asserts(self) -> tuple[str, ...]:
        """Return statements to show where no test has run."""
        name = self.project.arguments[0]
        path = os.path.normpath(os.path.join(self.project.cwd, name.partition("::")[0]))
        try:
            tree = ast.parse(self.project.files[path])
        except (KeyError, SyntaxError, ValueError):
            return (f"pytest {name}",)
        asserts = [n for n in ast.walk(tree) if isinstance(n, ast.Assert)]
        return tuple(map(ast.unparse, asserts)) or (f"pytest {name}",)

    def _clean(self, text: str, most: int) -> str:
        return clean_line(text, self._sandbox.private, most)


def plain_asserts(text: str, module: str) -> list[str] | None:
    """Return the asserts of a file that holds nothing else, or None.

    Args:
      text: The file's text.
      module: The program's name as a module, whose import may stand before them.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    match body:
        case [ast.ImportFrom(name, level=0), *rest] if name == module:
            body = rest
    if not body or not all(isinstance(each, ast.Assert) for each in body):
        return None
    return [ast.get_source_segment(text, each) or "" for each in body]


def _examples(code: str) -> list[str]:
    """Return the docstrings of a program that hold doctests."""
    try:
        tree = parse_program(code)
    except (SyntaxError, ValueError):
        return []
    kinds = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    texts = [ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, kinds)]
    return [text for text in texts if text and ">>>" in text]

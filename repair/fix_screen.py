"""The terminal's side of `repair.fix`: short unless --verbose is given."""

import difflib

from rich.console import Console
from rich.text import Text

from repair.env.editor import split_program
from repair.env.judges import Judgement

_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_LINES = 24  # before the end, unless verbose; the end takes up to 14
_FAILURES = 5
_DIFF = 8
_WIDTH = 160  # characters of a line on a failure
_ENDS = {
    "exited_unsolved": "stopped here",
    "max_turns": "out of turns",
    "truncated": "out of context",
    "fault": "broke off",
}


class Screen:
    """Prints a repair: failures, edits as they come, and how it ended.

    Args:
      console: The terminal.
      verbose: Print everything; else at most 40 lines.
    """

    def __init__(self, console: Console, verbose: bool):
        self._console, self._verbose = console, verbose
        self._left = _LINES
        self._greedy: float | None = None  # seconds

    def status(self, text: str):
        """Return a context manager that shows what goes on."""
        return self._console.status(text)

    def say(self, text: str, style: str = "") -> None:
        """Print a line, unless there have been too many."""
        self._left -= 1
        if self._left >= 0 or self._verbose:
            _print(self._console, text, style)
        elif self._left == -1:
            _print(self._console, "... more with --verbose", "dim")

    def end(self, text: str, style: str = "bold") -> None:
        """Print a line that always counts."""
        _print(self._console, text, style)

    def failures(self, path: str, outcome: Judgement) -> None:
        """Print which tests fail, and how."""
        self.say(f"{path} fails {_count(outcome)}: {outcome.result.feedback}", "bold")
        for line in _failing(outcome, self._verbose):
            self.say(line, "yellow")
        if self._verbose:
            _print(self._console, outcome.text)

    def show(self, attempt, steps, seconds: float) -> None:
        """Print new edits of the greedy attempt; of the others how they end."""
        over = attempt.passed or attempt.ended is not None
        greedy = self._greedy is None
        if greedy or self._verbose or attempt.passed:
            for step in attempt.steps if attempt.passed and not greedy else steps:
                for line in diff_of(step.before, step.after, 0)[1:]:
                    self.say(line, _STYLES.get(line[0], ""))
                self.say(f"  {step.said or 'all tests pass'}", "dim")
        if over:
            how = "passes" if attempt.passed else _ENDS[attempt.ended]
            took = f", {seconds:.1f} s" if greedy else ""
            edits = f"{attempt.edits} edit{'s' * (attempt.edits != 1)}"
            self.say(f"attempt {attempt.number}: {edits}, {how}{took}")
        if over and greedy:
            self._greedy = seconds

    def best(self, old: str, new: str, outcome: Judgement, number: int, edits: int):
        """Print the best version as a diff."""
        if not edits:
            return
        held = "passes all tests" if outcome.passed else f"fails {_count(outcome)}"
        self.end(f"best: attempt {number}, {edits} edit{'s' * (edits != 1)}, {held}")
        lines = diff_of(old, new, 3 if self._verbose or outcome.passed else 1)
        most = len(lines) if self._verbose or outcome.passed else _DIFF
        for line in lines[:most]:
            self.end(line, _STYLES.get(line[0], ""))

    def advice(self, path: str, outcome: Judgement, edits: int, args) -> None:
        """Say what has not been reached, and what to try."""
        if not edits:
            self.end("no edit made it better")
        for line in _failing(outcome, self._verbose)[:3]:
            self.end(line, "yellow")
        self.end(
            f"not repaired; {path} is as it was. Try --samples={2 * args.samples or 4},"
            f" --temperature={args.temperature + 0.2:g}, --text with what the program"
            " should do, or another checkpoint, also one of a longer context"
        )


def diff_of(old: str, new: str, around: int) -> list[str]:
    """Return a diff, with some lines around the changes and without file names."""
    old_lines, new_lines = split_program(old), split_program(new)
    lines = difflib.unified_diff(old_lines, new_lines, lineterm="", n=around)
    return list(lines)[2:]


def _count(outcome: Judgement) -> str:
    if not outcome.total:
        return "before any test runs"
    return f"{len(outcome.failing)} of {outcome.total} tests"


def _failing(outcome: Judgement, verbose: bool) -> list[str]:
    most = len(outcome.failing) if verbose else _FAILURES
    pairs = list(zip(outcome.failing, outcome.details, strict=True))
    lines = [f"  {name}" + (f"  {told}" if told else "") for name, told in pairs[:most]]
    lines = [x if len(x) <= _WIDTH else x[:_WIDTH] + "..." for x in lines]
    more = len(pairs) - most
    return [*lines, f"  and {more} more"] if more > 0 else lines


def _print(console: Console, text: str, style: str = "") -> None:
    """Print text without markup, line cuts and control characters of terminals."""
    shown = "".join(
        c if c.isprintable() or c in "\t\n" else repr(c)[1:-1] for c in text
    )
    console.print(Text(shown, style), soft_wrap=True, highlight=False)

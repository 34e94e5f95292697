"""Repair a file: python -m repair.fix FILE --tests=TESTS --checkpoint=DIR.

Exit codes: 0 repaired, or nothing to repair; 1 not repaired, the best attempt is shown
and the file is untouched; 2 bad input.
"""

import ast
import difflib

from absl import flags
from rich.console import Console
from rich.text import Text

from repair import cli
from repair.env.editor import split_program
from repair.env.sourcefile import SourceFile, check_writable, read_source
from repair.env.state_text import join_state
from repair.env.tools import LineEditor
from repair.env.usertests.doubts import check_imports, doubts
from repair.env.usertests.read import Tests, read_tests
from repair.errors import MOST_SAMPLES, UserError
from repair.sandbox import Limits, Result, Sandbox
from repair.sandbox.syntax import parse_program
from repair.sandbox.verdict import failure_class
from repair.tasks import Bug, Task

_STYLES = {"+": "green", "-": "red", "@": "cyan"}
# Explanations of classes of failure.
_HINTS = {
    "timeout": (
        "it takes longer than --cpu_seconds, {limits.cpu_seconds:g} s in all, or needs"
        " more than {limits.memory_mb} MiB"
    ),
    "crashed": "it ends the interpreter in a way that no test can catch",
    "forbidden": "the sandbox has no network and no files to write, nor will a repair",
    "SystemExit": "it ends the interpreter when it is loaded, or when tests call it",
    "EOFError": "there is no input to read in the sandbox",
    "FileNotFoundError": "of files, the sandbox has the standard library's alone",
}


def main(path: str) -> int:
    """Run the checks that need no model, then repair the file or show an attempt."""
    args, console = flags.FLAGS, Console()
    file = read_source(path)
    if not args.dry_run:
        check_writable(file.path)
    tests = _read_tests(file, path, args.tests)
    if args.samples and not args.temperature > 0:
        raise UserError(
            "--temperature is 0, so that all samples would be the greedy attempt; give"
            " more, or --samples=0"
        )
    limits = Limits(
        seconds=Limits.seconds + args.cpu_seconds, cpu_seconds=args.cpu_seconds
    )
    with Sandbox(limits=limits) as sandbox:
        for doubt in doubts(tests, args.tests, path, file.code, sandbox):
            _say(console, doubt, "yellow")
        before = sandbox.run(file.code, tests.sources, tests.setup)
        if before.passed:
            _say(console, f"{path} passes all tests; there is nothing to repair")
            return 0
        check_imports(file, before)
        _say(console, _told(path, before, tests, limits))
        if sandbox.level.name == "weak":
            _say(console, sandbox.level.line(), "yellow")
        task = Task(
            path, args.text or _about(file.code), file.code, tests.sources, tests.setup
        )
        best = _attempt(Bug(path, task, file.code), before, sandbox, console)
    if best is None:
        _say(console, f"not repaired; {path} is as it was")
        return 1
    return _finish(file, path, best, console)


def _read_tests(file: SourceFile, path: str, where: str) -> Tests:
    tests = read_source(where)
    if tests.path == file.path:
        raise UserError(
            f"{where} is the file to be repaired; give tests in a file of their own,"
            " which no repair can change"
        )
    return read_tests(tests.code, where, file.path.stem, file.code)


def _attempt(bug: Bug, before: Result, sandbox: Sandbox, console: Console):
    """Return the code of the first attempt that passes; else show the best one."""
    # Imported here, since they import jax, which the checks before do not need.
    from repair.training.attempts import best_of, try_repairs
    from repair.training.policy import load_policy

    args = flags.FLAGS
    cli.use_compile_cache(args.compile_cache)
    with console.status("loading the model"):
        policy = load_policy(
            args.checkpoint,
            verifier=sandbox,
            base=args.base,
            slots=max(args.samples, 1),
            cohorts=1,
            places=1,
            prefill=1,
        )
    _check_policy(policy, bug, before)
    with _Display(console, args.samples) as display:
        attempts = try_repairs(
            policy,
            bug,
            samples=args.samples,
            temperature=args.temperature,
            seed=args.seed,
            watch=display.show,
        )
    best, total = best_of(attempts, sandbox, bug), len(bug.task.test_list)
    held = f"attempt {best.number} passes {total - best.failing} of {total} tests"
    held += f" after {best.edits} edit{'s' * (best.edits != 1)}"
    console.rule(held if best.passed else f"best: {held}")
    _print_diff(console, bug.faulty_code, best.code, 3)
    return best.code if best.passed else None


def _check_policy(policy, bug: Bug, before: Result) -> None:
    """Refuse a checkpoint that writes no edits, and a file too long for its context."""
    where, text = flags.FLAGS.checkpoint, policy.config.text
    if policy.config.mode != "coe":
        raise UserError(
            f"{where} was trained in mode {policy.config.mode!r}, to answer in one"
            " piece; fix needs one that edits (mode 'coe')"
        )
    state = join_state(LineEditor(bug.faulty_code).render(), before.feedback)
    tokenizer = policy.engine.tokenizer
    used = len(tokenizer.prompt_ids(bug.task)) + len(tokenizer.encode(state))
    if used + text.max_command > text.max_length:
        raise UserError(
            f"{bug.bug_id} and its tests are {used} tokens, and the model's context has"
            f" {text.max_length}, {text.max_command} of them for a command; give a"
            " shorter file or fewer tests"
        )


def _finish(file: SourceFile, path: str, code: str, console: Console) -> int:
    """Write the repair, unless this is a dry run."""
    data = file.with_code(code)
    if flags.FLAGS.dry_run:
        _say(console, f"repaired; --dry_run leaves {path} as it was")
        return 0
    backup = None if file.in_git() else file.back_up()
    try:
        file.write(data)
    except UserError:
        if backup:
            backup.unlink()
        raise
    if backup:
        _say(console, f"the old program is in {backup}")
    _say(console, f"repaired {path}: all tests pass")
    return 0


class _Display:
    """Display of the greedy attempt turn by turn, and of samples as each ends."""

    _ENDS = {
        "exited_unsolved": "stopped here",
        "max_turns": "out of turns",
        "truncated": "out of context",
        "fault": "broke off",
    }

    def __init__(self, console: Console, samples: int):
        self._console, self._samples = console, samples
        self._turn, self._ended = 0, 0
        self._status = console.status("attempt 1: greedy")

    def __enter__(self):
        self._status.start()
        return self

    def __exit__(self, *exception):
        self._status.stop()

    def show(self, attempt, steps) -> None:
        """Show the new steps of an attempt."""
        over = attempt.passed or attempt.ended is not None
        if attempt.number == 1:
            if len(attempt.steps) == len(steps):
                self._console.rule("attempt 1: greedy")
            self._print(attempt, steps, over)
            return
        self._ended += over
        if len(attempt.steps) > self._turn:
            self._turn = len(attempt.steps)
            if not self._console.is_terminal:
                _say(self._console, self._progress(), "dim")
        self._status.update(self._progress())
        if over:
            self._console.rule(f"attempt {attempt.number}: a sample")
            self._print(attempt, attempt.steps, over)

    def _progress(self) -> str:
        last = 1 + self._samples
        name = "attempt 2" if last == 2 else f"attempts 2 to {last}"
        return f"{name}: turn {self._turn}, {self._ended} of {self._samples} ended"

    def _print(self, attempt, steps, over: bool) -> None:
        for step in steps:
            _say(self._console, step.command, "bold")
            _print_diff(self._console, step.before, step.after, 1)
            _say(self._console, step.said or "all tests pass", "dim")
        if over and not attempt.passed:
            _say(self._console, self._ENDS[attempt.ended], "dim")


def _print_diff(console: Console, old: str, new: str, around: int) -> None:
    """Print a coloured diff, with some lines around the changes."""
    lines = difflib.unified_diff(
        split_program(old), split_program(new), lineterm="", n=around
    )
    for line in list(lines)[2:]:
        _say(console, line, _STYLES.get(line[0], ""))


def _say(console: Console, text: str, style: str = "") -> None:
    """Print text without markup, line cuts and control characters of terminals."""
    shown = "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)
    console.print(Text(shown, style), soft_wrap=True, highlight=False)


def _told(path: str, before: Result, tests: Tests, limits: Limits) -> str:
    """Describe the failure of the program in one line."""
    failing, total = len(before.failed_tests), len(tests.sources)
    text = f"{path} fails {failing} of {total} tests; {before.feedback}"
    hint = _HINTS.get(failure_class(before), "").format(limits=limits)
    return f"{text} ({hint})" if hint else text


def _about(code: str) -> str:
    """Return the first docstring of the program, or a general task text."""
    try:
        tree = parse_program(code)
    except (SyntaxError, ValueError):
        return "Repair the program."
    kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
    found = (ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, kinds))
    return next((text for text in found if text), "Repair the program.")


def define() -> None:
    """Define the flags."""
    cli.define_compile_cache()
    flags.declare_key_flag("compile_cache")
    flags.DEFINE_string(
        "tests", None, "A file of plain asserts, or of pytest functions."
    )
    flags.DEFINE_string(
        "checkpoint", None, "WORKDIR/checkpoints/STAGE, a step below it, or best."
    )
    flags.DEFINE_string("base", "", "Base model of adapters, if it has moved.")
    flags.DEFINE_string("text", "", "What the program should do; else its docstring.")
    flags.DEFINE_integer(
        "samples", 4, "Attempts after the greedy one.", 0, MOST_SAMPLES
    )
    flags.DEFINE_float("temperature", 0.8, "Of these attempts.", 0.0)
    flags.DEFINE_integer("seed", 0, "Another draws other samples.", 0)
    flags.DEFINE_float(
        "cpu_seconds",
        Limits.cpu_seconds,
        "What all tests of a program may take.",
        lower_bound=0.01,
        upper_bound=3600,
    )
    flags.DEFINE_bool("dry_run", False, "Show the repair, write nothing.")
    flags.mark_flags_as_required(["tests", "checkpoint"])


def command() -> None:
    """Run as an installed script, repair-fix."""
    cli.run_main(main, define, "FILE")


if __name__ == "__main__":
    command()

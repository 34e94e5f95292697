"""Repair a file: python -m repair.fix FILE --tests=TESTS --checkpoint=DIR.

Or with --model=MODEL --adapter=FOLDER in the place of a checkpoint.

TESTS is what pytest takes: a file, a folder or FILE::TEST; further arguments of pytest
are given by --pytest. Exit codes: 0 repaired, or nothing to repair; 1 not repaired, the
best version is shown and the file is untouched; 2 bad input.
"""

import ast
import importlib.util
import json
import pathlib
import time

from absl import flags
from rich.console import Console

from repair import cli
from repair.env.judges import (
    SYNTAX_ERRORS,
    AssertJudge,
    Judgement,
    PytestJudge,
    plain_asserts,
)
from repair.env.project import read_project
from repair.env.sourcefile import SourceFile, check_writable, read_source
from repair.env.state_text import join_state
from repair.env.tools import LineEditor
from repair.env.view import View, function_views, names_in, whole_view
from repair.errors import MOST_SAMPLES, UserError
from repair.fix_screen import Screen, diff_of
from repair.sandbox import Limits
from repair.sandbox.syntax import parse_program
from repair.tasks import Bug, Task

_CPU_SECONDS = 10.0
_VIEWS = 3  # functions to try of a file that is longer than the context
_SHOWN = 5  # tests in the prompt
# pytest's exit codes
_USAGE, _NO_TESTS = 4, 5


def main(path: str) -> int:
    """Run the checks that need no model, then repair the file or show an attempt."""
    args = flags.FLAGS
    cli.policy_source(args)  # refuses none and two
    console = Console(stderr=args.json)
    file = read_source(path)
    if not args.dry_run:
        check_writable(file.path)
    if args.samples and not args.temperature > 0:
        raise UserError(
            "--temperature is 0, so that all samples would be the greedy attempt; give"
            " more, or --samples=0"
        )
    screen = Screen(console, args.verbose)
    with _open_judge(file, path) as judge:
        before = _first_outcome(judge)
        if before.passed:
            screen.end(f"{path} passes all {before.total} tests; it is left alone")
            return _report(path, before, before)
        screen.failures(path, before)
        if judge.level.name == "weak":
            screen.say(judge.level.line(), "yellow")
        best = _repair(file, path, judge, before, screen)
    return _finish(file, path, before, best, screen)


def _open_judge(file: SourceFile, path: str) -> AssertJudge | PytestJudge:
    args = flags.FLAGS
    limits = Limits(
        seconds=Limits.seconds + args.cpu_seconds, cpu_seconds=args.cpu_seconds
    )
    where = pathlib.Path(args.tests.partition("::")[0])
    if where.resolve() == file.path and "--doctest-modules" not in args.pytest:
        raise UserError(
            f"{where} is the file to be repaired; give tests in a file of their own,"
            " which no repair can change, or its doctests by --pytest=--doctest-modules"
        )
    if where.is_file():
        asserts = plain_asserts(read_source(where).code, file.path.stem)
        if asserts is not None:
            return AssertJudge(file, asserts, limits)
    if importlib.util.find_spec("pytest") is None:
        raise UserError(
            f"{args.tests} is for pytest, which is not installed here; run pip install"
            " pytest, or give a file of asserts alone"
        )
    return PytestJudge(file, read_project(file.path, args.tests, args.pytest), limits)


def _first_outcome(judge: AssertJudge | PytestJudge) -> Judgement:
    """Run the file as it is; refuse tests that pytest cannot use."""
    if isinstance(judge, AssertJudge):
        return judge.outcome(judge.file.code)
    outcome, report = judge.start()
    tests = flags.FLAGS.tests
    if report.exit_code == _NO_TESTS:
        raise UserError(
            f"pytest finds no test in {tests}; give tests, or asserts alone such as"
            " `assert f(1) == 2`"
        )
    if report.exit_code == _USAGE and "while loading conftest" not in report.text:
        lines = [line for line in report.text.split("\n") if line.strip()]
        told = [x.partition(": error: ")[2] or x.partition("ERROR: ")[2] for x in lines]
        told = [x for x in told if x and not x.startswith("usage:")] or lines[-1:]
        raise UserError(f"pytest refuses {tests}: {''.join(told[:1])}")
    project = judge.project
    for failure in report.failures:
        where, line, _ = failure.frames[-1] if failure.frames else ("", 0, "")
        if where in ("", project.program):
            continue
        if failure.kind in SYNTAX_ERRORS:
            raise UserError(f"{where}:{line} is not valid Python: {failure.message}")
        name = failure.message.partition("No module named '")[2].partition("'")[0]
        if name and not any(name.split(".")[0] in p for p in project.files):
            raise UserError(
                f"{where}:{line} imports {name}, which is not installed here; install"
                " it, or run repair in the environment in which these tests run"
            )
    return outcome


def _repair(
    file: SourceFile, path: str, judge, before: Judgement, screen: Screen
) -> tuple[str, Judgement, int, int]:
    """Return the best code, its outcome, and the attempt and edits that made it."""
    # Imported here, since they import jax, which the checks before do not need.
    from repair.training.attempts import try_repairs
    from repair.training.policy import load_policy

    args = flags.FLAGS
    cli.use_compile_cache(args.compile_cache)
    with screen.status("loading the model"):
        policy = load_policy(
            cli.policy_source(args),
            verifier=judge,
            base=args.model,
            report=screen.say,
            slots=max(args.samples, 1),
            cohorts=1,
            places=1,
            prefill=1,
        )
    bugs = _choose(policy, path, file.code, before)
    turns = policy.config.text.max_turns
    seconds = before.result.seconds
    screen.say(
        f"1 greedy attempt, then {args.samples} at temperature {args.temperature:g}; an"
        f" attempt takes up to {turns} edits, each some {max(seconds, 0.1):.1f} s of"
        f" tests (at most {judge.cpu_seconds:.1f} s) and the model's own time"
    )
    best = (file.code, before, 0, 0)
    count = 0
    for view, bug in bugs:
        if view.name:
            screen.say(f"working on {view.name}, since the file exceeds the context")
        judge.look_at(view, bug.task.test_list)
        started = time.monotonic()

        def watch(attempt, steps, started=started) -> None:
            screen.show(attempt, steps, time.monotonic() - started)

        with screen.status("attempts"):
            attempts = try_repairs(
                policy,
                bug,
                samples=args.samples,
                temperature=args.temperature,
                seed=args.seed,
                first=count + 1,
                watch=watch,
            )
        count += len(attempts)
        for attempt in attempts:
            edits = 0
            for step in attempt.steps:
                edits += step.before != step.after
                code = view.whole(step.after)
                found = (code, judge.outcome(code), attempt.number, edits)
                best = min(best, found, key=lambda x: (*x[1].rank, x[3]))
        if best[1].passed:
            break
    return best


def _choose(policy, path: str, code: str, before: Judgement) -> list[tuple[View, Bug]]:
    """Return the parts of the file that fit the model's context, as bugs.

    Raises:
      UserError: The checkpoint writes no edits, or nothing fits.
    """
    args, text = flags.FLAGS, policy.config.text
    if policy.config.mode != "coe":
        raise UserError(
            f"{cli.policy_source(args)} was trained in mode {policy.config.mode!r}, to"
            " answer in one piece; fix needs one that edits (mode 'coe')"
        )
    tokenizer = policy.engine.tokenizer

    def fit(view: View) -> Bug | None:
        about = args.text or _about(view.code)
        for count in range(min(len(before.shown), _SHOWN), 0, -1):
            task = Task(path, about, view.code, before.shown[:count])
            state = join_state(LineEditor(view.code).render(), before.result.feedback)
            used = len(tokenizer.prompt_ids(task))
            used += len(tokenizer.state_ids(state, first=True))
            if used + text.max_command <= text.max_length:
                return Bug(path, task, view.code)
        return None

    whole = whole_view(code)
    if bug := fit(whole):
        return [(whole, bug)]
    names = set().union(*map(names_in, before.shown))
    views = function_views(code, before.lines, names)
    fitting = [(view, bug) for view in views if (bug := fit(view))]
    if not fitting:
        raise UserError(
            f"no function of {path} fits the model's context of {text.max_length}"
            " tokens together with a test; give a checkpoint with a longer context"
        )
    return fitting[:_VIEWS]


def _finish(
    file: SourceFile, path: str, before: Judgement, best: tuple, screen: Screen
) -> int:
    """Write the repair, unless this is a dry run; say what passed and what did not."""
    code, outcome, number, edits = best
    screen.best(file.code, code, outcome, number, edits)
    if not outcome.passed:
        screen.advice(path, outcome, edits, flags.FLAGS)
        return _report(path, before, outcome, file.code, code, number, edits)
    written = backup = None
    if flags.FLAGS.dry_run:
        screen.end(f"repaired; --dry_run leaves {path} as it was")
    else:
        data = file.with_code(code)
        backup = file.back_up()
        try:
            file.write(data)
        except UserError:
            backup.unlink()
            raise
        written = True
        screen.end(f"repaired {path}: all {outcome.total} tests pass; was: {backup}")
    more = {"written": bool(written), "backup": str(backup) if backup else None}
    return _report(path, before, outcome, file.code, code, number, edits, **more)


def _report(
    path: str, before: Judgement, after: Judgement, old="", new="", *rest, **more
):
    """Print one object of JSON if asked to; return the exit code."""
    attempt, edits = rest or (0, 0)
    found = {
        "file": path,
        "repaired": after.passed and bool(edits),
        "tests": max(before.total, after.total),
        "failing_before": dict(zip(before.failing, before.details, strict=True)),
        "failing": dict(zip(after.failing, after.details, strict=True)),
        "attempt": attempt,
        "edits": edits,
        "diff": "\n".join(diff_of(old, new, 3)),
        "trust": after.result.trust,
    }
    if flags.FLAGS.json:
        print(json.dumps(found | {"written": False, "backup": None} | more))
    return 0 if after.passed else 1


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
    flags.DEFINE_string("tests", None, "Tests as pytest takes them, or plain asserts.")
    cli.define_policy()
    flags.DEFINE_string("pytest", "", "Further arguments of pytest, as in -x -k=name.")
    flags.DEFINE_string("text", "", "What the program should do; else its docstring.")
    flags.DEFINE_integer(
        "samples", 4, "Attempts after the greedy one.", 0, MOST_SAMPLES
    )
    flags.DEFINE_float("temperature", 0.8, "Of these attempts.", 0.0)
    flags.DEFINE_integer("seed", 0, "Another draws other samples.", 0)
    flags.DEFINE_float(
        "cpu_seconds",
        _CPU_SECONDS,
        "Processor time of one run of all tests.",
        lower_bound=0.01,
        upper_bound=3600,
    )
    flags.DEFINE_bool("dry_run", False, "Show the repair, write nothing.")
    flags.DEFINE_bool("verbose", False, "Show every edit and whole failures.")
    flags.DEFINE_bool("json", False, "Print one object of JSON; the rest to stderr.")
    flags.mark_flag_as_required("tests")


def command() -> None:
    """Run as an installed script, repair-fix."""
    cli.run_main(main, define, "FILE")


if __name__ == "__main__":
    command()

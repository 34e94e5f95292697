"""Repairs a file: python -m repair.fix FILE --tests=TESTS --checkpoint=DIR.

Exit codes: 0 repaired, or nothing to repair; 1 not repaired, the file is untouched;
2 bad input.
"""

import ast
import difflib
import pathlib
import shutil
import subprocess

from absl import flags
from rich.console import Console
from rich.syntax import Syntax

from repair import cli
from repair.env.answers import tool_of
from repair.errors import UserError
from repair.learn.policy import Policy, load_policy
from repair.learn.trajectory import Rollout
from repair.tasks import Bug, Task


def main(path: str) -> int:
    """Tries greedily, then by samples; writes the first program that passes."""
    args, console = flags.FLAGS, Console()
    file = pathlib.Path(path)
    code, tests = _read(file), _split_tests(_read(pathlib.Path(args.tests)))
    task = Task(file.name, args.text or _description(code), code, tests)
    policy, params = load_policy(args.checkpoint)
    with policy.sandbox:
        before = policy.sandbox.run(code, tests)
        if before.passed:
            console.print(f"{file} passes all {len(tests)} tests; nothing to repair")
            return 0
        console.print(f"{file}: {before.feedback}", highlight=False)
        best = _attempt(policy, params, Bug(file.name, task, code), console)
    if not best.passed:
        console.print(f"not repaired; {file} is as it was")
        return 1
    if args.dry_run:
        console.print(f"repaired; --dry_run leaves {file} as it was")
        return 0
    if not _tracked(file):
        backup = file.with_name(file.name + ".orig")
        shutil.copy2(file, backup)
        console.print(f"the old program is in {backup}")
    file.write_text(best.code + "\n", encoding="utf-8")
    console.print(f"repaired {file}: all {len(tests)} tests pass")
    return 0


def _attempt(policy: Policy, params, bug: Bug, console: Console) -> Rollout:
    """The first attempt that passes, else the last; each is shown."""
    args = flags.FLAGS
    rollouts = policy.play(params, [bug], 1, 0.0)
    if not rollouts[0].passed and args.samples:
        rollouts += policy.play(params, [bug], args.samples, args.temperature)
    chosen = next((r for r in rollouts if r.passed), rollouts[-1])
    for number, rollout in enumerate(rollouts, 1):
        if rollout is chosen:
            console.rule(f"attempt {number} of {len(rollouts)}: {rollout.status}")
            _show(rollout, console, tool_of(policy.config.mode))
    if not chosen.commands:
        raise UserError(
            f"{bug.bug_id} and its tests do not fit the model's context of"
            f" {policy.config.text.max_length} tokens; give a shorter file"
        )
    return chosen


def _show(rollout: Rollout, console: Console, make_tool) -> None:
    """Every command of an attempt with what it changed and what the tests said."""
    editor = make_tool(rollout.bug.faulty_code)
    for command, turn in zip(rollout.commands, rollout.turns[1:], strict=True):
        old = editor.code.split("\n")
        console.print(command, style="bold", markup=False, highlight=False)
        if not turn.malformed:
            editor.apply(command)
            diff = difflib.unified_diff(old, editor.code.split("\n"), lineterm="", n=1)
            text = "\n".join(list(diff)[2:])
            if text:
                console.print(Syntax(text, "diff", background_color="default"))
        feedback = turn.state_text.split("***\n")[-1].strip()
        said = feedback or "all tests pass"
        console.print(said, style="dim", markup=False, highlight=False)


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _split_tests(text: str) -> tuple[str, ...]:
    """The asserts of a tests file, one string each."""
    where = flags.FLAGS.tests
    try:
        statements = ast.parse(text).body
    except SyntaxError as error:
        raise UserError(
            f"{where}:{error.lineno} is not valid Python: {error.msg}"
        ) from (error)
    for statement in statements:
        if not isinstance(statement, ast.Assert):
            raise UserError(
                f"{where}:{statement.lineno} is no assert; give a file of plain asserts"
                " such as: assert f(1) == 2"
            )
    if not statements:
        raise UserError(f"{where} holds no assert; give at least one")
    return tuple(ast.unparse(statement) for statement in statements)


def _description(code: str) -> str:
    """The first docstring of the program, or words that say nothing more."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return "Repair the program."
    kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
    found = (ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, kinds))
    return next((text for text in found if text), "Repair the program.")


def _tracked(file: pathlib.Path) -> bool:
    """Whether git has this very content, so that no backup is needed."""
    command = ["git", "-C", str(file.absolute().parent), "status", "--porcelain"]
    try:
        listed = subprocess.run(
            [*command[:3], "ls-files", "--error-unmatch", file.name],
            capture_output=True,
        )
        changed = subprocess.run(
            [*command, "--", file.name], capture_output=True, text=True
        )
    except FileNotFoundError:  # no git here
        return False
    return listed.returncode == 0 and not changed.stdout.strip()


if __name__ == "__main__":
    flags.DEFINE_string("tests", None, "File of plain asserts.")
    flags.DEFINE_string("checkpoint", None, "WORKDIR/checkpoints/STAGE.")
    flags.DEFINE_string("text", "", "What the program should do; else its docstring.")
    flags.DEFINE_integer("samples", 4, "Attempts after the greedy one.", 0)
    flags.DEFINE_float("temperature", 0.8, "Of these attempts.", 0.0)
    flags.DEFINE_bool("dry_run", False, "Show the repair, write nothing.")
    flags.mark_flags_as_required(["tests", "checkpoint"])
    cli.run(main, "FILE")

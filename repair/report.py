"""Shows runs: python -m repair.report WORKDIR [WORKDIR ...].

Writes one HTML page that holds all it shows and needs no network: the results with
their intervals, the curves of the runs over one another, and episodes turn by turn.
With --terminal it prints episodes instead:

python -m repair.report runs/tiny --terminal --step=eval_rlvr --group=GROUP
python -m repair.report runs/tiny --terminal --list --failed --sort=return | less

A folder of repair.evaluate (its --out) is shown like a WORKDIR.
"""

import os
import pathlib
import sys

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import UserError
from repair.report_page.endings import SORTS


def main(*workdirs: str) -> None:
    """Read the workdirs and write the page, or print to the terminal."""
    # Here, so that --help is printed at once: these import jax.
    from repair.report_page import page, terminal
    from repair.report_page.runs import open_runs
    from repair.report_page.terminal import Listing, list_episodes
    from repair.training.workdir import write_whole

    args, runs = flags.FLAGS, open_runs(workdirs)
    if (args.failed or args.error or args.sort) and not args.list:
        raise UserError("--failed, --error and --sort go with --terminal --list")
    if args.terminal:
        if args.out:
            raise UserError("--out goes with the page; leave it out with --terminal")
        for run in runs:
            choice = args.step, args.group, args.sample, args.status
            if args.list:
                more = args.error, args.failed, args.sort or ""
                _print(list_episodes(run, Listing(*choice, *more)))
            else:
                terminal.show(run, Console(), *choice)
        return
    if args.sample or args.status or args.list:
        raise UserError(
            "--sample, --status and --list go with --terminal; the page lets one choose"
            " all of them"
        )
    text = page.write_page(runs, args.episodes, args.step, args.group)
    out = pathlib.Path(args.out or runs[0].folder / "report.html")
    try:
        write_whole(out, text)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error}); choose --out") from error
    print(f"the report is in {out}")


def _print(lines: list[str]) -> None:
    """Print lines to a pager or program that may end before the last one."""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        # Nobody reads on; Python would complain when it closes the pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def define() -> None:
    """Define the flags."""
    flags.DEFINE_string("out", "", "The page; by default report.html in WORKDIR.")
    flags.DEFINE_integer("episodes", 1000, "Most on the page, about; 0 for all.", 0)
    flags.DEFINE_bool("terminal", False, "Print to the terminal; write no page.")
    flags.DEFINE_string(
        "step", "", "Only this one's episodes: eval_sft, or 10 of RLVR."
    )
    flags.DEFINE_string("group", "", "Only the episodes of this faulty program.")
    flags.DEFINE_string("sample", "", "In the terminal: only this one, or greedy.")
    flags.DEFINE_string("status", "", "In the terminal: only those that ended so.")
    flags.DEFINE_bool(
        "list",
        False,
        "In the terminal: a line an episode, at first the last stage's.",
    )
    orders = [f"{sign}{name}" for name in SORTS for sign in ("", "-")]
    flags.DEFINE_enum("sort", None, orders, "Of --list; with - the highest first.")
    flags.DEFINE_bool("failed", False, "In --list: only failures.")
    flags.DEFINE_string("error", "", "In --list: only those that end with it.")


def command() -> None:
    """Run as an installed script, repair-report."""
    cli.run_main(main, define, "WORKDIR...")


if __name__ == "__main__":
    command()

"""Shows runs: python -m repair.report WORKDIR [WORKDIR ...].

Writes one HTML page that holds all it shows and needs no network: the results with
their intervals, the curves of the runs over one another, and episodes turn by turn.
With --terminal it prints episodes instead:

python -m repair.report runs/tiny --terminal --step=eval_rlvr --group=GROUP
"""

import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import UserError
from repair.report_page import page, terminal
from repair.report_page.runs import open_runs
from repair.training.workdir import write_whole


def main(*workdirs: str) -> None:
    """Read the workdirs and write the page, or print to the terminal."""
    args, runs = flags.FLAGS, open_runs(workdirs)
    if args.terminal:
        if args.out:
            raise UserError("--out goes with the page; leave it out with --terminal")
        for run in runs:
            choice = args.step, args.group, args.sample, args.status
            terminal.show(run, Console(), *choice)
        return
    if args.sample or args.status:
        raise UserError(
            "--sample and --status go with --terminal; the page lets one choose both"
        )
    text = page.write_page(runs, args.episodes, args.step, args.group)
    out = pathlib.Path(args.out or runs[0].folder / "report.html")
    try:
        write_whole(out, text)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error}); choose --out") from error
    print(f"the report is in {out}")


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


def command() -> None:
    """Run as an installed script, repair-report."""
    cli.run_main(main, define, "WORKDIR...")


if __name__ == "__main__":
    command()

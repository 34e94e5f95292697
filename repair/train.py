"""Trains a model: python -m repair.train --config=configs/tiny.py --workdir=DIR.

Several processes, one a host or a GPU, each run this with --distributed where the
cluster tells who they are (SLURM, Open MPI, Kubernetes, Cloud TPU), or else with
--coordinator, --processes and --process. The workdir must be one that all of them see.
With --plan nothing is trained: see docs/scaling.md.
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from repair import cli
from repair.errors import UserError
from repair.model import multihost
from repair.training import plan
from repair.training.config import read
from repair.training.metrics import results_table
from repair.training.run import run


def main():
    """Runs the config's stages and prints the table."""
    args = flags.FLAGS
    config = read(args.config)
    if args.plan:
        return _plan(config, args.plan)
    if not args.workdir:
        raise UserError("--workdir is missing: the folder of the run")
    if args.distributed or args.coordinator:
        multihost.start(args.coordinator, args.processes, args.process)
    console = Console(quiet=not multihost.first())
    results = run(
        config, args.workdir, lambda line: console.print(line, highlight=False)
    )
    if results["stages"]:
        console.print(results_table(results))
    console.print(f"everything is in {args.workdir}", highlight=False)


def _plan(config, name: str) -> int:
    """Prints what the run would need on a machine; 1 if it does not fit there."""
    plan.pretend(plan.machine(name)[0])
    phases = plan.plan(config)
    good = plan.fits(name, phases)
    console = Console()
    console.print(plan.table(name, config, phases))
    share = f"{plan.ROOM:.0%} of the memory"
    console.print(f"fits in {share}" if good else f"does not fit in {share}")
    return 0 if good else 1


if __name__ == "__main__":
    config_flags.DEFINE_config_file(
        "config", None, "Config file, such as configs/tiny.py."
    )
    flags.DEFINE_string("workdir", None, "Folder of the run; a run in it is resumed.")
    flags.DEFINE_string(
        "plan", "", "Only tell what the run needs on KIND-COUNT, such as v5p-64."
    )
    flags.DEFINE_bool("distributed", False, "One of several processes of a cluster.")
    flags.DEFINE_string("coordinator", "", "HOST:PORT of the first of the processes.")
    flags.DEFINE_integer("processes", 0, "How many processes, with --coordinator.")
    flags.DEFINE_integer("process", -1, "Which one this is, from 0.")
    flags.mark_flags_as_required(["config"])
    cli.run(main)

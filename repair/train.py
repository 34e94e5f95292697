"""Train a model: python -m repair.train --config=configs/tiny.py --workdir=DIR.

--config takes a file or the name of a shipped config, such as tiny. --plan and --check
train nothing: docs/scaling.md, docs/launch.md. Several processes, one for each host or
GPU, run this with --distributed on a cluster that jax knows (SLURM, Open MPI,
Kubernetes, Cloud TPU), else with --coordinator, --processes and --process; all of them
must see the workdir.
"""

from absl import flags
from rich.console import Console

from repair import cli, config_flag
from repair.errors import UserError


def main():
    """Run the config's stages and print the table of results."""
    # Imports of jax are in the functions, so that --help is printed at once.
    from repair.model import multihost
    from repair.training.config import read
    from repair.training.run import run
    from repair.training.tables import results_table

    args = flags.FLAGS
    config = read(args.config)
    if args.plan:
        return _plan(config, args.plan)
    if args.check:
        return _check(config)
    if not args.workdir:
        raise UserError("--workdir is missing; give the folder of the run")
    if not args.coordinator and (args.processes or args.process >= 0):
        raise UserError(
            "--processes and --process need --coordinator=HOST:PORT; give it, or"
            " --distributed alone"
        )
    if args.distributed or args.coordinator:
        multihost.connect(args.coordinator, args.processes, args.process)
    cli.use_compile_cache(args.compile_cache)
    console = Console(quiet=not multihost.first())

    def say(line: str) -> None:  # whole, however narrow the log is taken to be
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    if expected := flags.FLAGS["config"].parser.expected:
        say(f"to be expected, by the config's docstring: {expected}")
    results = run(config, args.workdir, say)
    if results["stages"]:
        console.print(results_table(results))
    console.print(f"everything is in {args.workdir}", highlight=False)


def _check(config) -> int:
    """Read all that the config names; return 0."""
    from repair.training.inputs import check_inputs
    from repair.training.loggers import check_packages
    from repair.training.task_set import RepairTaskSet, open_task_set

    task_set = open_task_set(config, RepairTaskSet)
    check_packages(config.log)
    check_inputs(task_set)
    task_set.tasks()
    print("the config is right, and all that it names can be read")
    return 0


def _plan(config, name: str) -> int:
    """Print the needs of the run on a machine; return 1 if it does not fit there."""
    from repair.training import plan

    plan.pretend(plan.machine(name)[0])
    config = plan.as_computed(config, name)
    phases = plan.plan(config)
    good = plan.fits(name, phases)
    console = Console()
    console.print(plan.table(name, config, phases))
    share = f"{plan.ROOM:.0%} of the memory"
    console.print(f"fits in {share}" if good else f"does not fit in {share}")
    if not good:
        console.print(plan.remedy(phases), highlight=False)
    return 0 if good else 1


def define() -> None:
    """Define the flags."""
    config_flag.define()
    flags.declare_key_flag("config")
    cli.define_compile_cache()
    flags.DEFINE_string("workdir", None, "Folder of the run; a run in it is resumed.")
    flags.DEFINE_string(
        "plan",
        "",
        "Print the needs of the run on KIND-COUNT, such as v5p-64; do not train.",
    )
    flags.DEFINE_bool(
        "check",
        False,
        "Read the config, its model, tokenizer and data; do not train.",
    )
    flags.DEFINE_bool("distributed", False, "One of several processes of a cluster.")
    flags.DEFINE_string("coordinator", "", "HOST:PORT of the first of the processes.")
    flags.DEFINE_integer("processes", 0, "Number of processes, with --coordinator.")
    flags.DEFINE_integer("process", -1, "Number of this one, from 0.")


def command() -> None:
    """Run as an installed script, repair-train."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

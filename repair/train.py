"""Trains a model: python -m repair.train --config=configs/tiny.py --workdir=DIR."""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from repair import cli
from repair.learn.config import read
from repair.learn.experiment import run
from repair.learn.metrics import results_table


def main():
    """Runs the config's stages and prints the table."""
    console = Console()
    results = run(
        read(flags.FLAGS.config),
        flags.FLAGS.workdir,
        lambda line: console.print(line, highlight=False),
    )
    if results["stages"]:
        console.print(results_table(results))
    console.print(f"everything is in {flags.FLAGS.workdir}", highlight=False)


if __name__ == "__main__":
    config_flags.DEFINE_config_file(
        "config", None, "Config file, such as configs/tiny.py."
    )
    flags.DEFINE_string("workdir", None, "Folder of the run; a run in it is resumed.")
    flags.mark_flags_as_required(["config", "workdir"])
    cli.run(main)

"""Write a checkpoint in Hugging Face's format, as transformers loads it.

python -m repair.export --checkpoint=runs/tiny/checkpoints/rlvr --out=exported
"""

import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import UserError
from repair.model.hf.folder import local_folder, save_hf
from repair.model.hf.peft import save_peft
from repair.model.llama import LlamaConfig
from repair.training.checkpoint import load_params
from repair.training.fields import from_dict
from repair.training.policy import workdir_of


def main():
    """Write the whole model with its tokenizer, or with --adapter the adapters only."""
    args, console = flags.FLAGS, Console()
    out = pathlib.Path(args.out)
    if any(out.glob("*.json")):
        raise UserError(f"{out} holds a model already; choose another --out")
    params, extra = load_params(args.checkpoint)
    config, run = from_dict(extra["model"], LlamaConfig), extra["config"]
    if args.adapter:
        save_peft(out, config, params, _base_of(run, args.base))
    else:
        tokenizer = workdir_of(args.checkpoint) / "tokenizer"
        # A run keeps the config.json of its source with the tokenizer of that source.
        source = tokenizer if run["init_from"] else None
        if source and run["text"]["tokenizer"]:
            source = local_folder(run["init_from"])
        save_hf(out, config, params, tokenizer, source)
    content = "adapters" if args.adapter else "model and tokenizer"
    console.print(f"{content} of {args.checkpoint} are in {out}", highlight=False)


def _base_of(run: dict, named: str) -> str:
    """Return the model that a run's adapters belong to: --base, or its init_from."""
    if run["train"] != "lora":
        raise UserError(
            f"the run trained with train={run['train']!r}, which changes the weights"
            " under the adapters; export it without --adapter"
        )
    base = named or run["init_from"]
    if not base:
        raise UserError(
            "the run started from fresh weights, which no other folder holds; export it"
            " without --adapter, or name the base model of the adapters with --base"
        )
    return base


def define() -> None:
    """Define the flags."""
    flags.DEFINE_string(
        "checkpoint", None, "WORKDIR/checkpoints/STAGE, or one step below it."
    )
    flags.DEFINE_string("out", None, "A folder to write, empty or new.")
    flags.DEFINE_bool("adapter", False, "Write the adapters only, in PEFT's format.")
    flags.DEFINE_string("base", "", "Base model of the adapters; by default init_from.")
    flags.mark_flags_as_required(["checkpoint", "out"])


def command() -> None:
    """Run as an installed script, repair-export."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

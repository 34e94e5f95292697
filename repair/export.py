"""Writes a checkpoint in Hugging Face's format, for transformers and what reads it.

python -m repair.export --checkpoint=runs/tiny/checkpoints/rlvr --out=exported
"""

import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import UserError
from repair.model.hf.folder import save_hf
from repair.model.hf.peft import save_peft
from repair.model.llama import LlamaConfig
from repair.training.checkpoint import load_params
from repair.training.fields import from_dict
from repair.training.load import workdir_of


def main():
    """Writes the whole model with its tokenizer, or with --adapter what was trained."""
    args, console = flags.FLAGS, Console()
    out = pathlib.Path(args.out)
    if any(out.glob("*.json")):
        raise UserError(f"{out} holds a model already; choose another --out")
    tokenizer = workdir_of(args.checkpoint) / "tokenizer"
    params, extra = load_params(args.checkpoint)
    config = from_dict(extra["model"], LlamaConfig)
    if args.adapter:
        save_peft(out, config, params, _base_of(extra["config"], args.base))
    else:
        save_hf(out, config, params, tokenizer)
    what = "adapters" if args.adapter else "model and tokenizer"
    console.print(f"{what} of {args.checkpoint} are in {out}", highlight=False)


def _base_of(config: dict, named: str) -> str:
    """What the adapters of a run belong to: what was named, or else its init_from."""
    if config["train"] != "lora":
        raise UserError(
            f"the run trained with train={config['train']!r}, which changes the weights"
            " under the adapters; export it without --adapter"
        )
    base = named or config["init_from"]
    if not base:
        raise UserError(
            "the run started from fresh weights, which are nowhere but in it; export it"
            " without --adapter, or name what the adapters belong to with --base"
        )
    return base


if __name__ == "__main__":
    flags.DEFINE_string("checkpoint", None, "A stage's checkpoints, or one step.")
    flags.DEFINE_string("out", None, "Folder to write; made if missing.")
    flags.DEFINE_bool("adapter", False, "Only the adapters, in PEFT's format.")
    flags.DEFINE_string("base", "", "What they belong to; else the run's init_from.")
    flags.mark_flags_as_required(["checkpoint", "out"])
    cli.run(main)

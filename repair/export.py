"""Write a checkpoint in Hugging Face's format, as transformers loads it.

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
from repair.training.policy import check_tokenizer
from repair.training.weights import load_checkpoint, tokenizer_source, workdir_of


def main():
    """Write the whole model with its tokenizer, or with --adapter the adapters only."""
    args, console = flags.FLAGS, Console()
    out = pathlib.Path(args.out)
    if any(out.glob("*.json")):
        raise UserError(f"{out} holds a model already; choose another --out")
    if args.adapter:
        params, extra = load_params(args.checkpoint)
        config = from_dict(extra["model"], LlamaConfig)
        save_peft(out, config, params, _base_of(extra, args.base))
    else:
        config, params, extra = load_checkpoint(args.checkpoint, base=args.base)
        tokenizer = workdir_of(args.checkpoint) / "tokenizer"
        check_tokenizer(tokenizer, extra)
        save_hf(out, config, params, tokenizer, _settings_of(tokenizer, extra))
    content = "adapters" if args.adapter else "model and tokenizer"
    console.print(f"{content} of {args.checkpoint} are in {out}", highlight=False)


def _settings_of(tokenizer: pathlib.Path, extra: dict) -> pathlib.Path | None:
    """Return the folder with the config.json that training started from, if any."""
    run = extra["config"]
    if run["text"]["tokenizer"] and run["init_from"]:
        return tokenizer_source(run["init_from"])
    # A run keeps the config.json of its source with the tokenizer of that source.
    return tokenizer if (tokenizer / "config.json").is_file() else None


def _base_of(extra: dict, named: str) -> str:
    """Return the model that a run's adapters belong to: --base, or their own."""
    run = extra["config"]
    if run["train"] != "lora":
        raise UserError(
            f"the run trained with train={run['train']!r}, which changes the weights"
            " under the adapters; export it without --adapter"
        )
    base = named or (extra["base"] or {}).get("source")
    if not base:
        raise UserError(
            "the run started from fresh weights, which no other folder holds; export it"
            " without --adapter, or name the base model of the adapters with --base"
        )
    return base


def define() -> None:
    """Define the flags."""
    flags.DEFINE_string(
        "checkpoint", None, "WORKDIR/checkpoints/STAGE, a step below it, or best."
    )
    flags.DEFINE_string("out", None, "A folder to write, empty or new.")
    flags.DEFINE_bool("adapter", False, "Write the adapters only, in PEFT's format.")
    flags.DEFINE_string("base", "", "Base model of adapters, if it is another.")
    flags.mark_flags_as_required(["checkpoint", "out"])


def command() -> None:
    """Run as an installed script, repair-export."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

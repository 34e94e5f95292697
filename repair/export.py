"""Write a checkpoint as a folder for transformers, or as a GGUF file for llama.cpp.

python -m repair.export --checkpoint=runs/tiny/checkpoints/rlvr --out=exported

With --push=OWNER/NAME the folder goes to the Hugging Face Hub too.
"""

import contextlib
import pathlib

from absl import flags
from rich.console import Console

from repair import cli
from repair.errors import UserError
from repair.model.hf.gguf_file import GGUF_TYPES, is_gguf


def main():
    """Write the whole model with its tokenizer, or with --adapter the adapters only."""
    # Imports of jax are in the functions, so that --help is printed at once.
    from repair.model.hf.folder import save_hf
    from repair.model.hf.gguf_model import save_gguf
    from repair.model.hf.peft import save_peft
    from repair.model.hf.push import check_login, push_folder
    from repair.model.llama import LlamaConfig
    from repair.training.checkpoint import load_params
    from repair.training.fields import from_dict
    from repair.training.initial_weights import (
        load_checkpoint,
        workdir_of,
        write_record,
    )
    from repair.training.policy import check_same_tokenizer

    args, console = flags.FLAGS, Console()
    out = pathlib.Path(args.out)
    _check_out(args, out)
    if args.push:  # before minutes of work
        check_login(args.push)
    base = ""
    if args.adapter:
        params, extra = load_params(args.checkpoint)
        config = from_dict(extra["model"], LlamaConfig)
        base = _base_of(extra, args.model)
        save_peft(out, config, params, base, args.dtype)
        write_record(out, extra, base)
    else:
        config, params, extra = load_checkpoint(args.checkpoint, base=args.model)
        tokenizer = workdir_of(args.checkpoint) / "tokenizer"
        check_same_tokenizer(tokenizer, extra)
        with _settings_of(tokenizer, extra) as folder:
            if args.format == "gguf":
                save_gguf(
                    out, config, params, tokenizer, folder, args.gguf_type or "F16"
                )
            else:
                save_hf(out, config, params, tokenizer, folder)
    if args.format != "gguf":
        _write_card(args, out, extra, base)
    content = "adapters" if args.adapter else "model and tokenizer"
    console.print(f"{content} of {args.checkpoint} are in {out}", highlight=False)
    if args.push:
        console.print(f"and on {push_folder(out, args.push)}", highlight=False)


def _write_card(args, out: pathlib.Path, extra: dict, base: str) -> None:
    """Write README.md, and give all files the mode that a copy would have."""
    from repair.training.initial_weights import workdir_of
    from repair.training.model_card import model_card
    from repair.training.workdir import load_object

    place = pathlib.Path(args.checkpoint)
    stage = place.name if place.parent.name == "checkpoints" else place.parent.name
    path = workdir_of(args.checkpoint) / "results.json"
    stages = (load_object(path) or {}).get("stages", {}) if path.exists() else {}
    card = model_card(extra, stages, stage, base, args.out)
    (out / "README.md").write_text(card, encoding="utf-8")
    for path in out.iterdir():
        path.chmod(0o644)


def _check_out(args, out: pathlib.Path) -> None:
    """Raise UserError where --out holds a model, or does not suit the other flags."""
    if args.dtype and not args.adapter:
        raise UserError(f"--dtype={args.dtype} is for adapters; add --adapter")
    if args.format != "gguf":
        if args.gguf_type:
            raise UserError(f"--gguf_type={args.gguf_type} needs --format=gguf")
        if is_gguf(out):
            raise UserError(f"--out={out} names a GGUF file; add --format=gguf")
        if any(out.glob("*.json")):
            raise UserError(f"{out} holds a model already; choose another --out")
        return
    if args.adapter:
        raise UserError("--adapter writes PEFT's format only; leave out --format=gguf")
    if args.push:
        raise UserError("--push uploads a folder; leave out --format=gguf")
    if not is_gguf(out):
        raise UserError(f"--out={out} should be a file that ends in .gguf")
    if out.exists():
        raise UserError(f"{out} exists already; choose another --out")


@contextlib.contextmanager
def _settings_of(tokenizer: pathlib.Path, extra: dict):
    """Give the folder with the config.json that training started from, or None."""
    from repair.model.hf.folder import settings_folder
    from repair.training.initial_weights import tokenizer_source

    run = extra["config"]
    if run["text"]["tokenizer"] and run["init_from"]:
        with settings_folder(tokenizer_source(run["init_from"])) as folder:
            yield folder
        return
    # A run keeps the config.json of its source with the tokenizer of that source.
    yield tokenizer if (tokenizer / "config.json").is_file() else None


def _base_of(extra: dict, named: str) -> str:
    """Return the model that a run's adapters belong to: --model, or their own."""
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
            " without --adapter, or name the base model of the adapters with --model"
        )
    return base


def define() -> None:
    """Define the flags."""
    flags.DEFINE_string(
        "checkpoint", None, "WORKDIR/checkpoints/STAGE, a step below it, or best."
    )
    flags.DEFINE_string("out", None, "A folder, empty or new; or a new GGUF file.")
    flags.DEFINE_enum("format", "hf", ["hf", "gguf"], "Folder or GGUF file.")
    flags.DEFINE_enum(
        "gguf_type", None, list(GGUF_TYPES), "Of a GGUF file's matrices; else F16."
    )
    flags.DEFINE_bool("adapter", False, "Write the adapters only, in PEFT's format.")
    flags.DEFINE_string("model", "", "Base model of adapters, if it is another.")
    flags.DEFINE_enum(
        "dtype", None, ["bfloat16", "float32"], "Of adapters; as trained if unset."
    )
    flags.DEFINE_string("push", "", "OWNER/NAME on the Hugging Face Hub to upload to.")
    flags.mark_flags_as_required(["checkpoint", "out"])


def command() -> None:
    """Run as an installed script, repair-export."""
    cli.run_main(main, define)


if __name__ == "__main__":
    command()

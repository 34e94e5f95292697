"""Starting weights of a run, and checkpoints put together again.

Where adapters are trained on a published model, checkpoints hold the adapters alone
and name the base by its source and the digest of its weights. All others hold every
parameter. `repair.export --adapter` makes of such a checkpoint a folder for PEFT with a
record of the run, which serves as a checkpoint where the base model is named.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable

import jax

from repair.errors import UserError
from repair.model.api import Model
from repair.model.hf.folder import load_hf, local_folder
from repair.model.hf.model_config import RUN_FIELDS
from repair.model.hf.peft import is_peft, load_peft, read_peft
from repair.model.hf.weights import read_json
from repair.model.llama import LlamaConfig
from repair.model.lora import init_adapters, join
from repair.model.sharding import build, place_params
from repair.training.checkpoint import checkpoint_digest, is_checkpoint, load_params
from repair.training.config import Config
from repair.training.fields import from_dict

_RECORD = "repair.json"


def workdir_of(checkpoint) -> pathlib.Path:
    """Return the workdir that a checkpoint lies in.

    Raises:
      UserError: It lies in none.
    """
    for folder in pathlib.Path(checkpoint).absolute().parents:
        if folder.name == "checkpoints":
            return folder.parent
    raise UserError(
        f"{checkpoint} is not below a run's checkpoints folder, next to which the run"
        " keeps its tokenizer; give WORKDIR/checkpoints/STAGE"
    )


def starting_weights(
    config: Config, mesh, report: Callable[[str], None]
) -> tuple[Model, dict, dict | None]:
    """Return the model of a run, the parameters that it starts from, and their base.

    These are the weights of `init_from`, with the adapters of `adapter`, or new ones
    where there are none; or random ones by the seed. The base is {"source", "digest"},
    or None where checkpoints hold all parameters.
    """
    key = jax.random.key(config.seed)
    if not config.init_from:
        model = Model(config.model, mesh)
        return model, build(mesh, model.init_params, key), None
    ours = {name: getattr(config.model, name) for name in RUN_FIELDS}
    base = None
    if is_checkpoint(config.init_from):
        shape, params, extra = load_checkpoint(config.init_from, mesh, report=report)
        base = extra["base"]
        adapted = {"lora_rank": shape.lora_rank, "lora_alpha": shape.lora_alpha}
        if shape.lora_rank:
            _check_rank(config, shape.lora_rank, config.init_from)
            ours |= adapted
        shape = LlamaConfig(**vars(shape) | ours)
        _check_shape(config, shape)
        _compare_runs(config, extra["config"], report)
    else:
        if config.adapter:
            adapted = read_peft(config.adapter)
            _check_rank(config, adapted["lora_rank"], config.adapter)
            ours |= adapted
        shape, params = load_hf(config.init_from, mesh, **ours)
        if config.adapter:
            params |= load_peft(config.adapter, shape, mesh)
        if config.train == "lora":
            base = {
                "source": str(config.init_from),
                "digest": source_digest(config.init_from),
            }
    if shape.lora_rank and "lora" not in params:
        params |= build(mesh, lambda k: init_adapters(shape, k), key)
    return Model(shape, mesh), params, base


def load_checkpoint(
    checkpoint, mesh=None, base: str = "", report: Callable[[str], None] = print
) -> tuple[LlamaConfig, dict, dict]:
    """Load a model from a checkpoint: (shape, all parameters, the JSON of the save).

    Args:
      checkpoint: WORKDIR/checkpoints/STAGE, a step below it, or `best` there.
      mesh: Mesh of the parameters; by default they are on one device.
      base: Source of the base model, if it has moved since the training.
      report: Gets a line about each damaged step that is passed over.

    Raises:
      UserError: The checkpoint is missing or damaged, or its base model has changed.
    """
    params, extra = load_params(checkpoint, report)
    shape = from_dict(extra["model"], LlamaConfig)
    if mesh is not None:
        params = place_params(mesh, params)
    if expected := extra["base"]:
        source = base or expected["source"]
        if source_digest(source) != expected["digest"]:
            raise UserError(
                f"the weights of {source} are not those that {checkpoint} was trained"
                " on; give their place with --model"
            )
        ours = {name: getattr(shape, name) for name in RUN_FIELDS}
        params = join(params, load_hf(source, mesh, **ours)[1])
    return shape, params, extra


def load_adapted(
    folder, model: str = "", report: Callable[[str], None] = print
) -> tuple[LlamaConfig, dict, dict]:
    """Load a published model with a run's adapters: as `load_checkpoint` returns it.

    Args:
      folder: As `repair.export --adapter` writes it.
      model: Source of the base model; by default the one that the folder names.
      report: Gets a line where the base has other weights than in training, as when the
        adapters of a quantized model are used on the original.

    Raises:
      UserError: The folder or the model is missing or damaged, or they do not fit.
    """
    path = pathlib.Path(folder) / _RECORD
    extra = read_json(path) if is_peft(folder) and path.is_file() else {}
    if not {"config", "model", "base"} <= extra.keys():
        raise UserError(
            f"{folder} holds no adapters of a run; give a folder that"
            " `repair.export --adapter` wrote"
        )
    source = model or extra["base"]["source"]
    shape = dataclasses.replace(
        from_dict(extra["model"], LlamaConfig), **read_peft(folder)
    )
    ours = {name: getattr(shape, name) for name in RUN_FIELDS}
    shape, params = load_hf(source, **ours)
    params |= load_peft(folder, shape)
    if source_digest(source) != extra["base"]["digest"]:
        report(
            f"{source} has other weights than those that {folder} was trained on"
            f" ({extra['config']['init_from']}); its figures may not hold"
        )
    return shape, params, extra | {"base": {"source": source}}


def write_record(folder, extra: dict, source: str) -> None:
    """Write what `load_adapted` needs beside the adapters.

    Args:
      folder: The adapters'.
      extra: The JSON of their checkpoint.
      source: Folder or Hub name of their base model.
    """
    digest = (extra["base"] or {}).get("digest")
    base = {"source": source, "digest": digest}
    kept = {"config": extra["config"], "model": extra["model"], "base": base}
    text = json.dumps(kept, indent=2) + "\n"
    (pathlib.Path(folder) / _RECORD).write_text(text, encoding="utf-8")


def source_digest(source) -> str:
    """Return the SHA-256 of a published model's files of weights, or a checkpoint's.

    Raises:
      UserError: There is no such model.
    """
    if is_checkpoint(source):
        return checkpoint_digest(source)
    path = pathlib.Path(source)
    files = [path] if path.is_file() else local_folder(source).glob("*.safetensors")
    total = hashlib.sha256()
    for each in sorted(files):
        with each.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def tokenizer_source(source):
    """Return the source of a model's tokenizer: itself, or a checkpoint's workdir."""
    return workdir_of(source) / "tokenizer" if is_checkpoint(source) else source


def _check_rank(config: Config, rank: int, source) -> None:
    ours = config.model.lora_rank
    if ours not in (0, rank):
        raise UserError(
            f"config: model.lora_rank is {ours}, but the adapters of {source} have rank"
            f" {rank}; set that, or export them first with their model, which merges"
            " them"
        )


def _check_shape(config: Config, shape: LlamaConfig) -> None:
    """Refuse a shape beside `init_from` that is not the checkpoint's."""
    for field in dataclasses.fields(LlamaConfig):
        ours, theirs = (getattr(each, field.name) for each in (config.model, shape))
        if field.name not in RUN_FIELDS and ours not in (field.default, theirs):
            raise UserError(
                f"config: model.{field.name} is {ours!r}, but {config.init_from} has"
                f" {theirs!r}; leave the shape out"
            )


def _compare_runs(config: Config, theirs: dict, report: Callable[[str], None]) -> None:
    """Say in a line where the other run's policy was used in another way."""
    pairs = (
        ("mode", theirs["mode"], config.mode),
        ("text.prompt", theirs["text"]["prompt"], config.text.prompt),
    )
    if told := [f"{n} {then!r}, here {now!r}" for n, then, now in pairs if then != now]:
        report(f"{config.init_from} was trained with {'; '.join(told)}")

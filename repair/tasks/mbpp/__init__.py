"""MBPP (Austin et al. 2021, arXiv 2108.07732): its splits, by task id."""

import contextlib
import os
import pathlib
import urllib.request

from repair.errors import UserError
from repair.tasks.jsonl import read_jsonl, task_of
from repair.tasks.rows import Row
from repair.tasks.task import Task

URL = (
    "https://raw.githubusercontent.com/google-research/google-research/master/"
    "mbpp/mbpp.jsonl"
)
HUB = "google-research-datasets/mbpp"  # the same rows on the Hugging Face Hub
SPLITS = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
}


def split_of(task_id: int | str) -> str | None:
    """Return the split of a task id, or None."""
    return next((name for name, ids in SPLITS.items() if task_id in ids), None)


def read_split(path: str | None, split: str) -> list[Task]:
    """Read the tasks of one split.

    Args:
      path: MBPP's rows, as for `read_jsonl`, or a folder that `build_tfds` has filled.
      split: "prompt", "test", "validation" or "train".

    Raises:
      UserError: No path was given, the split is unknown, or the file has none of it.
    """
    if split not in SPLITS:
        raise UserError(
            f"MBPP has no split {split!r}; choose one of {', '.join(SPLITS)}"
        )
    if not path:
        raise UserError(
            f"mbpp/{split} needs MBPP's public file: get it by `python -m"
            " repair.make_data --kind=mbpp --out=mbpp.jsonl` and give its path"
            " (--path=mbpp.jsonl, or --config.tasks.path for training), or that of the"
            f" Hub, {HUB}"
        )
    if is_tfds(path):
        return read_tfds(path, split)
    tasks = read_jsonl(path, lambda task_id: split_of(task_id) == split)
    if not tasks:
        ids = SPLITS[split]
        raise UserError(
            f"{path} holds no row of MBPP's {split} split (task ids {ids[0]} to"
            f" {ids[-1]}); give a file that does, or name the file as the tasks"
            f" themselves, in place of mbpp/{split}, for all of its rows"
        )
    return tasks


def fetch(path: str | pathlib.Path, url: str = URL) -> int:
    """Download MBPP's public file and check it; return its number of tasks.

    Args:
      path: File to write; it must not exist.
      url: Address of the file.

    Raises:
      UserError: The file exists, cannot be had or written, or is not MBPP.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise UserError(f"{path} exists already; choose another --out")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{url} cannot be reached ({reason}); download it where there is a network"
            f" and put it at {path}"
        ) from error
    partial = path.with_name(f"{path.name}.partial.jsonl")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        splits = [split_of(task.task_id) for task in read_jsonl(partial)]
        found = {name: splits.count(name) for name in SPLITS}
        if found != {name: len(ids) for name, ids in SPLITS.items()}:
            raise UserError(
                f"{url} gave tasks {found}, expected all 974 of MBPP; it has changed"
            )
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error}); choose another --out"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return len(splits)


def build_tfds(folder: str | pathlib.Path, path: str | pathlib.Path = "") -> None:
    """Build MBPP as a TensorFlow dataset below a folder, without tensorflow.

    A dataset that the folder holds already is left as it is.

    Args:
      folder: TFDS's data_dir.
      path: A file with MBPP's rows, all or some of them; "" to download it.

    Raises:
      UserError: TFDS is not installed, the file cannot be had or read, or the folder
        cannot be written.
    """
    tfds = _tfds()
    from repair.tasks.mbpp.mbpp_dataset_builder import Builder

    tfds.disable_progress_bar()
    try:
        # The default format needs tensorflow.
        settings = {"data_dir": str(folder), "file_format": "array_record"}
        Builder(path=str(path), **settings).download_and_prepare()
    except OSError as error:
        raise UserError(
            f"MBPP cannot be built in {folder} ({error}); check that it can be written,"
            " and where there is no network give the path of MBPP's file"
        ) from error


def is_tfds(path: str | pathlib.Path) -> bool:
    """Return True for a folder that `build_tfds` has filled."""
    return any(_versions(path))


def read_tfds(folder: str | pathlib.Path, split: str) -> list[Task]:
    """Read the tasks of one split of a built dataset, in the order of their ids.

    Raises:
      UserError: TFDS is not installed, or the folder does not hold the split.
    """
    tfds = _tfds()
    versions = _versions(folder)
    if not versions:
        raise UserError(
            f"{folder} holds no TensorFlow dataset of MBPP; build it there with"
            " repair.tasks.mbpp.build_tfds"
        )
    builder = tfds.builder_from_directory(str(versions[-1].parent))
    if split not in builder.info.splits:
        raise UserError(
            f"{versions[-1].parent} holds MBPP's {', '.join(builder.info.splits)}, not"
            f" {split}; build it elsewhere from a file with all rows"
        )
    rows = builder.as_data_source(split=split)
    return [task_of(Row(f"{folder}:{split}", _plain(row))) for row in rows]


def _versions(folder: str | pathlib.Path) -> list[pathlib.Path]:
    return sorted(pathlib.Path(folder).glob("mbpp/*/dataset_info.json"))


def _tfds():
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            f"TensorFlow Datasets cannot be imported ({error}); run pip install -e"
            " '.[tfds]', or give MBPP's file itself"
        ) from error
    return tensorflow_datasets


def _plain(example: dict) -> dict:
    """Return an example as JSON would give it, without TFDS's arrays and bytes."""
    return {
        name: [text.decode() for text in value]
        if name.endswith("_list")
        else value.decode()
        if isinstance(value, bytes)
        else int(value)
        for name, value in example.items()
    }

"""Files of rows by path: a file, a folder of files, or a dataset on the Hub.

OWNER/NAME names a dataset on the Hugging Face Hub, and OWNER/NAME/BEGIN those of its
files whose path in the dataset begins so: google-research-datasets/mbpp/sanitized. A
file or folder that exists comes first, and a name with the end of a file is never one
on the Hub.
"""

import pathlib
import re

from repair.errors import UserError, brief

ENDS = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")
# In a folder, where a .json may be about the others.
_IN_FOLDERS = (".parquet", ".jsonl", ".jsonl.gz")
HUB_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"  # OWNER/NAME
_DATASET = re.compile(rf"({HUB_NAME})(?:/([\w./-]*))?")


def row_files(path: str | pathlib.Path) -> list[pathlib.Path]:
    """Return the files that a path names, fetched from the Hub if need be.

    Raises:
      UserError: A folder or a dataset holds no such files, or those of several configs;
        or the dataset cannot be fetched.
    """
    local, name = pathlib.Path(path), str(path)
    if local.is_dir():
        return _in_folder(name, local, "")
    found = _DATASET.fullmatch(name)
    if local.exists() or not found or name.endswith(ENDS):
        return [local]
    begin = found[2] or ""
    return _in_folder(name, _fetch(name, found[1], begin), begin)


def _fetch(path: str, dataset: str, begin: str) -> pathlib.Path:
    """Return a folder with the rows' files of a dataset whose path begins so."""
    from huggingface_hub import snapshot_download

    wanted = [f"{begin}*{end}" for end in _IN_FOLDERS]
    try:
        folder = snapshot_download(
            dataset, repo_type="dataset", allow_patterns=[*wanted, "README.md"]
        )
    except Exception as error:  # of several libraries
        raise UserError(
            f"{path} is no file here, and no dataset of that name can be fetched from"
            f" the Hugging Face Hub ({brief(error)}); check the path, log in with `hf"
            f" auth login` if it is gated, or run `hf download {dataset}"
            " --repo-type=dataset --local-dir=FOLDER` where there is a network and give"
            " the folder"
        ) from error
    return pathlib.Path(folder)


def _in_folder(path: str, folder: pathlib.Path, begin: str) -> list[pathlib.Path]:
    """Return the files of rows that lie in one folder, that of one config."""
    configs: dict[str, list[pathlib.Path]] = {}
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).as_posix()
        if inside.startswith(begin) and inside.endswith(_IN_FOLDERS):
            configs.setdefault(inside.rpartition("/")[0], []).append(file)
    if not configs:
        raise UserError(f"{path} holds no file that ends in {' or '.join(_IN_FOLDERS)}")
    chosen = _default_config(folder) if len(configs) > 1 else next(iter(configs))
    if chosen not in configs:
        names = ", ".join(repr(name) for name in configs)
        raise UserError(
            f"{path} holds rows in several folders, {names}; put one after the path"
        )
    return configs[chosen]


def _default_config(folder: pathlib.Path) -> str | None:
    """Return the config that a dataset's card marks as its default, if any.

    Raises:
      UserError: The card cannot be read.
    """
    from huggingface_hub import DatasetCard

    path = folder / "README.md"
    if not path.exists():
        return None
    try:
        configs = DatasetCard.load(path).data.to_dict().get("configs") or []
        return next((c["config_name"] for c in configs if c.get("default")), None)
    except Exception as error:  # of several libraries, and of odd cards
        raise UserError(
            f"{path} does not tell which folder of rows is meant ({brief(error)}); put"
            " the folder after the path"
        ) from error

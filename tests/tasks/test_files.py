"""Folders of rows and datasets on the Hub, of a Hub that is a folder here."""

import fnmatch
import json
import shutil

import huggingface_hub
import pytest

from repair.errors import UserError
from repair.tasks import load_pair, load_tasks, read_jsonl
from repair.tasks.files import row_files

# As the card of google-research-datasets/mbpp has them.
CARD = """\
---
configs:
- config_name: full
  data_files:
  - split: train
    path: full/train-*
  default: true
- config_name: sanitized
  data_files:
  - split: train
    path: sanitized/train-*
---
# MBPP
"""
NAME = "google-research-datasets/mbpp"


def write(path, *ids):
    rows = [
        {
            "task_id": i,
            "text": "Add.",
            "code": f"def f(x): return x + {i}",
            "test_list": [f"assert f(0) == {i}"],
        }
        for i in ids
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def mbpp(tmp_path):
    """Return a folder like the dataset's."""
    folder = tmp_path / "hub"
    write(folder / "full/train-0.jsonl", 601, 602)
    write(folder / "full/validation-0.jsonl", 511)
    write(folder / "sanitized/train-0.jsonl", 602)
    (folder / "infos.json").write_text('{"not": "rows"}')
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def hub(mbpp, tmp_path, monkeypatch):
    """Return the downloads from a Hub with this dataset."""
    asked = []

    def snapshot_download(name, *, repo_type, allow_patterns):
        asked.append(name)
        assert repo_type == "dataset"
        if name != NAME:
            raise ConnectionError("404 for it. Not found.")
        to = tmp_path / "cache"
        for file in mbpp.rglob("*.*"):
            inside = file.relative_to(mbpp)
            if any(fnmatch.fnmatch(inside, wanted) for wanted in allow_patterns):
                (to / inside.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, to / inside)
        return str(to)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def ids(tasks):
    return [task.task_id for task in tasks]


def test_a_dataset_is_its_default_config(hub):
    assert ids(load_tasks("mbpp/train", path=NAME)) == [601, 602]
    train, held = load_pair("mbpp/train", "mbpp/validation", path=NAME)
    assert (ids(train), ids(held)) == ([601, 602], [511])
    assert set(hub) == {NAME}


@pytest.mark.parametrize(
    ("begin", "expected"),
    [("sanitized", [602]), ("full/", [601, 602, 511]), ("full/val", [511])],
)
def test_a_config_or_the_begin_of_files_can_be_named(hub, begin, expected):
    assert ids(read_jsonl(f"{NAME}/{begin}")) == expected


def test_a_local_path_comes_first(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / NAME / "rows.jsonl", 3)
    assert ids(read_jsonl(NAME)) == [3]
    write(tmp_path / "google-research-datasets/file", 4)
    assert ids(read_jsonl("google-research-datasets/file")) == [4]
    assert hub == []


@pytest.mark.parametrize("path", ["data/none.jsonl", "~/mbpp", "none", "./a/b"])
def test_paths_are_no_names_on_the_hub(hub, path):
    with pytest.raises(UserError, match=f"cannot read {path.strip('./')}: No"):
        read_jsonl(path)
    assert hub == []


def test_a_folder_is_read_as_the_dataset_would_be(mbpp):
    names = ["train-0.jsonl", "validation-0.jsonl"]
    assert [file.name for file in row_files(mbpp)] == names
    assert ids(read_jsonl(mbpp / "sanitized")) == [602]
    (mbpp / "README.md").write_text("# no configs\n")
    with pytest.raises(UserError, match="several folders, 'full', 'sanitized'; put"):
        read_jsonl(mbpp)
    for odd in ("---\nconfigs: [\n---\n", "---\nconfigs: 3\n---\n"):
        (mbpp / "README.md").write_text(odd)
        with pytest.raises(UserError, match="README.md does not tell which folder"):
            read_jsonl(mbpp)
    (mbpp / "README.md").unlink()
    with pytest.raises(UserError, match="several folders"):
        read_jsonl(mbpp)


def test_rows_of_several_files_have_different_ids(mbpp):
    write(mbpp / "full/more.jsonl", 602)
    with pytest.raises(UserError, match="train-0.jsonl:2: .* is 602 for a second time"):
        read_jsonl(mbpp)


def test_what_cannot_be_fetched_is_said_with_the_way_out(hub):
    with pytest.raises(UserError) as caught:
        load_tasks("mbpp/train", path="owner/none")
    told = str(caught.value)
    assert "owner/none is no file here" in told and "404 for it" in told
    assert "hf download owner/none --repo-type=dataset" in told
    with pytest.raises(UserError, match="mbpp/test holds no file that ends in"):
        read_jsonl(f"{NAME}/test")

"""MBPP as a TensorFlow dataset, from a small file of the real shape."""

import json
import subprocess
import sys

import pytest

from repair.errors import UserError
from repair.tasks import load_tasks, mbpp

TABBED = "class Pair(object): \r\n\tdef __init__(self, a): \r\n\t\tself.a = a"


def row(task_id, code="def f(x):\r\n    return x ", **changes):
    fields = {
        "task_id": task_id,
        "text": f"Write a function for {task_id}: é.",
        "code": code,
        "test_list": ["assert f(1) == 1", 'assert f("a") == "a"', "assert f(2) == 2"],
        "test_setup_code": "",
        "challenge_test_list": [],
    }
    return fields | changes


ROWS = [
    row(602),
    row(601, TABBED),
    row(11, "def f(x):\n  return x", test_setup_code="import math\r\n"),
    row(2, challenge_test_list=["assert f(9) == 9"]),
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def rows(tmp_path):
    return write(tmp_path / "mbpp.jsonl", ROWS)


@pytest.fixture
def tfds():
    return pytest.importorskip("tensorflow_datasets")


def test_the_dataset_holds_what_the_file_does(tfds, rows, tmp_path):
    mbpp.build_tfds(tmp_path / "built", rows)
    for split, ids in {"prompt": [2], "test": [11], "train": [601, 602]}.items():
        tasks = mbpp.read_tfds(tmp_path / "built", split)
        assert [task.task_id for task in tasks] == ids
        from_file = mbpp.read_split(rows, split)
        assert sorted(tasks, key=str) == sorted(from_file, key=str)
        assert load_tasks(f"mbpp/{split}", path=str(tmp_path / "built")) == tasks
    assert "\t\tself.a = a" in mbpp.read_tfds(tmp_path / "built", "train")[0].code
    with pytest.raises(UserError, match="holds MBPP's .*, not validation"):
        mbpp.read_tfds(tmp_path / "built", "validation")


def test_rows_are_kept_as_published(tfds, rows, tmp_path):
    mbpp.build_tfds(tmp_path, rows)
    builder = tfds.builder_from_directory(str(tmp_path / "mbpp" / "1.0.0"))
    first = builder.as_data_source(split="train")[0]
    assert first["code"].decode() == TABBED
    (prompt,) = builder.as_data_source(split="prompt")
    assert list(prompt["challenge_test_list"]) == [b"assert f(9) == 9"]


def test_the_public_file_is_downloaded(tfds, rows, tmp_path, monkeypatch):
    asked = []

    def download(manager, url):
        asked.append(url)
        return rows

    monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
    mbpp.build_tfds(tmp_path / "built")
    assert len(mbpp.read_tfds(tmp_path / "built", "train")) == 2
    (url,) = asked
    assert url.startswith("https://raw.githubusercontent.com/google-research/")


def test_no_network_is_said(tfds, tmp_path, monkeypatch):
    def download(manager, url):
        raise ConnectionError("no route")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
    with pytest.raises(UserError, match=r"no route.*give the path of MBPP's file"):
        mbpp.build_tfds(tmp_path / "built")


@pytest.mark.parametrize(
    "wrong, says",
    [
        (row(975), "mbpp.jsonl:2: field 'task_id' is 975, expected 1 to 974"),
        (row(603, test_list="assert f"), "mbpp.jsonl:2: field 'test_list' is str"),
        (row(603, challenge_test_list=[1]), ":2: field 'challenge_test_list"),
        (row(603, code=" \r\n"), "mbpp.jsonl:2: field 'code' is empty"),
        (row(602), "mbpp.jsonl:2: field 'task_id' is 602 for a second time"),
    ],
)
def test_a_wrong_row_is_refused(tfds, tmp_path, wrong, says):
    path = write(tmp_path / "mbpp.jsonl", [ROWS[0], wrong])
    with pytest.raises(UserError, match=says):
        mbpp.build_tfds(tmp_path / "built", path)
    with pytest.raises(UserError, match="holds no TensorFlow dataset of MBPP"):
        mbpp.read_tfds(tmp_path / "built", "train")


def test_tensorflow_is_never_imported(tfds, rows, tmp_path):
    program = (
        "import sys\nfrom repair.tasks import mbpp\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        f"mbpp.build_tfds({str(tmp_path / 'built')!r}, {str(rows)!r})\n"
        f"mbpp.read_tfds({str(tmp_path / 'built')!r}, 'train')\n"
        "print([name for name in ('tensorflow', 'jax') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_missing_tfds_names_its_extra(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[tfds\]'"):
        mbpp.build_tfds(tmp_path, rows)
    with pytest.raises(UserError, match=r"pip install -e '\.\[tfds\]'"):
        mbpp.read_tfds(tmp_path, "train")


def test_the_public_file_is_fetched_and_checked(tmp_path):
    whole = write(tmp_path / "rows.jsonl", [row(i) for i in range(1, 975)])
    out = tmp_path / "new" / "mbpp.jsonl"
    assert mbpp.fetch(out, whole.as_uri()) == 974
    assert out.read_bytes() == whole.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        mbpp.fetch(out, whole.as_uri())
    assert len(load_tasks("mbpp/test", path=str(out))) == 500


def test_what_is_not_the_public_file_is_not_kept(tmp_path):
    some = write(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(UserError, match="gave tasks .*'train': 2.* expected all 974"):
        mbpp.fetch(tmp_path / "out.jsonl", some.as_uri())
    with pytest.raises(UserError, match="cannot be reached .* put it at .*out.jsonl"):
        mbpp.fetch(tmp_path / "out.jsonl", (tmp_path / "none").as_uri())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl"]
    with pytest.raises(UserError, match="cannot be written"):
        mbpp.fetch(some / "out.jsonl", some.as_uri())

"""Adapters that ship with the repository: whole, small and of today's config."""

import json
import pathlib

import pytest
from safetensors import safe_open

from repair.model.hf.peft import ADAPTER, read_peft
from repair.training.config import Config
from repair.training.fields import from_dict

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = sorted((ROOT / "adapters").glob("*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_adapter_is_whole(folder):
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12 * 2**20
    record = json.loads((folder / "repair.json").read_text())
    config = from_dict(record["config"], Config)
    assert config.mode == "coe" and config.train == "lora"
    rank = read_peft(folder)["lora_rank"]
    with safe_open(folder / ADAPTER, framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    assert len(shapes) == 2 * 7 * record["model"]["layers"]
    assert all(rank in shape for shape in shapes)
    assert f"--adapter=adapters/{folder.name}" in (folder / "README.md").read_text()

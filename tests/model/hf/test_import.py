"""Memory of an import of 260 MB, on one device and spread over four."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from repair.model.hf.model_config import format_config
from repair.model.hf.names import (
    expected_params,
    is_flipped,
    leaves_of,
    tensor_names,
)
from repair.model.hf.weights import INDEX
from repair.model.llama import LlamaConfig

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]
CONFIG = LlamaConfig(
    vocab_size=40_000,  # reading the embedding last would show
    width=1024,
    mlp_width=4096,
    layers=3,
    heads=16,
    kv_heads=8,
    head_size=64,
    tie_embeddings=False,
    param_dtype="bfloat16",
)

# Prints what the import added to the process's highest memory, as a share of the
# model's bytes, and the shares of the model that were read and that came out wrong.
IMPORT = """
import pathlib, re, sys
import jax, jax.numpy as jnp, numpy as np
from safetensors.numpy import load_file
from repair.model.hf import weights
from repair.model.hf.folder import load_hf
from repair.model.sharding import make_mesh

folder, scan, sizes = sys.argv[1], sys.argv[2] == "True", sys.argv[3]
mesh = make_mesh(*map(int, sizes)) if sizes != "none" else None
jax.block_until_ready(jnp.ones(8) + 1)

def memory(field):
    status = open("/proc/self/status").read()
    return 1024 * int(re.search(field + r":\\s+(\\d+)", status)[1])

read = 0
read_into = weights.Tensor.read_into
def counted(self, out, index, flip):
    global read
    read += out.nbytes
    read_into(self, out, index, flip)
weights.Tensor.read_into = counted

before = memory("VmRSS")
config, params = load_hf(folder, mesh, scan_layers=scan)
added = memory("VmHWM") - before
leaves = jax.tree.leaves(params)
total = sum(leaf.nbytes for leaf in leaves)
up = params["params"]["layers" if scan else "layers_2"]["mlp"]["up"]["kernel"]
name = "model.layers.2.mlp.up_proj.weight"
shard = weights.read_json(pathlib.Path(folder, weights.INDEX))["weight_map"][name]
expected = load_file(pathlib.Path(folder, shard))[name].T
wrong = np.mean(np.asarray(up[2] if scan else up) != expected)
parts = {leaf.addressable_shards[0].data.size / leaf.size for leaf in leaves}
print(added / total, read / total, wrong, min(parts))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards of random bits; removed afterwards."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    tensors = {}
    for path, leaf in leaves_of(expected_params(CONFIG)["params"]).items():
        shape = leaf.shape[::-1] if is_flipped(path) else leaf.shape
        for name in tensor_names(CONFIG, path):
            bits = rng.integers(0, 2**14, shape, np.uint16)
            tensors[name] = bits.view(ml_dtypes.bfloat16)
    index = {}
    for shard, part in (("a", list(tensors)[::2]), ("b", list(tensors)[1::2])):
        file = f"{shard}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / INDEX).write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps(format_config(CONFIG)))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
@pytest.mark.parametrize(
    ("scan", "mesh"), [(False, None), (True, None), (True, (2, 2, 1))]
)
def test_an_import_needs_the_model_once(folder, scan, mesh):
    sizes = "".join(map(str, mesh)) if mesh else "none"
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(folder), str(scan), sizes],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    added, read, wrong, part = map(float, done.stdout.split())
    assert added < 1.3, f"{added:.2f} times the model's bytes"
    assert read == 1.0, f"read {read:.2f} times"
    assert wrong == 0.0
    assert part == (0.5 if mesh else 1.0)

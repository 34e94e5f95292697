"""The model on four fake devices against one; rules, meshes and their refusals."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from repair.errors import UserError
from repair.model import sharding
from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.model.sharding import P

ROOT = pathlib.Path(__file__).parents[2]

ON_FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.model.sharding import batch_sharding, make_mesh, param_shardings

assert jax.device_count() == 4
tokens = jnp.asarray(np.random.default_rng(0).integers(0, 50, (4, 12)))
for scan, sizes in ((False, (2, 2, 1)), (True, (1, 2, 2))):
    model = Model(LlamaConfig(vocab_size=50, width=16, mlp_width=24, layers=1 + scan,
        heads=4, kv_heads=2, head_size=8, lora_rank=2, scan_layers=scan))

    def loss(params, tokens):
        logits, _ = model.forward(params, tokens)
        return -jnp.mean(jax.nn.log_softmax(logits)[..., 7])

    step = jax.value_and_grad(loss)
    params = jax.jit(model.init_params)(jax.random.key(0))
    alone = jax.jit(step)(params, tokens)
    mesh = make_mesh(*sizes)
    shardings = param_shardings(mesh, jax.eval_shape(lambda: params))
    held = jax.device_put(params, shardings)
    kernel = held["params"]["layers" if scan else "layers_0"]["mlp"]["up"]["kernel"]
    part = kernel.addressable_shards[0].data
    assert part.size == kernel.size // (sizes[1] * sizes[2])
    rows = jax.device_put(tokens, batch_sharding(mesh))
    together = jax.jit(step, out_shardings=(None, shardings))(held, rows)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), alone, together)
print("equal")
"""


@pytest.mark.slow
def test_loss_and_gradients_do_not_depend_on_the_mesh():
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "equal", done.stderr


def test_every_parameter_has_a_rule():
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    for fields in ({}, {"scan_layers": True, "tie_embeddings": False}):
        config = LlamaConfig(8, 8, 8, 2, 4, 2, 8, lora_rank=2, **fields)
        params = jax.eval_shape(Model(config).init_params, jax.random.key(0))
        shardings = sharding.param_shardings(mesh, params)
        assert jax.tree.structure(shardings) == jax.tree.structure(params)
    up = shardings["params"]["layers"]["mlp"]["up"]["kernel"]
    assert up.spec == P(None, "fsdp", "tensor")
    with pytest.raises(ValueError, match="rule for the parameter params/extra"):
        sharding.param_shardings(mesh, {"params": {"extra": jax.numpy.ones(2)}})


def test_an_axis_that_is_not_divided_stays_whole():
    mesh = jax.sharding.AbstractMesh((1, 3, 2), sharding.AXES)
    leaf = jax.ShapeDtypeStruct((16, 24), "float32")
    tree = {"params": {"up": {"kernel": leaf}}}
    spec = sharding.param_shardings(mesh, tree)["params"]["up"]["kernel"].spec
    assert spec == P(None, "tensor")


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 2, 1), (-1, -1, 1), (0, 1, 1)])
def test_a_mesh_that_does_not_fit_is_refused(sizes):
    with pytest.raises(UserError, match="does not fit 1 devices"):
        sharding.make_mesh(*sizes, devices=jax.devices()[:1])

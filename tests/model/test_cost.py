"""Operations and traffic: of functions and texts whose costs are known by hand."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.model import cost

ROOT = pathlib.Path(__file__).parents[2]
SQUARE = jnp.ones((4, 4))
ONE = 2 * 4 * 4 * 4  # operations of one product of squares


def counted(function, *args):
    return cost.operations(jax.jit(function).trace(*args).jaxpr)


def test_a_product_costs_two_for_each_pair_that_meets():
    assert counted(jnp.matmul, jnp.ones((3, 4)), jnp.ones((4, 5))) == 2 * 3 * 4 * 5
    batched = jnp.ones((7, 3, 4)), jnp.ones((7, 4, 5))
    assert counted(jnp.matmul, *batched) == 7 * 2 * 3 * 4 * 5
    several = jnp.ones((3, 4, 6)), jnp.ones((4, 6, 5))
    both = counted(lambda x, y: jnp.einsum("abc,bcd->ad", x, y), *several)
    assert both == 2 * 3 * (4 * 6) * 5
    assert counted(lambda x: jnp.sin(x) + x * x, SQUARE) == 0


def test_a_scan_costs_as_often_as_it_runs():
    def turn(x, y):
        return x @ y @ y, x @ x

    stacked = jnp.ones((6, 4, 4))
    assert counted(lambda x, y: jax.lax.scan(turn, x, y), SQUARE, stacked) == 18 * ONE

    def outer(x, _):
        return jax.lax.scan(turn, x, stacked)[0], None

    assert counted(lambda x: jax.lax.scan(outer, x, length=2), SQUARE) == 36 * ONE


def test_a_loop_of_unknown_turns_costs_one():
    def loop(x):
        return jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ x, x)

    assert counted(loop, SQUARE) == ONE


def test_of_branches_the_dearest_counts():
    def choose(flag, x):
        return jax.lax.cond(flag, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert counted(choose, True, SQUARE) == 2 * ONE
    assert counted(choose, False, SQUARE) == 2 * ONE


def test_what_is_computed_again_counts_again():
    def loss(x, y):
        return jnp.sum(jnp.sin(x @ y))

    again = jax.checkpoint(loss, policy=jax.checkpoint_policies.nothing_saveable)
    assert counted(jax.grad(loss), SQUARE, SQUARE) == 2 * ONE
    assert counted(jax.grad(again), SQUARE, SQUARE) == 3 * ONE


def test_functions_within_functions_count():
    within = jax.jit(lambda x: jax.jit(jnp.matmul)(x, x))
    assert counted(lambda x: within(x) + within(x), SQUARE) == 2 * ONE


def text(*lines, loops=""):
    """A program of eight devices: `lines` in its main function, `loops` before it."""
    return "\n".join(
        (
            "HloModule jit_f, is_scheduled=true, num_partitions=8",
            "",
            "%add (x: f32[], y: f32[]) -> f32[] {",
            "  ROOT %sum = f32[] add(%x, %y)",
            "}",
            "",
            loops,
            "ENTRY %main (p: f32[6]) -> f32[24] {",
            *(f"  {line}" for line in lines),
            "}",
        )
    )


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("mesh['axis_0'=4,'axis_1'=2] {'axis_0'}", 4),
        ("mesh['axis_0'=4,'axis_1'=2] {'axis_0','axis_1'}", 8),
        ("mesh['axis_0'=4,'axis_1'=2], device_ids=([2,2,2]T(0,2,1)) {'axis_1'}", 2),
        ("mesh['axis_0'=8] {'axis_0':(2)4}", 4),
        ("[4,2]<=[8]", 2),
        ("[2,4]<=[4,2]T(1,0)", 4),
        ("{{0,1},{2,3},{4,5},{6,7}}", 2),
        ("{{0,1,2,3,4,5,6,7}}", 8),
        ("{}", 8),
    ],
)
def test_every_spelling_of_groups_is_read(groups, size):
    line = (
        f"%g = f32[24]{{0}} all-gather(%p), replica_groups={groups}, dimensions={{0}}"
    )
    assert cost.traffic(text(line)) == {"all-gather": 96 * (size - 1) / size}


@pytest.mark.parametrize(
    ("shape", "kind", "sent"),
    [
        ("f32[24]{0}", "all-gather", 72),
        ("f32[24]{0}", "all-reduce", 144),
        ("(f32[24]{0}, /*index=1*/bf16[24]{0})", "all-reduce", 216),
        ("f32[6]{0}", "reduce-scatter", 72),
        ("(f32[6]{0}, f32[6]{0}, f32[6]{0}, f32[6]{0})", "all-to-all", 72),
        ("f32[24]{0}", "collective-permute", 96),
        # What starts shows what goes in, then what comes out, and maybe a context.
        ("(f32[6]{0}, f32[24]{0})", "all-gather-start", 72),
        ("((f32[6], f16[6]), (f32[24], f16[24]))", "all-gather-start", 108),
        ("((f32[24]{0}), f32[6]{0}, s32[])", "reduce-scatter-start", 72),
        ("(f32[24], f32[24], u32[], u32[])", "collective-permute-start", 96),
        # But for this one, which shows what comes out.
        ("(f32[24]{0:T(8,128)(2,1)S(1)}, f32[8]{0})", "all-reduce-start", 192),
        ("f32[24]{0}", "all-reduce-start", 144),
        ("f32[24]{0}", "all-gather-done", None),
    ],
)
def test_what_each_collective_sends_by_ring(shape, kind, sent):
    groups = "replica_groups=[2,4]<=[8], to_apply=%add"
    found = cost.traffic(text(f"%c = {shape} {kind}(%p), channel_id=1, {groups}"))
    name = kind.removesuffix("-start")
    assert found == ({} if sent is None else {name: sent})


@pytest.mark.parametrize(
    ("kind", "size"),
    [("pred", 1), ("s8", 1), ("u16", 2), ("bf16", 2), ("f8e4m3fn", 1), ("c64", 8)],
)
def test_types_have_their_sizes(kind, size):
    line = f"%p = {kind}[3,5]{{1,0}} collective-permute(%q), source_target_pairs={{}}"
    assert cost.traffic(text(line)) == {"collective-permute": 15 * size}


def test_loops_multiply_and_calls_do_not():
    gather = "%g = f32[24]{0} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={0}"
    loops = f"""
%inner (x: f32[6]) -> f32[6] {{
  {gather}
}}

%called (x: f32[6]) -> f32[6] {{
  ROOT %r = f32[6]{{0}} all-reduce(%x), replica_groups=[2,4]<=[8], to_apply=%add
}}

%outer (x: f32[6]) -> f32[6] {{
  %w = f32[6] while(%x), condition=%never, body=%inner, backend_config={{"known_trip_count":{{"n":"5"}}}}
  %c = f32[6] fusion(%w), kind=kLoop, calls=%called
}}
"""  # noqa: E501
    three = "while(%p), condition=%never, body=%outer"
    three += ', backend_config={"known_trip_count":{"n":"3"},"other":1}'
    program = text(
        f"%v = f32[6] {three}",
        "%u = f32[6] while(%v), condition=%never, body=%called",
        "%b = f32[6] conditional(%u, %v, %v), branch_computations={%called, %outer}",
        loops=loops,
    )
    # Through the loop of three, and through the branch.
    assert cost.traffic(program) == {
        "all-gather": 72 * (3 * 5 + 5),
        "all-reduce": 36 * (3 + 1 + 1 + 1),
    }


ON_FOUR_DEVICES = """
import jax, json
from jax.sharding import NamedSharding, PartitionSpec as P
from repair.model import cost

mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))

def at(*spec):
    return NamedSharding(mesh, P(*spec))

def f(x, w_L):
    def layer(x, w):
        return jax.numpy.tanh(x @ jax.lax.with_sharding_constraint(w, at())), None
    return jax.lax.scan(layer, x, w_L)[0].sum(0)

traced = jax.jit(f, out_shardings=at()).trace(
    jax.ShapeDtypeStruct((8, 16), "float32", sharding=at("d")),
    jax.ShapeDtypeStruct((5, 16, 16), "float32", sharding=at(None, "d")),
)
sent = cost.traffic(traced.lower().compile().as_text())
print(json.dumps([cost.operations(traced.jaxpr), sent]))
"""


def test_a_compiled_program_sends_what_it_must():
    """Five layers whose weights are in four parts, and a sum over rows."""
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    operations, sent = json.loads(done.stdout)
    assert operations == 5 * 2 * 8 * 16 * 16  # of all devices together
    np.testing.assert_equal(
        sent,
        {"all-gather": 5 * 16 * 16 * 4 * 3 / 4, "all-reduce": 2 * 16 * 4 * 3 / 4},
    )

"""The product with a weight: values and gradients as numpy computes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.model.product import product


@pytest.mark.parametrize("sizes", [(7, 3), (3, 7), (5, 5)])
@pytest.mark.parametrize("lead", [(6,), (2, 3)])
def test_product_and_its_gradients_are_those_of_plain_matrices(sizes, lead):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*lead, sizes[0])).astype(np.float32)
    kernel = rng.normal(size=sizes).astype(np.float32)
    out = rng.normal(size=(*lead, sizes[1])).astype(np.float32)
    value, back = jax.vjp(product, x, kernel)
    for_x, for_kernel = back(jnp.asarray(out))
    flat_x, flat_out = x.reshape(-1, sizes[0]), out.reshape(-1, sizes[1])
    np.testing.assert_allclose(value, x @ kernel, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(for_x, out @ kernel.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(for_kernel, flat_x.T @ flat_out, rtol=1e-5, atol=1e-5)


def test_the_wide_operand_is_never_on_the_left():
    # XLA on CPU copies the left one, transposed.
    def left_widths(width_in, width_out):
        x, out = jnp.ones((2, 9, width_in)), jnp.ones((2, 9, width_out))
        kernel = jnp.ones((width_in, width_out))
        jaxpr = jax.make_jaxpr(lambda k: jax.vjp(lambda k: product(x, k), k)[1](out))
        text = str(jaxpr(kernel))
        assert "dot_general" in text
        eqns = jaxpr(kernel).eqns
        return [
            e.invars[0].aval.shape[-1]
            for e in eqns
            if e.primitive.name == "dot_general"
            and e.params["dimension_numbers"][0][0] == (0, 1)
        ]

    assert left_widths(4, 64) == [4]
    assert left_widths(64, 4) == [4]

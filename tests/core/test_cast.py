"""Statistics in a narrower dtype."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

import gradxform as gx
from gradxform.core.cast import Cast


@pytest.mark.parametrize("dtype", ["int8", "bool"])
def test_statistics_are_floating(dtype):
    with pytest.raises(TypeError, match=f"floating dtype, got {dtype}"):
        gx.adam(0.1, mu_dtype=dtype)


def test_a_dtype_that_is_none_is_refused():
    with pytest.raises(TypeError):
        gx.adam(0.1, mu_dtype="floaty")


def test_complex_memory_is_not_cut_to_its_real_part():
    p = jnp.ones(2, jnp.complex64)
    with pytest.raises(ValueError, match="complex64 would lose its imaginary part in bfloat16"):
        gx.adam(0.1, mu_dtype=jnp.bfloat16).init(p)
    gx.adam(0.1, mu_dtype=jnp.complex64).init(p)


def test_what_a_cast_has_made_is_of_its_dtype_alone():
    assert Cast("float32").made(jnp.ones(2, jnp.float32))
    assert not Cast("float32").made(jnp.ones(2, jnp.bfloat16))
    assert not Cast("bfloat16").made(jnp.ones(2, jnp.float32))

"""Slow copies of parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

NEW = {"w": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
OLD = {"w": jnp.array([0.5, 4.0]), "b": jnp.array(-1.0)}


def test_they_move_as_optaxs() -> None:
    for ours, theirs, given in (
        (gx.incremental_update, optax.incremental_update, [(0.1,), (1.0,), (jnp.float32(0.3),)]),
        (gx.periodic_update, optax.periodic_update, [(4, 2), (5, 2), (jnp.int32(6), 3)]),
    ):
        for x in given:
            a, b = jax.jit(ours)(NEW, OLD, *x), theirs(NEW, OLD, *x)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7), a, b)


def test_the_copy_keeps_its_dtype_and_is_rounded_once() -> None:
    new, old = jnp.array(1.0, jnp.bfloat16), jnp.array(0.99609375, jnp.bfloat16)
    moved = gx.incremental_update(new, old, jnp.float32(0.51))
    assert moved.dtype == jnp.bfloat16
    assert float(moved) == 1.0  # 0.51 of the way to the next bfloat16
    assert gx.incremental_update(jnp.float32(2.0), old, 0.5).dtype == jnp.bfloat16
    assert gx.periodic_update(jnp.float32(2.0), old, 4, 2).dtype == jnp.bfloat16


def test_none_stays_none() -> None:
    moved = gx.incremental_update({"w": None, "b": jnp.ones(())}, {"w": None, "b": jnp.zeros(())}, 0.25)
    assert moved["w"] is None
    assert float(moved["b"]) == 0.25


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.int8, jnp.uint32, jnp.float16])
def test_counters_stay_at_their_largest(dtype: jnp.dtype) -> None:
    top = (jnp.iinfo if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo)(dtype).max
    for count in (0, 1, top):
        got, expected = gx.safe_increment(jnp.asarray(count, dtype)), optax.safe_increment(jnp.asarray(count, dtype))
        assert got.dtype == expected.dtype
        assert got == expected
    with pytest.raises(TypeError, match="count must be an integer or a real number, got complex64"):
        gx.safe_increment(1j)

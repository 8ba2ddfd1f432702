"""Where proximal steps land: inside the set for projections, exactly on zero for thresholds."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gradxform as gx

SIZE = 16
# XLA computes subnormal float32 numbers as 0; those of float16 are normal ones there, and are met below.
FLOATS = st.floats(width=32, min_value=-(2.0**100), max_value=2.0**100, allow_subnormal=False)
NEAR = st.floats(width=32, min_value=-4.0, max_value=4.0, allow_subnormal=False)
ARRAYS = st.lists(FLOATS | NEAR, min_size=SIZE, max_size=SIZE)
DTYPES = pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=["float32", "bfloat16", "float16"]
)


@jax.jit
def land(tx: Any, p: Any, g: Any) -> Any:
    """The parameters after one update, bounds and rates arriving as data."""
    updates, _ = tx.update(g, tx.init(p), p)
    return gx.apply_updates(p, updates)


@jax.jit
def land_at_zero_or_above(p: Any, g: Any) -> Any:
    tx = gx.proximal_nonnegative()
    return gx.apply_updates(p, tx.update(g, tx.init(p), p)[0])


def stored(values: Any, dtype: Any) -> Any:
    """Values as parameters of a dtype, overflow cut off."""
    largest = float(jnp.finfo(dtype).max)
    return jnp.asarray(np.clip(np.asarray(values, np.float64), -largest, largest), dtype)


def as_bounds(dtype: Any, *bounds: float) -> list[float]:
    """Bounds as the dtype holds them: exactly representable, so that no set is empty."""
    return [float(stored(b, dtype)) for b in bounds]


@DTYPES
@given(values=ARRAYS, steps=ARRAYS, a=NEAR, b=NEAR)
@example(values=[0.1] * SIZE, steps=[-1e30] * SIZE, a=0.1, b=0.3)
@example(values=[2.0**-24] * SIZE, steps=[-1.0] * SIZE, a=3e-5, b=1 / 3)
def test_a_step_from_inside_a_box_stays_inside(dtype: Any, values: Any, steps: Any, a: float, b: float):
    lower, upper = as_bounds(dtype, min(a, b), max(a, b))
    p = jnp.clip(stored(values, dtype), lower, upper)
    landed = np.asarray(land(gx.proximal_box(lower, upper), p, jnp.asarray(steps, jnp.float32)), np.float64)
    assert landed.min() >= lower
    assert landed.max() <= upper


@DTYPES
@given(values=ARRAYS, steps=ARRAYS, a=NEAR, b=NEAR)
def test_a_step_from_outside_a_box_lands_inside(dtype: Any, values: Any, steps: Any, a: float, b: float):
    lower, upper = as_bounds(dtype, min(a, b), max(a, b))
    p = stored(values, dtype)
    landed = np.asarray(land(gx.proximal_box(lower, upper), p, jnp.asarray(steps, jnp.float32)), np.float64)
    # From p the float32 sum p + u reaches multiples of an ulp of p only: the box must hold one of them.
    near = upper - lower >= 2 * np.spacing(np.abs(np.asarray(p, np.float32)))
    assert np.all(landed[near] >= lower)
    assert np.all(landed[near] <= upper)


@DTYPES
@given(values=ARRAYS, steps=ARRAYS)
def test_a_step_lands_at_zero_or_above(dtype: Any, values: Any, steps: Any):
    landed = land_at_zero_or_above(stored(values, dtype), jnp.asarray(steps, jnp.float32))
    assert float(landed.min()) >= 0.0


@DTYPES
@given(values=ARRAYS, steps=ARRAYS)
def test_bounds_that_the_dtype_cannot_hold_are_kept_from_inside(dtype: Any, values: Any, steps: Any):
    lower, upper = 0.1, 0.7
    p = jnp.clip(stored(values, dtype), jnp.asarray(0.25, dtype), jnp.asarray(0.5, dtype))
    landed = np.asarray(land(gx.proximal_box(lower, upper), p, jnp.asarray(steps, jnp.float32)), np.float64)
    # In float32 the bound is the float32 next to it: what a number means in a float32 program.
    assert landed.min() >= np.float32(lower)
    assert landed.max() <= np.float32(upper)


@DTYPES
@given(
    values=ARRAYS,
    steps=st.lists(NEAR, min_size=SIZE, max_size=SIZE),
    l1=st.floats(0.0, 4.0, width=32, allow_subnormal=False),
)
def test_zeros_are_exact(dtype: Any, values: Any, steps: Any, l1: float):
    p, g = stored(values, dtype), jnp.asarray(steps, jnp.float32)
    landed = np.asarray(land(gx.proximal_l1(l1), p, g), np.float64)
    inside = np.abs(np.asarray(p.astype(jnp.float32) + g, np.float64)) <= l1
    assert np.all(landed[inside] == 0.0)


@DTYPES
@given(values=st.lists(NEAR, min_size=SIZE, max_size=SIZE), l1=st.floats(0.0, 8.0, width=32, allow_subnormal=False))
def test_rows_vanish_as_a_whole(dtype: Any, values: Any, l1: float):
    p = stored(values, dtype).reshape(4, 4)
    g = jnp.full((4, 4), 0.5, jnp.float32)
    landed = np.asarray(land(gx.proximal_group_l1(l1), p, g), np.float64)
    norms = np.sqrt(np.square(np.asarray(p, np.float64) + 0.5).sum(axis=1))
    # The norm is rounded: a few ulp on either side of the threshold go either way.
    assert np.all(landed[norms < l1 * (1 - 1e-6)] == 0.0)
    assert np.all(np.any(landed != 0.0, axis=1)[norms > l1 * (1 + 1e-2) + 1e-6])


@DTYPES
@given(values=st.lists(st.floats(0.5, 2.0, width=32), min_size=SIZE, max_size=SIZE))
def test_a_target_within_a_factor_of_two_of_the_parameter_is_met(dtype: Any, values: Any):
    p = jnp.ones(SIZE, dtype)
    target = stored(values, dtype).astype(jnp.float32)
    landed = land(gx.proximal_box(-4.0, 4.0), p, target - 1.0)
    np.testing.assert_array_equal(landed, target.astype(dtype))

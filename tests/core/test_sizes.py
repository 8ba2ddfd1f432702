"""Bounds on sizes leave every ordinary number bit for bit, and what is not finite visible."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.sizes import addable, negligible, overflowing, rootable, saturated, squarable, storable, tame
from tests.schedules.checks import double

LARGEST = float(jnp.finfo(jnp.float32).max)


@pytest.mark.parametrize(
    "f", [squarable, addable, negligible, lambda x: storable(x, jnp.bfloat16)], ids=["squares", "sums", "ends", "cast"]
)
def test_ordinary_numbers_pass_and_what_is_not_finite_shows(f):
    x = jnp.asarray([0.0, -0.0, 2e-38, -3.0, 1e15, -1e18], jnp.float32)
    np.testing.assert_array_equal(np.asarray(f(x)).view(np.int32), np.asarray(x).view(np.int32))
    assert np.isnan(f(jnp.asarray([np.inf, -np.inf, np.nan]))).all()


def test_large_numbers_count_as_the_limit():
    x = jnp.asarray([LARGEST, -3e19], jnp.float32)
    np.testing.assert_array_equal(squarable(x), [2.0**63, -(2.0**63)])
    np.testing.assert_array_equal(squarable(x, 4), [2.0**62, -(2.0**62)])
    np.testing.assert_array_equal(addable(x), [2.0**120, np.float32(-3e19)])
    np.testing.assert_array_equal(storable(x, jnp.float16), [65504, -65504])
    assert np.isfinite(np.asarray(storable(x, jnp.bfloat16).astype(jnp.bfloat16), np.float32)).all()
    np.testing.assert_array_equal(saturated(jnp.asarray([np.inf, 2.0])), [2.0**127, 2.0])
    np.testing.assert_array_equal(rootable(jnp.asarray([np.inf, 2.0])), [LARGEST, 2.0])
    np.testing.assert_array_equal(tame(jnp.asarray([LARGEST, np.nan, -np.inf, 1e30])), [0, 0, 0, np.float32(1e30)])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_what_is_negligible_carries_no_number_to_infinity(dtype):
    with double(), np.errstate(over="ignore"):
        largest = jnp.finfo(dtype).max
        x = negligible(jnp.asarray([largest, -1e18], dtype))
        np.testing.assert_array_equal(x[1], dtype(-1e18))
        assert np.asarray(largest, dtype) + 127 * np.asarray(x[0]) == largest
        assert not np.isfinite(np.asarray(largest, dtype) + 128 * np.asarray(x[0]))


def test_each_part_of_a_complex_number_is_bounded():
    np.testing.assert_array_equal(squarable(jnp.asarray([3e38 - 2j])), [2.0**63 - 2j])


def test_frameworks_overflow():
    x = jnp.asarray([LARGEST, np.inf])
    with overflowing():
        for f in (squarable, addable, saturated, tame):
            np.testing.assert_array_equal(f(x), x)
    assert squarable(x)[0] < LARGEST

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.arithmetic import abs_sq, compute_dtype, debias, next_count, power, real_dtype, rounded
from gradxform.core.value import Pair


@pytest.mark.parametrize("b", [0.0, 0.5, 0.9, 0.999, 0.9999, 0.999999])
@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**6, 2**31 - 1])
def test_debias_loses_nothing(b, t):
    exact = -math.expm1(t * math.log(b)) if b else 1.0
    for rate in (b, Pair(jnp.float32(b), jnp.float32(1 - b))):
        found = jax.jit(lambda t, rate=rate: debias(rate, t))(jnp.int32(t))
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, exact, rtol=5e-7)


@pytest.mark.parametrize("b", [0.5, 0.9, 0.999])
def test_power(b):
    for t in (1, 7, 50):
        np.testing.assert_allclose(power(b, jnp.int32(t)), b**t, rtol=1e-6 * max(1, -t * math.log(b)))


def test_dtypes():
    assert [compute_dtype(d) for d in ("float16", "bfloat16", "float32", "float64", "complex64")] == [
        jnp.float32, jnp.float32, jnp.float32, jnp.float64, jnp.complex64,
    ]  # fmt: skip
    assert real_dtype(jnp.complex64) == jnp.float32
    assert real_dtype(jnp.float32) == jnp.float32


def test_abs_sq_is_real():
    assert abs_sq(jnp.array(3 + 4j)) == 25.0
    assert abs_sq(jnp.array(3 + 4j)).dtype == jnp.float32
    assert abs_sq(jnp.array(-3.0)) == 9.0


def test_a_count_stays_at_the_largest_integer():
    assert next_count(jnp.int32(0)) == 1
    assert next_count(jnp.int32(2**31 - 2)) == 2**31 - 1
    assert next_count(jnp.int32(2**31 - 1)) == 2**31 - 1
    assert next_count(jnp.int32(0)).dtype == jnp.int32


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_rounded_is_what_a_cast_would_leave(dtype):
    x = jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32)
    found = jax.jit(lambda x: rounded(x, dtype))(x)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.asarray(x).astype(dtype).astype(np.float32))

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.arithmetic import (
    TINY,
    abs_sq,
    compute_dtype,
    debias,
    inverse_root,
    next_count,
    power,
    quotient,
    real_dtype,
    rounded,
    safe_increment,
)
from gradxform.core.value import Pair
from tests.trajectories import double


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


def test_rounded_keeps_what_float16_holds_below_its_smallest_normal_number():
    x = np.random.default_rng(1).uniform(-(2.0**-14), 2.0**-14, 1000).astype(np.float32)
    np.testing.assert_array_equal(rounded(jnp.asarray(x), jnp.float16), x.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.uint32, jnp.float16, jnp.float32])
def test_a_count_of_the_users_stays_at_the_largest_number_of_its_dtype(dtype):
    top = np.asarray((jnp.iinfo if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo)(dtype).max, dtype)
    for count, expected in ((3, 4), (top, top)):
        found = safe_increment(jnp.asarray(count, dtype))
        assert (found, found.dtype) == (expected, dtype)


def over(x, size, eps):
    """`quotient`, and `inverse_root` times x."""
    return quotient(x, size, eps), x * inverse_root(size, eps)


@pytest.mark.parametrize("eps", [0.0, 1e-45, 1e-38, jnp.float32(0.0), jnp.float32(1e-6)], ids=str)
def test_zero_over_zero_is_zero_and_so_are_its_derivatives(eps):
    x, size = jnp.asarray([0.0, 3.0, 2.0]), jnp.asarray([0.0, 1e-45, 4.0])
    for value, expected in zip(jax.jit(over)(x, size, eps), ([0, 0, 0.5], [0, 0, 1.0]), strict=True):
        np.testing.assert_array_equal(value, expected)
    for i, (by_x, by_size) in enumerate([([0, 0, 1 / 4], [0, 0, -2 / 16]), ([0, 0, 1 / 2], [0, 0, -1 / 8])]):
        reverse = jax.grad(lambda *args, i=i: over(*args, eps)[i].sum(), argnums=(0, 1))(x, size)
        forward = [jax.jvp(lambda y, i=i: over(y, size, eps)[i], (x,), (jnp.ones(3),))[1],
                   jax.jvp(lambda y, i=i: over(x, y, eps)[i], (size,), (jnp.ones(3),))[1]]  # fmt: skip
        for found in (reverse, forward):
            np.testing.assert_allclose(found, (by_x, by_size), rtol=1e-6)


def test_what_is_not_finite_is_seen_behind_the_guard():
    x = jnp.asarray([jnp.nan, jnp.inf, 1.0])
    for found in over(x, jnp.asarray([1.0, 1.0, jnp.nan]), 0.0):
        np.testing.assert_array_equal(found, [np.nan, np.inf, np.nan])


def test_in_double_smaller_sizes_divide():
    with double():
        np.testing.assert_array_equal(over(jnp.asarray(1e-200), jnp.asarray(1e-200), 0.0), [1.0, 1e-200 / 1e-100])


def test_an_eps_that_is_plainly_not_zero_adds_nothing():
    def operations(f, eps):
        return [eqn.primitive.name for eqn in jax.make_jaxpr(lambda x: f(x, eps))(jnp.ones(3)).eqns]

    for eps in (TINY, 1e-8, 1.0):
        assert operations(lambda x, eps: quotient(x, x, eps), eps) == ["div"]
        assert operations(inverse_root, eps) == ["rsqrt"]
    assert operations(inverse_root, 0.99 * TINY) != ["rsqrt"]

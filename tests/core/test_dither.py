"""Random bits for rounding, against the hash written out in Python integers."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.dither import APART, folded, path_word, plus, random_bits, random_units, round_randomly, turn

M = 2**32


def finalizer(x: int) -> int:
    """MurmurHash3's, `fmix32`."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B % M
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % M
    return x ^ (x >> 16)


def fold(seed: int, word: int) -> int:
    return finalizer((seed * 0x9E3779B1 + word) % M)


def test_a_path_is_the_first_word_of_its_blake2b() -> None:
    expected = int.from_bytes(hashlib.blake2b(b"dense/kernel", digest_size=4).digest(), "little")
    assert path_word("dense/kernel") == expected
    assert path_word("dense/kernel").dtype == np.uint32


@pytest.mark.parametrize(("seed", "word"), [(0, 0), (1, 0), (7, 2**32 - 1), (2**32 - 1, 12345)])
def test_a_word_is_mixed_in_as_murmur_does(seed: int, word: int) -> None:
    assert int(folded(np.uint32(seed), np.uint32(word))) == fold(seed, word)


def test_bits_are_a_hash_of_seed_step_and_place() -> None:
    bits = np.asarray(random_bits(np.uint32(3), jnp.int32(5), (4, 6)))
    start = fold(3, 5)
    for i in range(4):
        for j in range(6):
            assert int(bits[i, j]) == finalizer((start + i * 0x9E3779B1 + j * 0x85EBCA77) % M)


def test_units_are_uniform() -> None:
    """Mean 1/2, variance 1/12, every sixteenth as full as the others: within five standard deviations."""
    u = np.asarray(random_units(np.uint32(1), jnp.int32(1), (256, 256), jnp.float32), np.float64)
    n = u.size
    assert 0 <= u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 5 / np.sqrt(12 * n)
    assert abs(u.var() - 1 / 12) < 5 / np.sqrt(180 * n)
    counts = np.histogram(u, 16, (0, 1))[0]
    assert np.abs(counts - n / 16).max() < 5 * np.sqrt(n / 16)


def test_rounding_goes_to_a_neighbour_and_is_right_on_average() -> None:
    """2³² equally likely bits: of 65536 evenly spaced ones exactly the share that x is near to goes up."""
    bits = jnp.arange(2**16, dtype=jnp.uint32)
    for x in (1.001, -3.1415927, 2.0**-130, 0.0, 1.0):
        x32 = np.float32(x)
        found = np.asarray(round_randomly(jnp.full(2**16, x32), bits), np.float64)
        np.testing.assert_allclose(found.mean(), float(x32), rtol=1e-7)
        down = np.uint32(x32.view(np.uint32) & 0xFFFF0000).view(np.float32)
        up = np.uint32((x32.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
        assert set(found) <= {float(down), float(up)}


@pytest.mark.parametrize("x", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays(x: float) -> None:
    np.testing.assert_array_equal(round_randomly(jnp.float32(x), jnp.uint32(0xFFFF)), np.float32(x))


@pytest.mark.parametrize("ratio", [0x9E3779B1, APART])
@pytest.mark.parametrize("stride", [1, 2, 3, 16, 1000])
def test_thresholds_are_spread_evenly_over_any_run_of_steps(ratio: int, stride: int) -> None:
    """The largest gap between what is below a bound and the bound, over 4,096 steps; random ones have one of 0.02."""
    x = np.sort(np.asarray(turn(128 + stride * np.arange(4096), ratio)))
    assert x.min() >= 0
    assert x.max() < 1
    assert np.abs(x - np.arange(4096) / 4096).max() < 0.005
    assert float(turn(7777, ratio)) == (7777 * ratio % M >> 8) * 2.0**-24
    assert (turn(np.arange(128), ratio) > 1e6).all()


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_sum_rounded_in_turn_is_exact_or_one_of_the_two_numbers_around_it(dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=2000), rng.normal(size=2000) * 2.0 ** rng.integers(-24, 4, 2000)
    a, b = ((x + 1j * x[::-1] if dtype == "complex64" else x).astype(dtype) for x in (a, b))
    for threshold in (0.0, 0.3, 0.999):
        got = np.asarray(jax.jit(plus)(a, b, jnp.float32(threshold)))
        for x, y, z in ((a.real, b.real, got.real), (a.imag, b.imag, got.imag)):
            true = x.astype(np.float64) + y
            near = true.astype(np.float32)
            beyond = np.nextafter(near, np.where(true > near, np.inf, -np.inf).astype(np.float32))
            part = np.abs(true - near) / np.abs(np.float64(beyond) - near)
            small = np.abs(y) < np.abs(x) / 1024
            np.testing.assert_array_equal(z, np.where(small & (part > np.float32(threshold)), beyond, near))


def test_what_is_exact_or_not_finite_stays() -> None:
    x = jnp.array([0.0, 1.5, -2.5, jnp.inf, -jnp.inf, jnp.nan, jnp.finfo(jnp.float32).max])
    np.testing.assert_array_equal(plus(x, jnp.zeros_like(x), jnp.float32(0.0)), x)
    np.testing.assert_array_equal(plus(x[3:6], jnp.ones(3), jnp.float32(0.0)), x[3:6])

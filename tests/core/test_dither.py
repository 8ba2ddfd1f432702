"""Random bits for rounding, against the hash written out in Python integers."""

from __future__ import annotations

import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.dither import folded, path_word, random_bits, random_units, round_randomly

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

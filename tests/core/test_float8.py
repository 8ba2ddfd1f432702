"""What CPUs make of numbers of 8 bits bit by bit is what casts make of them elsewhere, under every transformation."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from gradxform.core import float8
from gradxform.core.float8 import FLOAT8, float8_of, float32_of, rounded

CODES = np.arange(256, dtype=np.uint8).view(FLOAT8)
VALUES = CODES.astype(np.float32)


def there_and_back(y: jax.Array) -> jax.Array:
    return float32_of(float8_of(rounded(y)))


def test_every_code_is_read_and_made() -> None:
    numbers = np.asarray(float32_of(jnp.asarray(CODES)))
    np.testing.assert_array_equal(numbers, VALUES)
    np.testing.assert_array_equal(np.signbit(numbers) & ~np.isnan(VALUES), np.signbit(VALUES) & ~np.isnan(VALUES))
    np.testing.assert_array_equal(np.asarray(float8_of(jnp.asarray(VALUES))).view(np.uint8), CODES.view(np.uint8))


@pytest.mark.parametrize("made", [float8_of, lambda y: float8._nearest(y).astype(FLOAT8)])
def test_other_numbers_become_the_nearest(made: Callable[[jax.Array], jax.Array]) -> None:
    rng = np.random.default_rng(0)
    y = np.clip(rng.standard_normal(100_000) * np.exp(rng.uniform(-12, 5, 100_000)), -448, 448).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(made(jnp.asarray(y))).view(np.uint8), y.astype(FLOAT8).view(np.uint8))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_bits_are_moved_on_cpus_alone_and_nothing_is_conditional(platform: str) -> None:
    text = jax.jit(there_and_back).trace(jnp.ones(3)).lower(lowering_platforms=(platform,)).as_text()
    assert ("bitcast_convert" in text) is (platform == "cpu")
    assert ("reduce_precision" in text) is (platform != "cpu")
    assert not any(word in text for word in ("stablehlo.case", "stablehlo.if"))


def test_it_goes_through_transformations() -> None:
    y = jnp.asarray([[1.0, 1.05], [-3.3, 1e-9]])
    expected = np.asarray(y).astype(FLOAT8).astype(np.float32)
    for f in (there_and_back, jax.jit(there_and_back), jax.vmap(there_and_back, 1, 1)):
        np.testing.assert_array_equal(f(y), expected)
    for transformed in (jax.jit, lambda f: f):
        slope = transformed(jax.grad(lambda y: jnp.sum(there_and_back(y) * y)))(y)
        np.testing.assert_array_equal(slope, expected)
    mesh = Mesh(jax.devices()[:2], ("data",))
    split = jax.jit(jax.shard_map(there_and_back, mesh=mesh, in_specs=P("data"), out_specs=P("data")))
    np.testing.assert_array_equal(split(y), expected)

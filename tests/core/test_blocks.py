"""Blocks of the last axis, against NumPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.blocks import block_max, blocks_of, in_blocks, spread


def test_blocks_depend_on_the_length_alone_and_do_not_straddle_eight_shards() -> None:
    for n in (512, 640, 768, 1024, 2304, 3072, 4096):
        count = blocks_of(n)
        assert count % 8 == 0
        assert n % count == 0
        assert n // count <= 128
    assert [blocks_of(n) for n in (1, 128, 129, 50257)] == [1, 1, 2, 393]


@pytest.mark.parametrize("n", [1, 7, 128, 300, 1024, 50257])
def test_blocks_are_equal_and_zeros_stand_behind_the_last(n: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, n)).astype(np.float32)
    blocks = np.asarray(in_blocks(jnp.asarray(x)))
    count = blocks_of(n)
    assert blocks.shape == (2, count, -(-n // count))
    np.testing.assert_array_equal(blocks.reshape(2, -1)[:, :n], x)
    np.testing.assert_array_equal(blocks.reshape(2, -1)[:, n:], 0)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("shape", [(5,), (3, 300), (2, 2, 1000)])
def test_the_largest_size_of_each_block(shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(1)
    x = (rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype is np.complex64 else 0)).astype(dtype)
    size = -(-shape[-1] // blocks_of(shape[-1]))
    expected = [np.abs(x[..., i : i + size]).max(-1) for i in range(0, shape[-1], size)]
    np.testing.assert_allclose(block_max(jnp.asarray(x)), np.stack(expected, -1), rtol=2e-7)


@pytest.mark.parametrize("shape", [(5,), (3, 300), (2, 1024)])
def test_a_scale_is_spread_over_its_block(shape: tuple[int, ...]) -> None:
    count = blocks_of(shape[-1])
    scales = np.arange(np.prod(shape[:-1], dtype=int) * count, dtype=np.float32).reshape(*shape[:-1], count)
    expected = np.repeat(scales, -(-shape[-1] // count), axis=-1)[..., : shape[-1]]
    np.testing.assert_array_equal(spread(jnp.asarray(scales), shape), expected)

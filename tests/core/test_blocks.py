"""Blocks, the rows or columns of an array, against NumPy."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.blocks import (
    Blocks,
    Seeded,
    axes_within,
    blocks_of,
    exchanged,
    largest_in,
    largest_together,
    parts,
    unseeded,
)


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((50257, 768), (50257, 1)),
        ((768, 50257), (1, 50257)),
        ((512, 512), (512, 1)),
        ((100000, 16), (100000, 1)),
        ((1024, 4), (1, 4)),
        ((4, 1024), (4, 1)),
        ((12, 768, 3072), (12, 1, 3072)),
        ((768, 2304), (1, 2304)),
        ((103, 256), (103, 1)),
        ((3, 3, 256, 512), (3, 3, 256, 1)),
        ((512, 256, 3, 3), (512, 1, 1, 1)),
        ((40,), (1,)),
        ((), ()),
    ],
)
def test_every_row_is_a_block_or_every_column_of_wide_arrays(shape: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    """Where one axis is too short for that, every index of that one; kernels of 3 by 3 go by the first."""
    assert blocks_of(shape) == blocks


def test_rows_that_come_alone_are_blocks() -> None:
    assert [blocks_of(shape, by_rows=True) for shape in ((200, 256), (9, 4), (5, 20, 64))] == [
        (200, 1),
        (9, 1),
        (5, 20, 1),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("shape", [(3, 300), (300, 40), (2, 20, 100), (17, 3, 3)])
def test_the_largest_size_of_each_block(shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(1)
    x = (rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype is np.complex64 else 0)).astype(dtype)
    blocks = blocks_of(shape)
    expected = np.abs(x).max(axes_within(shape, blocks), keepdims=True)
    assert expected.shape == blocks
    np.testing.assert_allclose(largest_in(jnp.asarray(x), blocks), expected, rtol=2e-7)
    together = largest_together({"a": jnp.asarray(x.real), "b": -jnp.asarray(x.real)}, blocks)
    for found in together.values():
        np.testing.assert_array_equal(found, np.abs(x.real).max(axes_within(shape, blocks), keepdims=True))


class Pair(NamedTuple):
    memory: Any
    last: Any


def test_statistics_are_taken_out_and_exchanged_by_name() -> None:
    s = Pair(Pair(Blocks(1, 2, 3), 4), Seeded(Blocks(5, 6, 7), 8))
    assert parts(s) == {"memory/memory": Blocks(1, 2, 3), "memory/last": 4, "last": Seeded(Blocks(5, 6, 7), 8)}
    assert exchanged(s, {"memory/memory": 9, "last": 0}) == Pair(Pair(9, 4), 0)
    assert exchanged(s, {}) is s
    assert (unseeded(s.last), unseeded(4)) == (Blocks(5, 6, 7), 4)

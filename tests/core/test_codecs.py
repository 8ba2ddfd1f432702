"""Codes of 4 and 8 bits, against a transcript in float64 and the dtypes' own rounding."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.blocks import axes_within, blocks_of
from gradxform.core.codecs import LINEAR, ROOTED, Named


def stored(codec: Any, x: Any, bound: Any = None) -> Any:
    return codec.measured(codec.narrowed(codec.encode(x, bound)))


def transcript(x: np.ndarray, top: int, root: bool) -> tuple[np.ndarray, np.ndarray]:
    """Decoded values and the size of a step, in float64: codes from -top to top over the block's largest size."""
    x = np.sqrt(x) if root else x
    scale = np.abs(x).max(axes_within(x.shape, blocks_of(x.shape)), keepdims=True) / top
    codes = np.round(x / np.where(scale > 0, scale, 1.0))
    if root:
        codes = np.where(x > 0, np.maximum(codes, 1), codes)
    y = codes * scale
    return y * y if root else y, np.broadcast_to(scale, x.shape)


def test_float8_codes_are_the_nearest_ones_of_all() -> None:
    """Every code, every middle of two neighbours and what lies just beside it, against the dtype's own rounding."""
    codec = LINEAR["float8_e4m3"]
    values = np.arange(256, dtype=np.uint8).view(codec.dtype).astype(np.float32)
    order = np.unique(values[np.isfinite(values)])
    middles = (order[1:] + order[:-1]) / 2
    beside = [np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf)]
    x = np.concatenate([values, middles, *beside, [-0.0]]).astype(np.float32)[:, None]
    found = stored(codec, jnp.asarray(x), jnp.full(x.shape, codec.top))
    np.testing.assert_array_equal(np.asarray(found.codes).view(np.uint8), x.astype(codec.dtype).view(np.uint8))
    np.testing.assert_array_equal(codec.decode(found, jnp.float32), x.astype(codec.dtype).astype(np.float32))
    finite = found._replace(codes=found.codes[np.isfinite(x)][None], scales=jnp.ones((1, 1)))
    assert codec.measured(finite).largest.max() == codec.top


@pytest.mark.parametrize("shape", [(3, 128), (128, 300), (300, 128), (2, 20, 1000), (40,), (24, 3, 3)])
@pytest.mark.parametrize(("codec", "top"), [(LINEAR["int8"], 127), (LINEAR["int4"], 7), (ROOTED["uint8_sqrt"], 255)])
def test_codes_follow_the_transcript_within_half_a_step(codec: Any, top: int, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).normal(size=shape) * np.logspace(-4, 2, shape[-1])
    x = np.square(x) if codec.root else x
    encoded = stored(codec, jnp.asarray(x, jnp.float32))
    found = np.asarray(codec.decode(encoded, jnp.float32), np.float64)
    expected, steps = transcript(np.asarray(jnp.asarray(x, jnp.float32), np.float64), top, codec.root)
    root = np.sqrt if codec.root else np.asarray
    # A number half way between two codes may fall on either side: the float32 quotient is rounded.
    assert np.mean(np.abs(found - expected) <= 1e-6 * np.abs(expected)) > 0.999
    lifted = root(x) < 0.5 * steps if codec.root else np.zeros(x.shape, bool)
    off = np.abs(root(found) - root(x)) / steps
    assert off[~lifted].max() <= 0.5 + 1e-4
    if lifted.any():
        assert off[lifted].max() <= 1.0 + 1e-4
    assert encoded.codes.shape == shape
    assert encoded.scales.shape == encoded.largest.shape == blocks_of(shape)
    held = np.abs(found).max(axes_within(shape, blocks_of(shape)), keepdims=True)
    np.testing.assert_allclose(encoded.largest, held, rtol=1e-6)


@pytest.mark.parametrize("codec", [*LINEAR.values(), *ROOTED.values()], ids=lambda c: f"{c!r}-{c.root}")
def test_zeros_stay_zero_and_squares_above_zero_stay_above(codec: Any) -> None:
    x = jnp.asarray([[0.0] * 64 + [1e-6] * 32 + [1.0] * 32, [0.0] * 128], jnp.float32)
    found = codec.decode(codec.narrowed(codec.encode(x)), jnp.float32)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found == 0, x == 0) if codec.root else np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_array_equal(found[:, :64], 0)
    np.testing.assert_array_equal(found[0, 96:], 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_visible_in_its_block_alone(bad: float) -> None:
    codec = LINEAR["int8"]
    x = jnp.ones((2, 1024)).at[1, 5].set(bad)
    found = np.asarray(codec.decode(codec.narrowed(codec.encode(x)), jnp.float32))
    assert not np.isfinite(found[1, 5])
    np.testing.assert_array_equal(found[0], 1.0)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_what_16_bits_make_of_a_number_is_known_without_a_cast(name: str) -> None:
    """For every number of the dtype, what lies between neighbours, and just beside the middle: ties go to even."""
    codec = LINEAR[name]
    values = np.arange(1 << 16, dtype=np.uint16).view(codec.dtype).astype(np.float32)
    tiny = float(jnp.finfo(jnp.float32).tiny)
    values = np.unique(values[np.isfinite(values) & ((values == 0) | (np.abs(values) >= tiny))])
    middles = (values[1:].astype(np.float64) + values[:-1]) / 2
    x = np.concatenate(
        [values, middles, *(np.nextafter(middles.astype(np.float32), np.float32(e)) for e in (-9e9, 9e9))]
    )
    x = jnp.asarray(x[np.abs(x) >= tiny], jnp.float32)
    np.testing.assert_array_equal(codec.rounded(x), np.asarray(x).astype(codec.dtype).astype(np.float32))
    assert np.isnan(codec.rounded(jnp.float32(np.nan)))


def test_codecs_are_equal_by_name_and_by_what_they_are_for() -> None:
    assert Named("int8") == Named("int8")
    assert Named("int8") != Named("int4")
    assert Named("int8") != Named("int8", square=True)
    assert Named("int8") != "int8"
    assert LINEAR["int8"] != LINEAR["int4"]
    assert LINEAR["float8_e4m3"] != ROOTED["float8_e4m3"]
    assert LINEAR["int8"] != "int8"

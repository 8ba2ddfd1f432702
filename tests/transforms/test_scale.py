from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written

G = jnp.array([1.5, -2.0, 0.0])


def first(tx, g=G, p=None):
    return np.asarray(tx.update(g, tx.init(g if p is None else p), p)[0])


@pytest.mark.parametrize(
    ("tx", "expected"),
    [
        (gx.identity(), [1.5, -2.0, 0.0]),
        (gx.set_to_zero(), [0.0, 0.0, 0.0]),
        (gx.scale(-2.0), [-3.0, 4.0, 0.0]),
        (gx.scale(jnp.float32(0.5)), [0.75, -1.0, 0.0]),
        (gx.scale_by_learning_rate(0.5), [-0.75, 1.0, 0.0]),
        (gx.scale_by_learning_rate(0.5, flip_sign=False), [0.75, -1.0, 0.0]),
        (gx.scale_by_learning_rate(0.0), [0.0, 0.0, 0.0]),
        (gx.scale_by_schedule(lambda count: 2.0 + count), [3.0, -4.0, 0.0]),
        (gx.scale_by_sign(), [1.0, -1.0, 0.0]),
        (gx.unscale(4.0), [0.375, -0.5, 0.0]),
        (gx.chain(), [1.5, -2.0, 0.0]),
    ],
    ids=as_written,
)
def test_closed_forms(tx, expected):
    np.testing.assert_array_equal(first(tx), np.float32(expected))


def test_the_empty_chain_leaves_the_dtype_alone():
    g = jnp.array([0.1, 0.2], jnp.bfloat16)
    assert gx.chain().update(g, gx.chain().init(g))[0].dtype == jnp.bfloat16
    assert gx.identity().update(g, gx.identity().init(g))[0].dtype == jnp.float32


@pytest.mark.parametrize(
    ("min_norm", "trust", "eps"), [(0.0, 1.0, 0.0), (0.0, 0.02, 0.5), (10.0, 1.0, 0.0), (10.0, 0.1, 1.0)]
)
def test_trust_ratio(min_norm, trust, eps):
    p = jnp.array([3.0, 4.0, 0.0])
    p_norm, g_norm = max(5.0, min_norm), max(2.5, min_norm)
    expected = np.asarray(G) * trust * p_norm / (g_norm + eps)
    np.testing.assert_allclose(first(gx.scale_by_trust_ratio(min_norm, trust, eps), p=p), expected, rtol=3e-7)


def test_trust_ratio_is_one_where_a_norm_is_zero():
    tx = gx.scale_by_trust_ratio(trust_coefficient=0.1)
    np.testing.assert_array_equal(first(tx, p=jnp.zeros(3)), G)
    np.testing.assert_array_equal(first(tx, jnp.zeros(3), p=jnp.ones(3)), np.zeros(3))


def test_trust_ratio_beyond_the_largest_number_is_the_largest():
    p, g = jnp.float32(1e18), jnp.float32(1e-18)  # with squares that float32 has
    tx = gx.scale_by_trust_ratio(trust_coefficient=1e3)
    np.testing.assert_allclose(first(tx, g, p), 1e-18 * np.finfo(np.float32).max, rtol=1e-6)


def test_trust_ratio_norms_are_summed_in_float32():
    p = jnp.full(10_000, 0.1, jnp.bfloat16)
    g = jnp.full(10_000, 1.0, jnp.bfloat16)
    np.testing.assert_allclose(first(gx.scale_by_trust_ratio(), g, p), np.float32(jnp.bfloat16(0.1)), rtol=1e-6)


def test_unscale_stands_before_or_behind_decay():
    """Decay in front of it meets the scaled gradient, and is divided by the loss scale too."""
    p, scale = jnp.array([2.0, -1.0, 4.0]), 8.0
    decay, undo = gx.add_decayed_weights(0.5), gx.unscale(scale)
    g, wide = np.asarray(G), np.asarray(p)
    np.testing.assert_array_equal(first(gx.chain(undo, decay), p=p), g / scale + 0.5 * wide)
    np.testing.assert_array_equal(first(gx.chain(decay, undo), p=p), (g + 0.5 * wide) / scale)


def test_unscale_multiplies_by_the_reciprocal():
    """As loss scalers do: one division a step, and the same bits as `g * (1 / scale)` in float32."""
    g = jnp.asarray(np.random.default_rng(0).normal(size=100), jnp.float32)
    np.testing.assert_array_equal(first(gx.unscale(3.0), g), np.asarray(g) * (np.float32(1) / np.float32(3)))


def test_half_gradients_are_unscaled_in_float32():
    g = jnp.array([2.0**-10], jnp.float16)
    np.testing.assert_array_equal(first(gx.unscale(2.0**20), g), [np.float32(2.0**-30)])


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("scale", (-0.3,), {}),
        ("scale_by_learning_rate", (0.3,), {}),
        ("scale_by_learning_rate", (optax.linear_schedule(0.5, 0.0, 30),), {"flip_sign": False}),
        ("scale_by_schedule", (optax.linear_schedule(0.5, -0.5, 30),), {}),
        ("scale_by_trust_ratio", (0.5, 0.1, 0.01), {}),
    ],
)
def test_equals_optax(name, args, kwargs):
    agrees(name, *args, **kwargs)

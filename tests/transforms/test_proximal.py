from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradxform as gx
from tests.trajectories import as_written, double


def soft(v, t):
    return max(v - t, 0.0) if v >= 0 else min(v + t, 0.0)


def prox_l1(v, l1, rate):
    return soft(v, rate * l1)


def prox_l2(v, l2, rate):
    return v / (1 + rate * l2)


def prox_elastic_net(v, l1, l2, rate):
    return soft(v, rate * l1) / (1 + rate * l2)


def prox_box(v, lower, upper):
    return lower if v < lower else upper if v > upper else v


def prox_nonnegative(v):
    return v if v > 0 else 0.0


def prox_group_l1(row, l1, rate):
    norm = np.sqrt(sum(x * x for x in row))
    return row * (max(1 - rate * l1 / norm, 0.0) if norm else 0.0)


SCALAR = [
    (gx.proximal_l1(0.7), lambda v: prox_l1(v, 0.7, 1.0)),
    (gx.proximal_l1(0.7, 0.5), lambda v: prox_l1(v, 0.7, 0.5)),
    (gx.proximal_l2(0.7, 0.5), lambda v: prox_l2(v, 0.7, 0.5)),
    (gx.proximal_elastic_net(0.4, 0.9, 0.5), lambda v: prox_elastic_net(v, 0.4, 0.9, 0.5)),
    (gx.proximal_box(-0.5, 0.25), lambda v: prox_box(v, -0.5, 0.25)),
    (gx.proximal_nonnegative(), prox_nonnegative),
]


def land(tx, p, u):
    """Where p ends when the step u is steered by tx."""
    updates, _ = tx.update(u, tx.init(p), p)
    return np.asarray(gx.apply_updates(p, updates))


@jax.jit
def landing(tx, p, u):
    """The same with the bounds as data: compiled once for all of them."""
    return gx.apply_updates(p, tx.update(u, tx.init(p), p)[0])


def points(dtype):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(20, 6)), dtype), jnp.asarray(rng.normal(size=(20, 6)), dtype)


@pytest.mark.parametrize(("tx", "prox"), SCALAR, ids=as_written)
def test_elementwise_operators_equal_their_scalar_form(tx, prox):
    """In float32 p + u, its image and the sum p + (prox - p) round once each, in units of the largest."""
    p, u = points(jnp.float32)
    expected = np.vectorize(prox)(np.asarray(p, np.float64) + np.asarray(u, np.float64))
    np.testing.assert_allclose(land(tx, p, u), expected, rtol=0, atol=4 * 2**-24 * 4)
    with double():
        p, u = points(jnp.float64)
        expected = np.vectorize(prox)(np.asarray(p) + np.asarray(u))
        np.testing.assert_allclose(land(tx, p, u), expected, rtol=0, atol=4 * 2**-53 * 4)


def test_group_operator_equals_its_form_by_rows():
    with double():
        p, u = points(jnp.float64)
        tx = gx.proximal_group_l1(1.5, 0.8)
        expected = np.stack([prox_group_l1(row, 1.5, 0.8) for row in np.asarray(p + u)])
        np.testing.assert_allclose(land(tx, p, u), expected, rtol=0, atol=1e-14)
        cube = land(tx, p.reshape(20, 3, 2), u.reshape(20, 3, 2))
        np.testing.assert_allclose(cube.reshape(20, 6), expected, rtol=0, atol=1e-14)
    assert 0 < np.sum(np.all(expected == 0, axis=1)) < 20


@pytest.mark.parametrize("shape", [(5,), ()])
def test_rows_of_vectors_and_scalars_are_their_elements(shape):
    p, u = (jnp.asarray(np.random.default_rng(i).normal(size=shape), jnp.float32) for i in (0, 1))
    expected = np.vectorize(lambda v: soft(v, 0.5))(np.asarray(p, np.float64) + np.asarray(u, np.float64))
    np.testing.assert_allclose(land(gx.proximal_group_l1(0.5), p, u), expected, atol=5e-7)


def test_group_operator_at_zero_and_of_complex_rows():
    zero = jnp.zeros((3, 2))
    np.testing.assert_array_equal(land(gx.proximal_group_l1(0.5), zero, zero), zero)
    v = jnp.array([[3.0 + 4.0j, 0.0], [0.1j, 0.1]])
    found = land(gx.proximal_group_l1(1.0), v, jnp.zeros_like(v))
    np.testing.assert_allclose(found, [[0.8 * (3 + 4j), 0], [0, 0]], atol=3e-7)


PENALTIES = [
    (gx.proximal_l1(0.7, 0.5), lambda x: 0.5 * 0.7 * np.sum(np.abs(x), axis=-1)),
    (gx.proximal_l2(0.7, 0.5), lambda x: 0.5 * 0.7 / 2 * np.sum(x**2, axis=-1)),
    (gx.proximal_elastic_net(0.4, 0.9, 0.5), lambda x: 0.5 * (0.4 * np.sum(np.abs(x), -1) + 0.45 * np.sum(x**2, -1))),
    (gx.proximal_group_l1(0.7, 0.5), lambda x: 0.5 * 0.7 * np.sqrt(np.sum(x**2, axis=-1))),
    (gx.proximal_box(-0.5, 0.25), lambda x: np.where(np.all((x >= -0.5) & (x <= 0.25), axis=-1), 0.0, np.inf)),
    (gx.proximal_nonnegative(), lambda x: np.where(np.all(x >= 0, axis=-1), 0.0, np.inf)),
]


@pytest.mark.parametrize(("tx", "h"), PENALTIES, ids=as_written)
def test_the_operator_minimises_its_definition(tx, h):
    """prox(v) = argmin_x h(x) + 1/2 |x - v|^2: no other point, near or far, is lower."""
    with double():
        p, u = points(jnp.float64)
        found, v = land(tx, p, u), np.asarray(p + u)
    rng = np.random.default_rng(1)

    def objective(x):
        return h(x) + np.sum((x - v) ** 2, axis=-1) / 2

    lowest = objective(found)
    assert np.all(np.isfinite(lowest))
    for size in (1e-3, 0.03, 1.0):
        for _ in range(200):
            assert np.all(objective(found + size * rng.normal(size=v.shape)) >= lowest - 1e-12)
            assert np.all(objective(np.clip(found * rng.uniform(0, 2, v.shape), -0.5, 0.25)) >= lowest - 1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    "tx", [gx.proximal_l1(0.8), gx.proximal_group_l1(3.0), gx.proximal_nonnegative()], ids=as_written
)
def test_zeros_are_exact_after_apply(tx, dtype):
    p, u = points(dtype)
    landed = land(tx, p, u)
    assert landed.dtype == dtype
    share = np.mean(np.asarray(landed, np.float32) == 0)
    assert 0.2 < share < 0.9
    small = np.abs(np.asarray(landed, np.float32))
    assert not np.any((small > 0) & (small < 1e-6))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@given(
    lower=st.floats(-3, 3, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6),
    width=st.floats(2**-7, 2, width=32),
    seed=st.integers(0, 99),
)
def test_a_box_is_never_left(dtype, lower, width, seed):
    """Bounds that the dtype cannot hold included, as far as one of its numbers lies inside the box.

    The bounds are float32 numbers, which is what the rule computes with, and the box is wider than the spacing of
    float32 at p: from p = 10 000 no float32 step lands closer than 0.001.
    """
    upper = float(np.float32(lower + width))
    numbers = np.asarray(jnp.linspace(lower, upper, 5).astype(dtype), np.float64)
    if not np.any((numbers >= lower) & (numbers <= upper)):
        return
    rng = np.random.default_rng(seed)
    p = jnp.asarray(rng.normal(scale=10.0 ** rng.integers(-4, 4, 64), size=64), dtype)
    u = jnp.asarray(rng.normal(scale=10.0 ** rng.integers(-4, 4, 64), size=64), jnp.float32)
    landed = np.asarray(landing(gx.proximal_box(lower, upper), p, u), np.float64)
    assert landed.min() >= lower
    assert landed.max() <= upper


def test_one_sided_and_degenerate_boxes():
    p, u = points(jnp.float32)
    assert land(gx.proximal_box(-np.inf, 0.1), p, u).max() <= np.float32(0.1)
    assert land(gx.proximal_box(-np.inf, np.inf), p, u).shape == p.shape
    np.testing.assert_allclose(land(gx.proximal_box(0.5, 0.5), p, u), np.full(p.shape, 0.5), rtol=2**-22)


def test_the_threshold_follows_the_rate():
    tx = gx.proximal_l1(1.0, [0.5, 0.25])
    p, state = jnp.array([1.0]), tx.init(jnp.array([1.0]))
    for expected in (0.5, 0.75, 0.75):
        updates, state = tx.update(jnp.zeros(1), state, p)
        np.testing.assert_array_equal(p + updates, [expected])


def test_jitted_equals_eager_at_exact_zeros():
    p, u = points(jnp.float32)
    for tx in (gx.proximal_l1(0.8), gx.proximal_box(-0.3, 0.3)):
        with jax.disable_jit():
            eager = land(tx, p, u)
        np.testing.assert_array_equal(land(tx, p, u) == 0, eager == 0)


def test_parameters_are_needed():
    for tx in (gx.proximal_l1(0.1), gx.proximal_box(0.0, 1.0), gx.proximal_group_l1(0.1)):
        with pytest.raises(ValueError, match="needs the parameters"):
            tx.update(jnp.ones(2), tx.init(jnp.ones(2)))

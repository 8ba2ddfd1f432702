from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax.projections
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradxform as gx
from tests.trajectories import double

SIZE = 12
WIDE = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60, allow_subnormal=False)
NEAR = st.floats(width=32, min_value=-4.0, max_value=4.0, allow_subnormal=False)
ARRAYS = st.lists(WIDE | NEAR, min_size=SIZE, max_size=SIZE)
SMALL = st.lists(NEAR, min_size=SIZE, max_size=SIZE)
DTYPES = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=str)
A = np.random.default_rng(3).normal(size=SIZE).astype(np.float32)


@jax.jit
def land(tx, p, g):
    return gx.apply_updates(p, tx.update(g, tx.init(p), p)[0])


def exact(x):
    return np.asarray(x, np.float64)


SETS = {
    "simplex": (gx.proximal_simplex, lambda x, s: optax.projections.projection_simplex(x, s)),
    "l1_ball": (gx.proximal_l1_ball, lambda x, s: optax.projections.projection_l1_ball(x, s)),
    "l1_sphere": (gx.proximal_l1_sphere, lambda x, s: optax.projections.projection_l1_sphere(x, s)),
    "l2_ball": (gx.proximal_l2_ball, lambda x, s: optax.projections.projection_l2_ball(x, s)),
    "l2_sphere": (gx.proximal_l2_sphere, lambda x, s: optax.projections.projection_l2_sphere(x, s)),
    "linf_ball": (gx.proximal_linf_ball, lambda x, s: optax.projections.projection_linf_ball(x, s)),
    "hyperplane": (
        lambda s: gx.proximal_hyperplane(jnp.asarray(A), s),
        lambda x, s: optax.projections.projection_hyperplane(x, exact(A), s),
    ),
    "halfspace": (
        lambda s: gx.proximal_halfspace(jnp.asarray(A), s),
        lambda x, s: optax.projections.projection_halfspace(x, exact(A), s),
    ),
}


@pytest.mark.parametrize("scale", [0.3, 2.0, 40.0])
@pytest.mark.parametrize("name", SETS)
def test_equals_optax_and_is_a_projection(name, scale):
    make, theirs = SETS[name]
    with double():
        draw = np.random.default_rng(0).normal
        p, g = jnp.asarray(draw(size=SIZE)), jnp.asarray(draw(size=SIZE))
        tx = make(scale)
        landed = p + tx.update(g, tx.init(p), p)[0]
        np.testing.assert_allclose(landed, theirs(p + g, scale), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(tx.update(0 * g, tx.init(p), landed)[0], 0, atol=1e-14 * scale)


BALLS = {"l1_ball": np.abs, "l2_ball": np.square}


@DTYPES
@pytest.mark.parametrize("name", BALLS)
@given(values=ARRAYS, steps=ARRAYS, scale=st.floats(0.125, 8.0, width=32))
def test_a_step_lands_in_the_ball(dtype, name, values, steps, scale):
    inside = land(SETS[name][0](scale), jnp.zeros(SIZE, dtype), jnp.asarray(steps, jnp.float32))
    assert BALLS[name](exact(inside)).sum() <= scale if name == "l1_ball" else scale**2
    again = land(SETS[name][0](scale), inside, jnp.asarray(values, jnp.float32))
    size = BALLS[name](exact(again)).sum()
    assert size <= (scale if name == "l1_ball" else scale**2) * (1 + 1e-12)


@DTYPES
@given(steps=ARRAYS, scale=st.floats(0.125, 8.0, width=32))
def test_a_step_lands_in_the_cube_and_where_nothing_is_negative(dtype, steps, scale):
    scale = float(jnp.asarray(scale, dtype))
    g = jnp.asarray(steps, jnp.float32)
    assert np.abs(exact(land(gx.proximal_linf_ball(scale), jnp.zeros(SIZE, dtype), g))).max() <= scale
    shares = exact(land(gx.proximal_simplex(scale), jnp.full(SIZE, scale / SIZE, dtype), g))
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(), scale, rtol=4 * float(jnp.finfo(dtype).eps))


@DTYPES
@given(values=SMALL, steps=SMALL, b=NEAR)
def test_a_step_lands_on_its_side_of_the_plane(dtype, values, steps, b):
    p = jnp.asarray(values, dtype)
    landed = exact(land(gx.proximal_halfspace(jnp.asarray(A), b), p, jnp.asarray(steps, jnp.float32)))
    assert exact(A) @ landed <= b + 1e-12
    inside = exact(p) + exact(jnp.asarray(steps, jnp.float32))
    if exact(A) @ inside < b - 0.1 and dtype == jnp.float32:
        np.testing.assert_allclose(landed, inside, atol=1e-6)


def test_a_plane_for_each_leaf():
    params = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    normal = {"a": jnp.asarray([1.0, 0.0, 0.0]), "b": 1.0}
    tx = gx.chain(gx.sgd(0.1), gx.proximal_hyperplane(normal, 2.0))
    u, _ = tx.update({"a": jnp.ones(3), "b": jnp.ones((2, 2))}, tx.init(params), params)
    landed = gx.apply_updates(params, u)
    np.testing.assert_allclose(landed["a"], [2.0, 0.9, 0.9], rtol=1e-6)
    np.testing.assert_allclose(landed["b"], 0.5, rtol=1e-6)
    with pytest.raises(ValueError, match="a has no bound for 'c'"):
        gx.proximal_hyperplane(normal, 1.0).init({"a": jnp.ones(3), "b": jnp.ones((2, 2)), "c": jnp.ones(1)})


@pytest.mark.parametrize("name", SETS)
def test_an_empty_array_and_one_that_is_zero(name):
    tx = SETS[name][0](1.0) if "plane" not in name and "space" not in name else gx.proximal_halfspace(1.0, 1.0)
    for p in (jnp.zeros((0, 3)), jnp.zeros(3)):
        u, _ = tx.update(p, tx.init(p), p)
        assert u.shape == p.shape
        assert np.isfinite(u).all()

from __future__ import annotations

import jax
import jax.numpy as jnp

import gradxform as gx
from gradxform.testing.case import Case, by_path, near, size

SHAPES = jax.eval_shape(lambda: {"b": jnp.zeros(3), "w": jnp.zeros((4, 3))})


def test_a_case_is_the_same_every_time_and_looks_at_the_matrix():
    one, two = (Case(gx.sophia(0.1), SHAPES, {}) for _ in range(2))
    assert one.at == 1
    assert near(one.moved[2], two.moved[2], to=0.0)
    assert one.extras["hessian"]["w"].min() > 0
    assert not one.draws
    assert Case(gx.add_noise(0.1, 0.5, 0), SHAPES, {}).draws
    assert one.reach == gx.Reach.ELEMENT
    assert Case(gx.guard(gx.sgd(0.1)), SHAPES, {}).reach is None


def test_near_is_by_the_largest_term():
    a, b = jnp.array([1.0, 1e-9]), jnp.array([1.0, 2e-9])
    assert near(a, b)
    assert not near(a, 1.001 * a)
    assert near(a, 1.001 * a, terms=jnp.array(100.0))
    assert size(jnp.array([1.0, jnp.nan])) == float("inf")
    assert [*by_path(jnp.ones(2))] == ["the array"]

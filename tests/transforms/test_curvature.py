from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

A = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
X = jnp.asarray(np.random.default_rng(1).normal(size=(7, 3)), jnp.float32)
PARAMS = {"a": jnp.arange(3.0), "n": jnp.arange(2), "b": jnp.ones(())}


def quadratic(params):
    x = jnp.concatenate([params["a"], params["b"][None]])
    return 0.5 * x @ (A + A.T) @ x


def test_hutchinson_has_the_diagonal_for_its_mean():
    found = jax.jit(jax.vmap(lambda key: gx.hutchinson(quadratic, PARAMS, key)))(jnp.arange(400))
    assert found["n"] is None
    mean = np.concatenate([found["a"].mean(0), found["b"].mean(0)[None]])
    beside = A + A.T - jnp.diag(jnp.diag(A + A.T))
    np.testing.assert_allclose(mean, 2 * jnp.diag(A), atol=5 * float(jnp.abs(beside).sum(1).max()) / 20)
    exact = jax.jit(lambda p: gx.hutchinson(lambda p: jnp.sum(p**3), p, 0))(jnp.asarray([1.0, 2.0]))
    np.testing.assert_allclose(exact, [6.0, 12.0])


def test_gauss_newton_bartlett_has_the_gauss_newton_diagonal_for_its_mean():
    w = jnp.asarray(np.random.default_rng(2).normal(size=(3, 2)), jnp.float32)
    drawn = jax.jit(jax.vmap(lambda key: gx.gauss_newton_bartlett(lambda w: X @ w, w, key)))
    found = drawn(jnp.arange(2000)).mean(0)
    p = jax.nn.softmax(X @ w)
    np.testing.assert_allclose(found, (X**2).T @ (p * (1 - p)) / 7, rtol=0.15)


def test_estimates_of_narrow_parameters_are_wide():
    """Squares of gradients of 1e-4 are no numbers in float16."""
    p = {"w": jnp.full(3, 1e-2, jnp.float16), "n": None}
    logits = jnp.asarray([1.0, 2.0, 3.0], jnp.float16) * jnp.float16(1e-4)
    for every in (1, 2):
        h = gx.gauss_newton_bartlett(lambda p: p["w"] * logits, p, 0, count=0, every=every)["w"]
        wide = gx.gauss_newton_bartlett(lambda p: p["w"] * logits, {"w": p["w"].astype(jnp.float32)}, 0, count=0)["w"]
        np.testing.assert_allclose(h, wide, rtol=0.01)
        assert h.dtype == gx.hutchinson(lambda p: jnp.sum(p["w"]), p, 0, count=1, every=every)["w"].dtype == jnp.float32
        assert (h > 0).all()


def test_it_is_due_at_every_so_many_steps():
    run = jax.jit(lambda i: gx.hutchinson(quadratic, PARAMS, 0, count=i, every=3)["a"])
    at = [run(i) for i in range(7)]
    assert not at[1].any()
    assert not at[2].any()
    assert not np.array_equal(at[3], at[6])
    np.testing.assert_allclose(at[3], gx.hutchinson(quadratic, PARAMS, 0, count=3)["a"], rtol=1e-6)
    with pytest.raises(TypeError, match="every=3 needs count"):
        gx.hutchinson(quadratic, PARAMS, 0, every=3)
    with pytest.raises(TypeError, match="logits_fn must be a function, got 3"):
        gx.gauss_newton_bartlett(3, PARAMS, 0)


def test_a_leaf_draws_by_its_path():
    """Whatever leaves there are beside it, and otherwise than they do."""

    def h(*names):
        params = {name: jnp.ones(4) for name in names}
        return gx.hutchinson(lambda params: sum(x @ A @ x for x in params.values()), params, 5)

    both = h("a", "b")
    np.testing.assert_array_equal(both["b"], h("b")["b"])
    assert not np.array_equal(both["a"], both["b"])

"""What searches share: the objective with its arguments, and what a state holds of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx


def test_arguments_of_the_objective_and_auxiliary_data():
    def objective(p, x, y=0.0):
        return jnp.sum((x * p["w"] - y) ** 2), {"seen": x}

    tx = gx.chain(gx.freeze("b"), gx.lbfgs())
    p = {"w": jnp.asarray([1.0, 2.0]), "b": jnp.asarray([5.0])}
    state = tx.init(p)
    fetch = gx.value_and_grad_from_state(objective, has_aux=True)

    @jax.jit
    def step(p, state, x):
        (value, aux), grad = fetch(p, x, state=state)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=objective, x=x, loss=value)
        return gx.apply_updates(p, updates), state, aux["seen"]

    for _ in range(6):
        p, state, seen = step(p, state, jnp.asarray(3.0))
    np.testing.assert_allclose(p["w"], [0.0, 0.0], atol=1e-4)
    np.testing.assert_array_equal(p["b"], [5.0])
    assert float(seen) == 3.0


def test_what_a_search_has_found_is_not_computed_again():
    """Value and gradient where the step landed stand in the state; before the first step they are computed."""
    w, calls = jnp.asarray([1.0, -2.0]), []

    def objective(w):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(w**2)

    tx = gx.chain(gx.sgd(0.1), gx.scale_by_backtracking_linesearch(20, store_grad=True))
    state = tx.init(w)
    fetch = jax.jit(lambda w, state: gx.value_and_grad_from_state(objective)(w, state=state))
    value, grad = fetch(w, state)
    jax.effects_barrier()
    assert len(calls) == 1
    u, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=lambda w: jnp.sum(w**2))
    w = gx.apply_updates(w, u)
    value, grad = fetch(w, state)
    jax.effects_barrier()
    assert len(calls) == 1
    np.testing.assert_allclose(value, np.sum(np.square(w)), rtol=1e-6)
    np.testing.assert_allclose(grad, 2 * w, rtol=1e-6)

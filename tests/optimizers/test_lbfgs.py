from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import gradxform as gx
from tests.trajectories import double, near

START = np.array([-1.2, 1.0, -0.5, 0.8])


def rosenbrock(p, scale=100.0):
    x = jnp.concatenate([p["head"], p["tail"]])
    return jnp.sum(scale * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def run(library, tx, steps, stored=True):
    p = {"head": jnp.asarray(START[:1]), "tail": jnp.asarray(START[1:])}
    fetch = library.value_and_grad_from_state(rosenbrock)
    traced = []

    @jax.jit
    def step(p, state):
        traced.append(1)
        value, grad = fetch(p, state=state) if stored else jax.value_and_grad(rosenbrock)(p)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=rosenbrock)
        return library.apply_updates(p, updates), state, value

    state, after = tx.init(p), []
    for _ in range(steps):
        p, state, value = step(p, state)
        after.append({"x": np.concatenate([p["head"], p["tail"]]), "value": np.asarray(value)})
    assert len(traced) == 1 or library is optax
    return jax.tree.map(lambda *x: np.stack(x), *after)


SOLVERS = {
    "default": lambda lib: lib.lbfgs(),
    "short memory": lambda lib: lib.lbfgs(memory_size=2, scale_init_precond=False),
    "kept guess": lambda lib: lib.chain(
        lib.sgd(0.01), lib.scale_by_zoom_linesearch(15, 2.0, curv_rtol=0.3, approx_dec_rtol=None)
    ),
    "few steps": lambda lib: lib.chain(lib.sgd(1.0), lib.scale_by_zoom_linesearch(3)),
    "backtracking": lambda lib: lib.chain(lib.sgd(0.1), lib.scale_by_backtracking_linesearch(20, store_grad=True)),
}


@pytest.mark.parametrize("make", SOLVERS.values(), ids=SOLVERS)
def test_each_step_is_optaxs(make):
    with double():
        # From a rounding apart, the quotients of the search part further.
        near(run(gx, make(gx), 25), run(optax, make(optax), 25), 1e-8)


def test_it_reaches_scipys_minimum_in_about_as_many_steps():
    with double():
        after = run(gx, gx.lbfgs(), 60)
    found = scipy.optimize.minimize(
        lambda x: float(scipy.optimize.rosen(x)), START, jac=scipy.optimize.rosen_der, method="L-BFGS-B", tol=1e-12
    )
    reached = int(np.argmax(after["value"] < 1e-12))
    np.testing.assert_allclose(after["x"][-1], found.x, atol=1e-5)
    assert 0 < reached <= 1.5 * found.nit


def test_a_quadratic_is_solved_in_as_many_steps_as_it_has_eigenvalues():
    """With exact line searches L-BFGS makes the steps of conjugate gradients: two eigenvalues, two steps."""
    with double():
        tx = gx.chain(gx.scale_by_lbfgs(5), gx.scale(-1.0))
        h, w = jnp.asarray([1.0, 1.0, 7.0]), jnp.asarray([1.0, 2.0, -1.0])
        state = tx.init(w)
        for _ in range(2):
            g = h * w
            d, state = tx.update(g, state, w)
            w = w - (g @ d) / (d @ (h * d)) * d
        np.testing.assert_allclose(w, np.zeros(3), atol=1e-14)


def test_negative_curvature_leaves_the_direction_uphill():
    tx = gx.scale_by_lbfgs(3)
    w = jnp.asarray([0.1, 0.2])
    state = tx.init(w)
    for _ in range(5):
        g = -w
        u, state = tx.update(g, state, w)
        assert float(u @ g) > 0.0
        w = w - 0.1 * u
    assert int(state.tree["lbfgs"].pairs) == 0

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import gradxform as gx
from tests.compiler import FAST
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


@pytest.mark.reference("optax", "lbfgs", "scale_by_zoom_linesearch", "scale_by_backtracking_linesearch")
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


RESTS = {"never": {}, "head at times": {3: "head", 4: "head", 7: "head"}, "in turns": {2: "tail", 4: "head", 6: "tail"}}
RESTS |= {"at first": {0: "tail", 1: "tail"}, "always": dict.fromkeys(range(12), "head")}


def bfgs(hessian, start, sizes, rests, steps, rate, many):
    """Inverse Hessians by BFGS updates: a leaf that rests has steps of 0; a first gradient makes no pair."""
    names = np.repeat([*sizes], [*sizes.values()])
    x, seen, pairs, found, gamma = start.copy(), None, [], [], 0.0
    for t in range(steps):
        g, on = hessian @ x, names != rests.get(t)
        if seen is None:
            gamma = min(1.0, 1.0 / np.linalg.norm(g[on]))
            seen = x.copy(), np.where(on, g, np.nan)
        else:
            s, y = np.where(on, x - seen[0], 0.0), np.where(on, g - seen[1], 0.0)
            if s @ y > 0:
                pairs, gamma = [*pairs, (s, y)][-many:], s @ y / (y @ y)
            seen = np.where(on, x, seen[0]), np.where(on, g, seen[1])
        h = gamma * np.eye(on.sum())
        for s, y in pairs:
            v = np.eye(on.sum()) - np.outer(y[on], s[on]) / (s @ y)
            h = v.T @ h @ v + np.outer(s[on], s[on]) / (s @ y)
        u = np.zeros_like(x)
        u[on] = h @ g[on]
        x = x - rate * u
        found.append(u)
    return np.stack(found)


@pytest.mark.parametrize("rests", RESTS.values(), ids=RESTS)
def test_the_step_of_a_leaf_that_rests_is_zero_in_the_pair_then_taken(rests):
    """A memory of 2, so that every slot of the ring is written anew several times."""
    sizes, rng = {"head": 2, "tail": 3}, np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    hessian, start = root @ root.T + np.eye(5), rng.normal(size=5)
    expected = bfgs(hessian, start, sizes, rests, 12, 0.3, 2)
    with double():
        tx, x = gx.scale_by_lbfgs(2), jnp.asarray(start)
        p = {"head": x[:2], "tail": x[2:]}
        state = tx.init(p)
        for t, wanted in enumerate(expected):
            g = hessian @ jnp.concatenate([p["head"], p["tail"]])
            grads = {"head": g[:2], "tail": g[2:]} | ({rests[t]: None} if t in rests else {})
            u, state = tx.update(grads, state, p)
            p = gx.apply_updates(p, jax.tree.map(lambda u: -0.3 * u, u))
            u = {k: np.zeros(sizes[k]) if x is None else x for k, x in u.items()}
            np.testing.assert_allclose(np.concatenate([u["head"], u["tail"]]), wanted, rtol=1e-9, atol=1e-12)


def test_no_slot_of_the_memories_is_copied():
    """Three temporaries are as large as the parameters; a choice between a slot and a new pair would need two more."""
    p = {"w": jnp.zeros((256, 512))}
    tx = gx.lbfgs(1.0, linesearch=None)
    compiled = gx.make_step(tx).lower(p, tx.init(p), p).compile(FAST)
    assert compiled.memory_analysis().temp_size_in_bytes < 3.1 * p["w"].nbytes

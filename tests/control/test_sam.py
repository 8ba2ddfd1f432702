from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import gradxform as gx
from tests.trajectories import double

A = np.diag([1.0, 10.0, 0.3]) + 0.1
START = np.array([1.0, -0.5, 2.0])
PARTS = {"a": slice(0, 2), "b": slice(2, 3)}


def transcript(steps, adaptive, lr=0.05, rho=0.1):
    """Foret et al. 2020, algorithm 1, and Kwon et al. 2021, equation 4, for ½ w·A·w; the weights after each step."""
    w, found = START, []
    for _ in range(steps):
        g, t = A @ w, np.abs(w) if adaptive else 1.0
        w = w - lr * A @ (w + rho * t**2 * g / np.linalg.norm(t * g))
        found.append(w)
    return np.stack(found)


def loss(p):
    w = jnp.concatenate([p["a"], p["b"]])
    return 0.5 * w @ jnp.asarray(A) @ w


def wide(library=gx):
    return library.sgd(0.05)


def up():
    return gx.chain(gx.normalize_by_update_norm(eps=0.0), gx.sgd(0.1))


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("opaque", [False, True])
def test_the_weights_are_the_papers(adaptive, opaque):
    with double():
        tx = gx.sam(wide(), up(), opaque_mode=opaque, adaptive=adaptive)
        p = {k: jnp.asarray(START[i]) for k, i in PARTS.items()}
        extra = {"grad_fn": lambda p, i: jax.grad(loss)(p)} if opaque else {}

        def step(carry, _):
            p, state = carry
            updates, state = tx.update(jax.grad(loss)(p), state, p, **extra)
            p = gx.apply_updates(p, updates)
            return (p, state), (p, gx.eval_params(tx, state, p))

        visited, found = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=16)[1])(p)
        every = 1 if opaque else 2
        expected = transcript(16 // every, adaptive)
        for k, i in PARTS.items():
            np.testing.assert_allclose(visited[k][every - 1 :: every], expected[:, i], rtol=1e-12)
            np.testing.assert_allclose(found[k][every - 1 :: every], expected[:, i], rtol=1e-12)
        if not opaque:
            np.testing.assert_allclose(found["a"][2::2], expected[:-1, PARTS["a"]], rtol=1e-12)
            assert np.all(np.asarray(visited["a"][2::2]) != expected[:-1, PARTS["a"]])


@pytest.mark.parametrize("period", [2, 3])
@pytest.mark.parametrize("reset", [False, True])
def test_optax_agrees(period, reset):
    with double():
        ours = gx.sam(gx.adam(0.05), gx.sgd(0.1, 0.9), period, reset)
        theirs = optax.contrib.sam(optax.adam(0.05), optax.sgd(0.1, 0.9), period, reset)
        p = q = {k: jnp.asarray(START[i]) for k, i in PARTS.items()}
        state, other = ours.init(p), theirs.init(q)
        # optax picks states with arithmetic, and a moment's integer count with it.
        for _ in range(7):
            u, state = ours.update(jax.grad(loss)(p), state, p)
            v, other = theirs.update(jax.grad(loss)(q), other, q)
            p, q = gx.apply_updates(p, u), optax.apply_updates(q, v)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), p, q)


def test_what_is_missing_is_named():
    p = jnp.ones(2)
    tx = gx.sam(gx.sgd(0.1), gx.sgd(0.1), opaque_mode=True)
    with pytest.raises(ValueError, match="'grad_fn'"):
        tx.update(p, tx.init(p), p)
    with pytest.raises(ValueError, match="sync_period must be at least 1, got 0"):
        gx.sam(gx.sgd(0.1), gx.sgd(0.1), 0)


def test_one_call_a_step_gives_no_update_uphill_that_a_stage_behind_could_see():
    behind = gx.chain(gx.sam(wide(), up(), sync_period=1), gx.trace(0.9))
    behind.init(jnp.asarray(START))
    with pytest.raises(ValueError, match="uphill"):
        gx.chain(gx.sam(wide(), up()), gx.trace(0.9))


def test_an_average_over_devices_is_for_opaque_mode():
    gx.sam(wide(), up(), opaque_mode=True, batch_axis_name="batch")
    with pytest.raises(ValueError, match="batch_axis_name is for opaque_mode"):
        gx.sam(wide(), up(), batch_axis_name="batch")

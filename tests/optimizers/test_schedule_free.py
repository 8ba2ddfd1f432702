"""Optimizers around an average or slow weights, against optax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import double, gradients, parameters


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_optax_agrees_for_a_constant_rate(name):
    kwargs = {"learning_rate": 0.05, "b1": 0.9, "weight_decay": 0.01}
    with double():
        ours, theirs = getattr(gx, name)(**kwargs), getattr(optax.contrib, name)(**kwargs)
        p = q = jax.tree.map(jnp.asarray, parameters())
        state, other, grads = ours.init(p), theirs.init(q), gradients(steps=10)
        for t in range(10):
            g = {k: jnp.asarray(x[t]) for k, x in grads.items()}
            u, state = ours.update(g, state, p)
            v, other = theirs.update(g, other, q)
            p, q = gx.apply_updates(p, u), optax.apply_updates(q, v)
        x, y = gx.eval_params(ours, state, p), optax.contrib.schedule_free_eval_params(other, q)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), (p, x), (q, y))


@pytest.mark.parametrize("reset", [False, True])
def test_lookahead_is_optaxs_with_the_slow_weights_in_the_state(reset):
    with double():
        fast = (gx.momentum(0.1), optax.sgd(0.1, 0.9))
        ours, theirs = gx.lookahead(fast[0], 3, 0.4, reset), optax.lookahead(fast[1], 3, 0.4, reset)
        p = jax.tree.map(jnp.asarray, parameters())
        q = optax.LookaheadParams.init_synced(p)
        state, other, grads = ours.init(p), theirs.init(q), gradients(steps=10)
        for t in range(10):
            g = {k: jnp.asarray(x[t]) for k, x in grads.items()}
            u, state = ours.update(g, state, p)
            v, other = theirs.update(g, other, q)
            p, q = gx.apply_updates(p, u), optax.apply_updates(q, v)
            slow = gx.eval_params(ours, state, p)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), (p, slow), (q.fast, q.slow))


def test_a_restarted_inner_state_is_made_anew_after_every_period():
    tx = gx.lookahead(gx.momentum(0.1, 0.5), 2, 0.5, reset_state=True)
    p = jnp.ones(2)
    state = tx.init(p)
    seen = []
    for _ in range(4):
        _, state = tx.update(jnp.ones(2), state, p)
        seen.append(float(gx.view(state.tree["restarted"].inner, "trace")[0]))
    assert seen == [1.0, 0.0, 1.0, 0.0]

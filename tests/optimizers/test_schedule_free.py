"""Optimizers around an average or slow weights, against optax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

import gradxform as gx
from tests.trajectories import double, gradients, near, parameters


def walked(tx, p, read):
    """What is read from parameters and state, a pair of trees, after each of twenty steps."""

    def step(carry, g):
        p, state = carry
        u, state = tx.update(g, state, p)
        p = optax.apply_updates(p, u)
        return (p, state), read(p, state)

    return jax.jit(lambda gs: jax.lax.scan(step, (p, tx.init(p)), gs)[1])(gradients(steps=20))


@pytest.mark.reference("optax")
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_optax_agrees_for_a_constant_rate(name):
    kwargs = {"learning_rate": 0.05, "b1": 0.9, "weight_decay": 0.01}
    with double():
        ours, theirs = getattr(gx, name)(**kwargs), getattr(optax.contrib, name)(**kwargs)
        p = jax.tree.map(jnp.asarray, parameters())
        found = walked(ours, p, lambda p, s: (p, gx.eval_params(ours, s, p)))
        expected = walked(theirs, p, lambda p, s: (p, optax.contrib.schedule_free_eval_params(s, p)))
        for a, b in zip(found, expected, strict=True):
            near(a, b, 1e-10)


@pytest.mark.reference("optax", "lookahead")
@pytest.mark.parametrize("reset", [False, True])
def test_lookahead_is_optaxs_with_the_slow_weights_in_the_state(reset):
    with double():
        ours = gx.lookahead(gx.momentum(0.1), 3, 0.4, reset)
        theirs = optax.lookahead(optax.sgd(0.1, 0.9), 3, 0.4, reset)
        p = jax.tree.map(jnp.asarray, parameters())
        found = walked(ours, p, lambda p, s: (p, gx.eval_params(ours, s, p)))
        expected = walked(theirs, optax.LookaheadParams.init_synced(p), lambda q, s: (q.fast, q.slow))
        for a, b in zip(found, expected, strict=True):
            near(a, b, 1e-12)


def test_a_restarted_inner_state_is_made_anew_after_every_period():
    tx = gx.lookahead(gx.momentum(0.1, 0.5), 2, 0.5, reset_state=True)
    p = jnp.ones(2)
    state = tx.init(p)
    seen = []
    for _ in range(4):
        _, state = tx.update(jnp.ones(2), state, p)
        seen.append(float(gx.view(state.tree["restarted"].inner, "trace")[0]))
    assert seen == [1.0, 0.0, 1.0, 0.0]

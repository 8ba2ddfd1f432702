"""Transformations that are not made of rules, as stages of a chain."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import double, gradients, near, parameters, walk

P = {"a": jnp.ones(2), "b": jnp.ones(3)}


G = {"a": jnp.full(2, 2.0), "b": jnp.full(3, -1.0)}


def first(tx, g=G, p=P):
    return tx.update(g, tx.init(p), p)


def test_other_librarys_pairs_are_members():
    tx = gx.chain(gx.scale_by_adam(), optax.trace(0.9), gx.scale_by_learning_rate(0.02))
    theirs = optax.chain(optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_learning_rate(0.02))
    params, grads = parameters(), gradients()
    with double():
        near(walk(tx, params, grads, jnp.float64)[0], walk(theirs, params, grads, jnp.float64)[0], 1e-12)


def test_a_pair_written_by_hand_is_a_member():
    def init(params):
        return {"n": jnp.zeros(())}

    def update(updates, state, params=None):
        return jax.tree.map(jnp.negative, updates), {"n": state["n"] + 1}

    tx = gx.chain(gx.scale(2.0), (init, update), gx.scale(3.0))
    updates, state = first(tx)
    np.testing.assert_array_equal(updates["a"], -12.0)
    assert jax.tree.leaves(state.tree)[0] == 1
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(P))


def test_extras_reach_another_librarys_transformation():
    tx = gx.chain(gx.scale(2.0), optax.polyak_sgd(max_learning_rate=1.0), gx.scale(0.5))
    theirs = optax.chain(optax.scale(2.0), optax.polyak_sgd(max_learning_rate=1.0), optax.scale(0.5))
    a, _ = tx.update(P, tx.init(P), P, value=0.3)
    b, _ = theirs.update(P, theirs.init(P), P, value=0.3)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_it_sees_the_whole_tree_and_none_where_a_leaf_is_frozen():
    seen = {}

    def update(updates, state, params=None, **extra):
        seen.update(updates=updates, params=params, extra=extra)
        return updates, state

    tx = gx.chain(gx.freeze("a"), gx.scale(2.0), (lambda params: (), update))
    updates, _ = tx.update(G, tx.init(P), P, value=1.0)
    assert seen["updates"]["a"] is None
    assert seen["params"]["a"] is None
    assert seen["updates"]["b"].shape == seen["params"]["b"].shape == (3,)
    assert [*seen["extra"]] == ["value"]
    np.testing.assert_array_equal(updates["b"], 2 * G["b"])
    np.testing.assert_array_equal(updates["a"], 0.0)


def test_strategies_do_not_reach_inside():
    tx = gx.chain(optax.trace(0.9))
    with pytest.raises(TypeError, match="stored_as works on transformations made of rules; put it inside"):
        gx.stored_as("int8", tx)


def test_it_prints_by_the_name_of_the_functions():
    pair = (optax.trace(0.9).init, optax.trace(0.9).update)
    assert repr(gx.chain(pair)) == "optax.trace(...)"
    assert gx.chain(pair).reach == gx.Reach.TREE
    assert [name for name, _ in gx.chain(pair).named()] == ["foreign"]

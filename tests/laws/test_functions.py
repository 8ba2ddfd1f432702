"""Functions among the parameters, as an unfiltered equinox model has them, change nothing and keep nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, own, tree


def with_functions(p: Any) -> Any:
    return p | {"activation": jnp.tanh, "dense": p["dense"] | {"init": jax.nn.initializers.zeros}}


def with_none(p: Any) -> Any:
    return p | {"activation": None, "dense": p["dense"] | {"init": None}}


def program(entry: Entry, at_init: Any, params: Any, g: Any, state: Any) -> str:
    def once(g: Any, state: Any) -> Any:
        return jax.tree.leaves((entry.tx.init(at_init), entry.update(g, state, params)))

    jax.eval_shape(once, g, state)  # What is asked of a rule once, and leaves dead code in a trace, is asked here.
    return str(jax.make_jaxpr(lambda *args: once(*args))(g, state))


@entries()
def test_the_program_is_that_without_them(entry: Entry):
    p, g = tree(0), with_none(tree(1))
    none = with_none(p)
    state = entry.tx.init(none)
    expected = program(entry, none, none, g, state)
    assert program(entry, with_functions(p), with_functions(p), g, state) == expected
    assert program(entry, none, with_functions(p), g, state) == expected


@entries()
def test_they_keep_no_memory_and_move_nowhere(entry: Entry):
    p, g = with_functions(tree(0)), with_none(tree(1))
    state = entry.tx.init(p)
    assert jax.tree.structure(state) == jax.tree.structure(entry.tx.init(with_none(tree(0))))
    assert own(state).leaves["activation"] is None
    _, after = jax.eval_shape(lambda g, state: entry.update(g, state, p), g, state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert gx.eval_params(entry.tx, state, p)["activation"] is jnp.tanh


@pytest.mark.parametrize("at_init", [with_functions, with_none])
def test_apply_updates_leaves_them_alone(at_init: Any):
    p, g, tx = with_functions(tree(0)), with_none(tree(1)), gx.adam(0.1)
    updates, _ = tx.update(g, tx.init(at_init(tree(0))), p)
    after = gx.apply_updates(p, updates)
    assert after["activation"] is jnp.tanh
    assert after["dense"]["init"] is jax.nn.initializers.zeros
    np.testing.assert_allclose(after["scale"], p["scale"] - 0.1 * np.sign(g["scale"]), rtol=1e-6)


def test_what_looks_at_a_model_takes_its_functions():
    p, tx = with_functions(tree(0)), gx.adam(0.1)
    assert [row.path for row in gx.explain(tx, p).rows] == ["dense/bias", "dense/kernel", "scale"]
    mesh = jax.make_mesh((1,), ("d",), devices=jax.devices()[:1])
    lies = gx.state_shardings(tx, p, jax.sharding.PartitionSpec(), mesh)
    assert len(jax.tree.leaves(lies)) == len(jax.tree.leaves(tx.init(p)))


def test_a_function_with_a_gradient_is_refused():
    p, g, tx = {"a": jnp.ones(2), "f": jnp.tanh}, {"a": jnp.ones(2), "f": jnp.ones(2)}, gx.sgd(0.1)
    with pytest.raises(TypeError, match="the parameter 'f' must be an array, a number or None, got"):
        tx.update(g, tx.init(p), p)


def test_numbers_without_a_gradient_take_no_part():
    """As in an unfiltered equinox model: a rate of dropout, say. With a gradient they are parameters."""
    p, tx = {"w": jnp.ones(2), "p": 0.5, "f": jnp.tanh}, gx.chain(gx.sgd(0.1), gx.ema_of_params(0.5, debias=False))
    state = tx.init({"w": jnp.ones(2), "p": None, "f": None})
    updates, after = tx.update({"w": jnp.ones(2), "p": None, "f": None}, state, p)
    assert (updates["p"], after.leaves["p"]) == (None, None)
    updates, state = tx.update({"w": jnp.ones(2), "p": 1.0, "f": None}, tx.init(p), p)
    np.testing.assert_allclose(updates["p"], -0.1, rtol=1e-6)
    np.testing.assert_allclose(gx.eval_params(tx, state, p)["p"], 0.5 * 0.5 + 0.5 * 0.4, rtol=1e-6)

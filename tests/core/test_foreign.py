"""Two functions as a transformation."""

from __future__ import annotations

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P = {"a": jnp.ones((2, 3)), "b": jnp.ones(4)}
G = jax.tree.map(lambda p: 0.5 * p, P)


def mean_init(params):
    return {"mean": jax.tree.map(jnp.zeros_like, params)}


def mean_update(updates, state, params=None):
    mean = jax.tree.map(lambda m, u: 0.5 * (m + u), state["mean"], updates)
    return mean, {"mean": mean}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
@pytest.mark.parametrize(
    "tx",
    [
        gx.GradientTransformation(mean_init, mean_update),
        gx.GradientTransformation(init=mean_init, update=mean_update),
        gx.GradientTransformationExtraArgs(mean_init, lambda u, s, p=None, **extra: mean_update(u, s)),
        gx.GradientTransformation(mean_init, lambda u, s: mean_update(u, s)),
        gx.GradientTransformation(mean_init, lambda u, s, p: mean_update(u, s)),
        gx.GradientTransformation(mean_init, lambda *args: mean_update(*args)),
        gx.GradientTransformation(mean_init, functools.partial(mean_update, params=None)),
        gx.GradientTransformation(jax.jit(mean_init), jax.jit(mean_update)),
        gx.GradientTransformation(*gx.chain((mean_init, mean_update))),
        gx.GradientTransformation(*optax.GradientTransformation(mean_init, mean_update)),
    ],
)
def test_two_functions_make_one(tx, wrap):
    """Means of 0 and g, then of that and g: g / 2 and 3 g / 4."""
    assert isinstance(tx, gx.GradientTransformation)
    init, update = tx
    updates, state = wrap(update)(G, init(P), P)
    np.testing.assert_array_equal(updates["a"], 0.5 * G["a"])
    updates, _ = wrap(update)(G, state)
    np.testing.assert_array_equal(updates["b"], 0.75 * G["b"])


def test_one_of_two_functions_is_a_value_and_composes():
    tx = gx.GradientTransformation(mean_init, mean_update)
    assert (
        tx
        == gx.GradientTransformation(mean_init, mean_update)
        != gx.GradientTransformation(mean_init, gx.sgd(0.1).update)
    )
    assert hash(tx) == hash(gx.GradientTransformation(mean_init, mean_update))
    assert tx.update is gx.GradientTransformation(mean_init, mean_update).update
    assert copy.copy(tx) == pickle.loads(pickle.dumps(tx)) == jax.tree.map(lambda x: x, tx) == tx
    for outer in (
        gx.chain(tx, gx.scale(-1.0)),
        optax.chain(tx, optax.scale(-1.0)),
        gx.chain(gx.masked(tx, True), gx.scale(-1.0)),
    ):
        updates, _ = outer.update(G, outer.init(P), P)
        np.testing.assert_array_equal(updates["a"], -0.5 * G["a"])
    for outer in (gx.accumulate(tx, 1), gx.guard(tx), gx.named_chain(("mean", tx))):
        p, _ = gx.make_step(outer)(jax.tree.map(jnp.copy, P), outer.init(P), G)
        np.testing.assert_array_equal(p["a"], P["a"] + 0.5 * G["a"])


def test_extras_reach_the_functions_that_name_them():
    def named(updates, state, params=None, *, value):
        return jax.tree.map(lambda u: value * u, updates), state

    def all_of_them(updates, state, params=None, **extra):
        return jax.tree.map(lambda u: extra["value"] * u, updates), state

    for update in (named, all_of_them):
        tx = gx.GradientTransformation(lambda params: gx.EmptyState(), update)
        updates, state = tx.update(G, tx.init(P), P, value=3.0, other=1.0)
        np.testing.assert_array_equal(updates["a"], 3.0 * G["a"])
        assert state == gx.EmptyState()


@pytest.mark.parametrize(
    ("init", "update", "words"),
    [
        (mean_update, mean_init, r"init must be a function init\(params\), got <function mean_update"),
        (mean_init, mean_init, r"update must be a function update\(updates, state, params=None\), .*\(params\)"),
        (mean_init, lambda a, b, c, d: (a, b), r"update must be .* with the arguments \(a, b, c, d\)"),
        (gx.adam(0.1), mean_update, "init must be a function .* got chain"),
        (None, mean_update, "init must be a function .* got None of type NoneType"),
        (mean_init, 3, "update must be a function .* got 3 of type int"),
    ],
)
def test_other_arguments_are_refused(init, update, words):
    for make in (gx.GradientTransformation, lambda *pair: gx.GradientTransformation(init=pair[0], update=pair[1])):
        with pytest.raises(TypeError, match=words):
            make(init, update)


def test_other_numbers_of_arguments_are_refused():
    for args in ((), (mean_init,), (mean_init, mean_update, mean_update)):
        with pytest.raises(TypeError, match=r"positional argument"):
            gx.GradientTransformation(*args)


@pytest.mark.parametrize("out", [3, None, (1,), (1, 2, 3), {"a": 1, "b": 2}])
def test_what_update_returns_is_a_pair(out):
    tx = gx.GradientTransformation(lambda params: (), lambda updates, state: out)
    with pytest.raises(TypeError, match=r"update must return a pair \(updates, state\), got"):
        tx.update(G, tx.init(P), P)


def test_a_pair_prints_by_names_not_by_addresses():
    assert repr(gx.GradientTransformation(mean_init, mean_update)) == "GradientTransformation(mean_init, mean_update)"
    tx = gx.chain(optax.clip(1.0), optax.adamw(0.1), gx.scale(2.0))
    parts = "scale_by_adam, add_decayed_weights, scale_by_learning_rate"
    shown = repr(tx).replace("scale)", "scale_by_learning_rate)")  # as optax of some versions calls it
    assert shown == f"chain(optax.clip(...), optax.chain({parts}), scale(step_size=2.0))"
    assert "optax.clip(...)" in gx.explain(tx, P).rows[0].rules


def test_a_callable_object_is_called_by_its_class():
    class Halve:
        def __call__(self, updates, state, params=None):
            return jax.tree.map(lambda g: g / 2, updates), state

    assert repr(gx.GradientTransformation(mean_init, Halve())) == "GradientTransformation(mean_init, Halve)"


def test_what_a_pair_says_of_another_state_is_said_in_words():
    tx = gx.GradientTransformation(mean_init, mean_update)
    with pytest.raises(ValueError, match=r"the state holds nothing, wanted is \{'mean': "):
        tx.update(G, {}, P)


def test_where_a_pair_cannot_say_what_it_wants_its_own_error_stays():
    def no_init(params):
        raise RuntimeError("not today")

    with pytest.raises(KeyError, match="mean"):
        gx.GradientTransformation(no_init, mean_update).update(G, {}, P)

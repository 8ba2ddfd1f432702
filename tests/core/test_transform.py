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


def test_it_is_the_pair():
    init, update = gx.adam(0.1)
    tx = gx.adam(0.1)
    assert init is tx.init
    assert update is tx.update
    assert gx.adam(0.1).update is tx.update
    assert jax.tree.structure(init(P)) == jax.tree.structure(tx.init(P))
    assert repr(update) == f"{tx!r}.update"


def test_equal_transformations_have_equal_pairs():
    assert gx.adam(0.1).init == gx.adam(0.1).init
    assert hash(gx.adam(0.1).init) == hash(gx.adam(0.1).init)
    assert gx.adam(0.1).init != gx.adam(0.2).init
    assert gx.adam(0.1).init != gx.adam(0.1).update


def test_the_third_argument_is_named_params():
    tx = gx.adamw(0.1)
    a, _ = tx.update(G, tx.init(P), P)
    b, _ = tx.update(updates=G, state=tx.init(P), params=P)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_params_may_be_left_out_where_no_stage_needs_them():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1))
    a, _ = tx.update(G, tx.init(P))
    b, _ = tx.update(G, tx.init(P), P)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    with pytest.raises(ValueError, match="weight_decay needs the parameters"):
        gx.adamw(0.1).update(G, gx.adamw(0.1).init(P))


def test_apply_updates_adds():
    new = gx.apply_updates(P, {"a": jnp.full((2, 3), 0.25), "b": None})
    np.testing.assert_array_equal(new["a"], np.full((2, 3), 1.25))
    assert new["b"] is P["b"]


@pytest.mark.parametrize("p", [jnp.ones(()), jnp.ones(3, jnp.bfloat16), 1.0, 2, np.ones(3), jnp.ones(2, complex)])
@pytest.mark.parametrize("u", [-0.1, -1, np.float32(-0.1), np.float64(-0.1)])
def test_apply_updates_adds_a_plain_number_to_every_element(p, u):
    """As optax does, in the parameter's dtype."""
    found, expected = gx.apply_updates({"a": p}, {"a": u})["a"], optax.apply_updates({"a": p}, {"a": u})["a"]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("u", ["fast", True, 1j, object()])
def test_apply_updates_refuses_what_is_no_number(u):
    with pytest.raises(TypeError, match=r"an update must be an array, a number or None, got .* of type"):
        gx.apply_updates(P, {"a": u, "b": 0.0})


def test_apply_updates_rounds_once():
    """1 + 2^-8 + 2^-16 rounds up to 1 + 2^-7 in bfloat16; the update alone, rounded first, would be a tie to 1."""
    p, u = jnp.ones(1, jnp.bfloat16), jnp.array([2.0**-8 + 2.0**-16], jnp.float32)
    new = gx.apply_updates(p, u)
    assert new.dtype == jnp.bfloat16
    np.testing.assert_array_equal(new.astype(jnp.float32), [1 + 2.0**-7])
    np.testing.assert_array_equal((p + u.astype(jnp.bfloat16)).astype(jnp.float32), [1.0])


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ({"a": jnp.ones(3), "b": None}, r"update .*shape \(3,\), its parameter \(2, 3\)"),
        ({"a": jnp.ones(()), "b": None}, r"update .*shape \(\), its parameter \(2, 3\)"),
        ({"a": jnp.ones((2, 3))}, None),
        ({"a": jnp.ones((2, 3)), "b": None, "c": jnp.ones(1)}, None),
    ],
)
def test_apply_updates_refuses_what_does_not_fit(updates, words):
    with pytest.raises(ValueError, match=words):
        gx.apply_updates(P, updates)


def test_apply_updates_keeps_complex_and_wide_dtypes():
    p = jnp.array([1 + 1j], jnp.complex64)
    np.testing.assert_array_equal(gx.apply_updates(p, jnp.array([1j], jnp.complex64)), [1 + 2j])
    assert gx.apply_updates(jnp.ones(1, jnp.float16), jnp.ones(1)).dtype == jnp.float16


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_zero_half_gradient_gives_no_nan(dtype):
    p = jnp.ones(3, dtype)
    for tx in (gx.adam(0.1), gx.rmsprop(0.1), gx.adagrad(0.1, 0.0), gx.lamb(0.1), gx.clip_by_global_norm(1.0)):
        updates, _ = tx.update(jnp.zeros(3, dtype), tx.init(p), p)
        assert np.all(np.isfinite(np.asarray(updates, np.float32)))


@pytest.mark.parametrize(
    "tx",
    [
        gx.adam(0.1),
        gx.guard(gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1), gx.ema_of_params(0.9))),
        gx.groups([("a", gx.schedule_free_sgd(0.1))], default=gx.sgd(0.1)),
        gx.lookahead(gx.sgd(0.1), 2, 0.5, reset_state=True),
        gx.sam(gx.sgd(0.1), gx.sgd(0.1)),
        gx.packed(gx.adam(0.1)),
    ],
    ids=repr,
)
def test_eval_params_of_a_tree_with_none(tx):
    p = {"a": jnp.ones(2), "none": None, "empty": jnp.zeros((0, 3)), "ints": jnp.arange(2)}
    _, state = tx.update({**p, "ints": None}, tx.init(p), p)
    found = gx.eval_params(tx, state, p)
    assert jax.tree.structure(found) == jax.tree.structure(p)
    np.testing.assert_array_equal(found["ints"], [0, 1])


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


def gone(tree):
    jax.tree.map(lambda x: x.delete(), tree)
    return tree


def test_deleted_arrays_are_named():
    tx, words = gx.chain(gx.adam(0.1)), "was donated to an earlier step: use what that step returned, or gx.make_step"
    p = {**P, "b": gone(jnp.ones(4))}
    state = tx.init(P)
    with pytest.raises(ValueError, match=f"the parameter 'b' {words}"):
        tx.init(p)
    with pytest.raises(ValueError, match=f"the parameter 'b' {words}"):
        gx.adamw(0.1).update(G, state, p)
    with pytest.raises(ValueError, match=f"the gradient 'b' {words}"):
        tx.update(p, state, P)
    with pytest.raises(ValueError, match=f"the state 'count' {words}"):
        tx.update(G, gone(tx.init(P)), P)
    with pytest.raises(ValueError, match=f"the extra 'value' {words}"):
        gx.polyak_sgd().update(G, gx.polyak_sgd().init(P), P, value=gone(jnp.ones(())))
    for updates, params in ((G, p), (p, P)):
        with pytest.raises(ValueError, match=f"the (parameter|update) 'b' {words}"):
            gx.apply_updates(params, updates)
    average = gx.ema_of_params(0.9)
    with pytest.raises(ValueError, match=f"the state 'leaves/a/ema_of_params/average' {words}"):
        gx.eval_params(average, state._replace(leaves=gone(average.init(P).leaves)), P)

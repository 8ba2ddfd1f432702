from __future__ import annotations

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


def gone(tree):
    jax.tree.map(lambda x: x.delete(), tree)
    return tree


def test_deleted_arrays_are_named():
    tx = gx.chain(gx.adam(0.1))
    words = "was donated to an earlier step: use what that step returned, or make the step with donate=False"
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

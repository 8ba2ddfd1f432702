from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

P = {"a": jnp.ones((2, 3)), "b": jnp.ones(4)}
G = jax.tree.map(lambda p: 0.5 * p, P)


def test_make_step_is_update_and_apply():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))
    updates, state = tx.update(G, tx.init(P), P)
    expected = gx.apply_updates(P, updates)
    p, after = gx.make_step(tx)(jax.tree.map(jnp.copy, P), tx.init(P), G)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), (p, after), (expected, state))


def test_make_step_donates_parameters_and_state():
    tx = gx.adam(0.1)
    p = jax.tree.map(jnp.copy, P)
    state = tx.init(p)
    new, after = gx.make_step(tx)(p, state, G)
    assert all(x.is_deleted() for x in jax.tree.leaves((p, state)))
    assert not any(x.is_deleted() for x in jax.tree.leaves((new, after, G)))


def test_equal_transformations_share_one_step():
    assert gx.make_step(gx.adam(0.1)) is gx.make_step(gx.adam(0.1))
    assert gx.make_step(gx.adam(0.1)) is not gx.make_step(gx.adam(0.2))


def test_without_donation_a_second_run_starts_from_the_same_parameters():
    p, tx = jax.tree.map(jnp.copy, P), gx.sgd(0.5)
    state = tx.init(p)
    for rate in (0.5, 1.0):
        step = gx.make_step(gx.sgd(rate), donate=False)
        new, _ = step(p, state, G)
        np.testing.assert_array_equal(new["a"], 1.0 - rate * 0.5 * np.ones((2, 3)))
    assert not any(x.is_deleted() for x in jax.tree.leaves((p, state)))
    assert gx.make_step(tx, donate=False) is not gx.make_step(tx) is gx.make_step(tx, donate=True)


def test_a_second_run_from_donated_parameters_is_told_so():
    p, tx = jax.tree.map(jnp.copy, P), gx.adam(0.1)
    step, state = gx.make_step(tx), tx.init(p)
    new, after = step(p, state, G)
    words = r"was donated to an earlier step: use what that step returned, or make the step with donate=False"
    with pytest.raises(ValueError, match=f"the parameter 'a' {words}"):
        gx.sgd(0.1).init(p)
    with pytest.raises(ValueError, match=f"the parameter 'a' {words}"):
        gx.make_step(gx.sgd(0.1))(p, gx.sgd(0.1).init(P), G)
    with pytest.raises(ValueError, match=f"the state 'count' {words}"):
        step(new, state, G)
    with pytest.raises(ValueError, match=f"the gradient 'a' {words}"):
        step(new, after, p)


@pytest.mark.filterwarnings("ignore")
def test_gradients_that_are_the_parameters_cannot_be_read_from_donated_memory():
    tx, p = gx.sgd(0.1), jax.tree.map(jnp.copy, P)
    with pytest.raises(ValueError, match=r"the gradient 'a' is itself a parameter or in the state, .* copy it"):
        gx.make_step(tx)(p, tx.init(p), p)
    gx.make_step(tx, donate=False)(p, tx.init(p), p)


def test_other_errors_of_a_step_stay_as_they_are():
    def fails(updates, state, params=None):
        raise RuntimeError("my own")

    tx = gx.GradientTransformation(lambda params: (), fails)
    for run in (tx.update, gx.make_step(tx)):
        with pytest.raises(RuntimeError, match="my own"):
            run(P, tx.init(P), G)


def test_half_a_pair_is_no_transformation():
    half = SimpleNamespace(init=lambda params: ())
    for f in (gx.make_step, gx.guard, gx.chain):
        with pytest.raises(TypeError, match=r"must be a gradient transformation.* of type SimpleNamespace"):
            f(half)


def test_donate_is_true_or_false():
    with pytest.raises(TypeError, match="donate must be True or False, got 'no'"):
        gx.make_step(gx.sgd(0.1), donate="no")


def test_what_is_not_donated_may_be_read_twice():
    """An error of the step itself is told then, not that the gradient is the parameter."""
    with pytest.raises(ValueError, match="wanted is"):
        gx.make_step(gx.adam(0.1), donate=False)(P, gx.sgd(0.1, 0.9).init(P), P)


def test_a_model_with_functions_among_its_leaves_is_stepped_by_its_arrays():
    tx = gx.sgd(0.5)
    model = {"w": jnp.array([1.0, 2.0]), "activation": jnp.tanh}
    step = gx.make_step(tx)
    state = tx.init(model)
    for expected in ([0.5, 1.0], [0.25, 0.5]):
        model, state = step(model, state, {"w": jnp.array(model["w"]), "activation": None})
        np.testing.assert_array_equal(model["w"], expected)
        assert model["activation"] is jnp.tanh

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P, G = {"w": jnp.ones(2)}, {"w": jnp.asarray([1.0, -2.0])}


def factors(tx, values, start=None):
    """What each update is a multiple of, and the state."""
    state = tx.init(P) if start is None else start

    def step(state, value):
        u, state = tx.update(G, state, P, value=value)
        return state, u["w"][0]

    state, found = jax.lax.scan(step, state, jnp.asarray(values, jnp.float32))
    return np.asarray(found), state


LOSS = np.round(np.abs(np.random.default_rng(0).normal(size=200)).cumsum() % 7 + np.geomspace(9, 1, 200), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"factor": 0.5, "patience": 3},
        {"factor": 0.5, "patience": 2, "cooldown": 5, "min_scale": 0.1},
        {"factor": 0.7, "patience": 2, "rtol": 0.0, "atol": 0.5, "accumulation_size": 4},
        {"factor": 0.7, "patience": 1, "rtol": 0.3, "cooldown": 1, "accumulation_size": 3},
    ],
)
def test_equals_optax_for_a_loss_above_zero(arguments):
    ours, _ = factors(gx.reduce_on_plateau(**arguments), LOSS)
    theirs, _ = factors(optax.contrib.reduce_on_plateau(**arguments), LOSS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert len(set(ours)) > 1


def test_a_negative_loss_that_stays_is_no_gain():
    """Best is -10: -10.001 is nearer to it than a thousandth, and optax's bound, -9.99, lies above it."""
    values = [-10.0] + [-10.001] * 4
    ours, _ = factors(gx.reduce_on_plateau(0.5, 2, rtol=1e-3), values)
    np.testing.assert_array_equal(ours, [1, 1, 0.5, 0.5, 0.25])
    assert set(factors(optax.contrib.reduce_on_plateau(0.5, 2, rtol=1e-3), values)[0]) == {1.0}


def test_a_run_goes_on_where_it_stopped():
    tx = gx.chain(gx.adam(0.1), gx.reduce_on_plateau(0.5, 2, cooldown=2, accumulation_size=3))
    whole, end = factors(tx, LOSS)
    first, state = factors(tx, LOSS[:101])
    second, after = factors(tx, LOSS[101:], start=jax.tree.map(np.asarray, state))
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    jax.tree.map(np.testing.assert_array_equal, after, end)


def test_under_accumulate_it_judges_the_mean_of_the_microbatches():
    inner = gx.chain(gx.sgd(1.0), gx.reduce_on_plateau(0.5, 2))
    tx = gx.accumulate(inner, every=2, extras={"value": "mean"})
    found, _ = factors(tx, LOSS[:40])
    expected, _ = factors(inner, LOSS[:40].reshape(-1, 2).mean(1))
    np.testing.assert_allclose(found[1::2], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[::2], 0)


def test_what_has_no_value_is_no_gain():
    ours, state = factors(gx.reduce_on_plateau(0.5, 2), [3.0, np.nan, np.nan, 2.0, np.inf, 2.0])
    np.testing.assert_array_equal(ours, [1, 1, 0.5, 0.5, 0.5, 0.25])
    assert state.tree["reduce_on_plateau"].best_value == 2.0


def test_one_margin_must_be_positive():
    with pytest.raises(ValueError, match="rtol or atol must be positive"):
        gx.reduce_on_plateau(rtol=0.0)
    with pytest.raises(ValueError, match="needs 'value'"):
        gx.reduce_on_plateau().update(G, gx.reduce_on_plateau().init(P), P)

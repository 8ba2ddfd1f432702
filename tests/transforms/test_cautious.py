from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import follows


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_adamw_follows_the_paper(lam):
    follows(
        gx.cautious(gx.adamw(0.02, 0.7, 0.9, weight_decay=lam)), transcripts.cautious_adamw, 0.02, 0.7, 0.9, lam=lam
    )


def test_momentum_follows_the_paper():
    follows(gx.cautious(gx.momentum(0.02, 0.8)), transcripts.cautious_heavy_ball, 0.02, 0.8)


def test_a_trace_behind_the_rate_is_the_direction_too():
    """As in optax, rmsprop's momentum adds up steps, which have the gradient's sign turned."""
    tx = gx.cautious(gx.rmsprop(0.1, momentum=0.5))
    expected = gx.chain(gx.scale_by_rms(0.9, 1e-8), gx.scale_by_learning_rate(0.1), gx.cautious(gx.trace(0.5)))
    assert tx == expected


def test_only_what_agrees_moves_and_it_makes_up_for_the_rest():
    tx = gx.cautious(gx.trace(1.0))
    state = tx.init({"a": jnp.zeros(4)})
    _, state = tx.update({"a": jnp.asarray([4.0, 4.0, 4.0, 0.0])}, state)
    u, state = tx.update({"a": jnp.asarray([1.0, -1.0, -5.0, 0.0])}, state)
    # The sums are 5, 3, -1 and 0; the first and third go with the gradient: 2 of 4.
    np.testing.assert_array_equal(u["a"], [10.0, 0.0, -2.0, 0.0])
    np.testing.assert_array_equal(gx.view(state, "trace")["a"], [5.0, 3.0, -1.0, 0.0])


def test_a_few_that_agree_do_not_explode():
    """The mean of the mask is at least 0.001."""
    tx = gx.cautious(gx.trace(1.0))
    g = jnp.full(5000, 1.0).at[0].set(-1.0)
    _, state = tx.update(g, tx.init(g))
    u, _ = tx.update(jnp.full(5000, -0.5), state)
    np.testing.assert_allclose(u, jnp.zeros(5000).at[0].set(-1.5 / 1e-3), rtol=2e-7)


def test_the_state_is_that_without_it():
    p = {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}
    assert jax.tree.structure(gx.cautious(gx.adamw(0.1)).init(p)) == jax.tree.structure(gx.adamw(0.1).init(p))


def test_the_direction_is_found():
    clipped = gx.chain(gx.clip_by_percentile(), gx.add_noise(0.1, 0.5, key=0), gx.rmsprop(0.1, momentum=0.9))
    assert [repr(s).startswith("cautious") for s in gx.cautious(clipped).stages] == [False, False, False, False, True]
    averaged = gx.chain(gx.lamb(0.1), gx.ema_of_params(0.9))
    assert [repr(s).startswith("cautious") for s in gx.cautious(averaged).stages] == [True, *[False] * 4]
    grouped = gx.cautious(gx.groups([("bias", gx.sgd(0.1))], gx.adam(0.1)))
    assert grouped == gx.groups([("bias", gx.sgd(0.1))], gx.cautious(gx.adam(0.1)))
    assert gx.cautious(gx.adam(0.1, mu_dtype=jnp.bfloat16)) != gx.adam(0.1, mu_dtype=jnp.bfloat16)


def test_what_remembers_nothing_is_refused():
    averaged = gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9))
    for tx in (gx.chain(), averaged, gx.noisy_sgd(0.1, key=0), gx.groups([("bias", gx.sgd(0.1))], gx.freeze())):
        with pytest.raises(ValueError, match="cautious needs a stage that remembers gradients"):
            gx.cautious(tx)
    with pytest.raises(TypeError, match="put it inside"):
        gx.cautious(gx.measure(gx.adam(0.1), grad_norm=True))

from __future__ import annotations

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import STEPS, agrees, as_written, double, follows, gradients, near, parameters, walk

RATES = [0.1 / np.sqrt(1 + t) for t in range(STEPS)]


@pytest.mark.reference("Robbins, Monro 1951", "sgd")
@pytest.mark.parametrize("rate", [0.1, RATES], ids=["constant", "table"])
def test_sgd_follows_its_paper(rate):
    follows(gx.sgd(rate), transcripts.sgd, rate)


@pytest.mark.reference("Sutskever et al. 2013, equations 1 and 3", "sgd", "momentum")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.momentum(0.1), {"mu": 0.9}),
        (gx.momentum(0.1, 0.7, nesterov=True), {"mu": 0.7, "nesterov": True}),
        (gx.sgd(0.1, 0.8), {"mu": 0.8}),
        (gx.sgd(0.1, momentum=0.8, nesterov=True), {"mu": 0.8, "nesterov": True}),
        (gx.sgd(0.1, 0.8, False, jnp.bfloat16), {"mu": 0.8, "keep": transcripts.kept_in(ml_dtypes.bfloat16)}),
    ],
    ids=as_written,
)
def test_momentum_follows_its_paper(tx, letters):
    follows(tx, transcripts.heavy_ball, 0.1, **letters)


def test_momentum_of_zero_still_sums():
    follows(gx.sgd(0.1, momentum=0.0), transcripts.sgd, 0.1)


def test_nesterov_is_the_printed_lookahead_form():
    """The rule's iterates are the paper's lookahead points theta + mu v, on the quadratic a/2 |x|^2."""
    mu, eta, a, start = 0.8, 0.05, np.array([1.0, 4.0, 9.0]), np.array([1.0, -2.0, 0.5])
    expected = transcripts.sutskever(start, lambda t, x: a * x, eta, mu)
    with double():
        x, tx = jnp.asarray(start), gx.momentum(eta, mu, nesterov=True)
        state = tx.init(x)
        for t in range(STEPS):
            updates, state = tx.update(a * x, state, x)
            x = gx.apply_updates(x, updates)
            np.testing.assert_allclose(x, expected[t], rtol=0, atol=1e-14)


@pytest.mark.reference("Bernstein et al. 2018, algorithms 1 and 3", "sign_sgd", "signum")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [(gx.sign_sgd(0.01), {}), (gx.signum(0.01), {"beta": 0.9}), (gx.signum(0.01, 0.6), {"beta": 0.6})],
)
def test_sign_descent_follows_its_paper(tx, letters):
    follows(tx, transcripts.signum, 0.01, **letters)


def test_signum_with_a_narrow_mean():
    keep = transcripts.kept_in(ml_dtypes.bfloat16)
    follows(gx.signum(0.01, 0.9, jnp.bfloat16), transcripts.signum, 0.01, beta=0.9, keep=keep)


@pytest.mark.parametrize(("name", "args"), [("sgd", (0.1, 0.9, True)), ("signum", (0.1,)), ("sign_sgd", (0.1,))])
def test_equals_optax_in_single(name, args):
    agrees(name, *args, dtype=np.float32, rtol=1e-6)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("sgd", (optax.cosine_decay_schedule(0.1, 40),)),
        ("sgd", (0.1, 0.9)),
        ("sgd", (0.1, 0.7, True)),
        ("sign_sgd", (optax.linear_schedule(0.1, 0.0, 30),)),
        ("signum", (0.1, 0.8)),
    ],
)
def test_equals_optax(name, args):
    agrees(name, *args)


def test_narrow_momentum_is_near_optax():
    """optax multiplies the bfloat16 sum by the decay in bfloat16 (2^-9 a step, summed with decay 0.9)."""
    agrees("sgd", 0.1, 0.9, True, jnp.bfloat16, rtol=10 * 2**-9)


def test_parameters_are_not_needed():
    params, grads = parameters(), gradients()
    tx = gx.sgd(0.1, 0.9)  # NumPy float64 parameters: statistics are in the widest dtype that JAX has
    g = {k: jnp.asarray(x[0], jnp.float32) for k, x in grads.items()}
    updates, _ = tx.update(g, tx.init(params))
    near(updates, {k: -0.1 * x[0] for k, x in grads.items()}, 1e-7)


def test_walk_is_not_trivial():
    after, updates = walk(gx.sgd(0.1), parameters(), gradients(), jnp.float32)
    assert all(np.ptp(after[k], axis=0).max() > 0.01 for k in after)
    assert all(updates[k].shape[0] == STEPS for k in updates)

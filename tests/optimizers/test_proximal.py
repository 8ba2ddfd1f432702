from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import STEPS, double, follows, gradients, parameters, walk

RATES = [0.1 / np.sqrt(1 + t) for t in range(STEPS)]


@pytest.mark.reference("Duchi, Singer 2009, equations 2 and 3", "proximal_sgd")
@pytest.mark.parametrize("eta", [0.05, RATES], ids=["constant", "table"])
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5), (0.3, 0.5)])
def test_proximal_sgd_is_fobos(eta, l1, l2):
    follows(gx.proximal_sgd(eta, l1, l2), transcripts.fobos, eta, l1, l2, steers=True)


@pytest.mark.reference("Duchi, Singer 2009; Duchi et al. 2011", "proximal_adagrad")
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((0.1, 0.5), {"l1": 0.2}),
        ((0.1, 0.5), {"l2": 0.3}),
        ((RATES, 0.2), {"l1": 0.2, "l2": 0.3}),
        ((0.1, 0.5), {"l1": 0.2, "l2": 0.3, "adaptive_threshold": True}),
    ],
)
def test_proximal_adagrad_follows_its_formula(args, kwargs):
    letters = {"adaptive" if k == "adaptive_threshold" else k: v for k, v in kwargs.items()}
    follows(gx.proximal_adagrad(*args, **kwargs), transcripts.proximal_adagrad, *args, **letters, steers=True)


@pytest.mark.parametrize("adaptive", [False, True])
def test_proximal_adagrad_without_penalty_is_adagrad(adaptive):
    tx = gx.proximal_adagrad(0.1, 0.5, adaptive_threshold=adaptive)
    follows(tx, transcripts.adagrad, 0.1, 0.5, 0.0, steers=True)


@pytest.mark.parametrize("tx", [gx.proximal_sgd(0.05, 2.0), gx.proximal_adagrad(0.05, l1=2.0)], ids=["sgd", "adagrad"])
def test_zeros_are_exact_where_the_transcript_has_them(tx):
    params, grads = parameters(), gradients()
    after = walk(tx, params, grads, jnp.float32)[0]
    with double():
        wide = walk(tx, params, grads, jnp.float64)[0]
    for k in after:
        np.testing.assert_array_equal(after[k] == 0, wide[k] == 0)
    assert np.mean(np.concatenate([np.ravel(after[k]) for k in after]) == 0) > 0.3


def test_lasso_on_a_quadratic_lands_on_the_closed_form():
    """min a/2 (x - c)^2 + l1 |x| has its minimum at soft(c, l1 / a)."""
    c, a, l1 = jnp.array([1.0, -0.3, 0.05, -2.0]), 2.0, 0.4
    tx = gx.proximal_sgd(0.3, l1)
    step = jax.jit(lambda p, s: tx.update(a * (p - c), s, p))
    p = jnp.zeros(4)
    state = tx.init(p)
    for _ in range(60):
        updates, state = step(p, state)
        p = gx.apply_updates(p, updates)
    np.testing.assert_allclose(p, transcripts.soft(np.asarray(c), l1 / a), atol=3e-7)
    assert p[2] == 0

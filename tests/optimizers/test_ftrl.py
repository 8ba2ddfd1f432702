from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written, follows
from tests.transcripts import iterates


def ftrl(w, gs, alpha, l1=0.0, l2=0.0, beta=1.0, n0=0.0):
    """McMahan et al. 2013, algorithm 1."""

    def step(w, s, g, alpha, t):
        z, n = (0.0, n0) if s is None else s
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / alpha
        z, n = z + g - sigma * w, n + g**2
        w = -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2)
        return np.where(np.abs(z) <= l1, 0.0, w), (z, n)

    return iterates(step, w, gs, alpha)


@pytest.mark.reference("McMahan et al. 2013, algorithm 1", "ftrl")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.ftrl(0.1), {}),
        (gx.ftrl(0.1, 0.5, 0.1, 0.2), {"l1": 0.5, "l2": 0.1, "beta": 0.2}),
        (gx.ftrl(0.1, 0.5, beta=0.0, initial_accumulator_value=0.1), {"l1": 0.5, "beta": 0.0, "n0": 0.1}),
    ],
    ids=as_written,
)
def test_ftrl_follows_its_paper(tx, letters):
    follows(tx, ftrl, 0.1, steers=True, **letters)


def keras(w, gs, rate, l1, l2, beta, n0):
    """Keras 3's `Ftrl` with learning_rate_power -0.5, whose quadratic term has 2·l2 and beta beside it."""

    def step(w, s, g, rate, t):
        linear, n = (0.0, n0) if s is None else s
        linear = linear + g - (np.sqrt(n + g**2) - np.sqrt(n)) / rate * w
        n = n + g**2
        return (np.clip(linear, -l1, l1) - linear) / (np.sqrt(n) / rate + 2 * (l2 + beta / (2 * rate))), (linear, n)

    return iterates(step, w, gs, rate)


@pytest.mark.reference("Keras 3, Ftrl, by its formula", "ftrl")
def test_keras_has_twice_the_l2():
    tx = gx.ftrl(0.1, 0.5, 0.2, 0.0, initial_accumulator_value=0.1)
    follows(tx, keras, 0.1, 0.5, 0.1, 0.0, 0.1, steers=True)


def test_weights_that_do_not_pay_are_exactly_zero():
    rng = np.random.default_rng(0)
    x, p = jnp.asarray(rng.normal(size=(200, 20)), jnp.float32), jnp.zeros(20)
    y, tx = x @ jnp.zeros(20).at[3].set(2.0), gx.ftrl(0.5, l1=20.0)
    state = tx.init(p)
    for _ in range(40):
        u, state = tx.update(jax.grad(lambda p: jnp.mean((x @ p - y) ** 2))(p), state, p)
        p = gx.apply_updates(p, u)
    assert np.flatnonzero(p).tolist() == [3]

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written, follows
from tests.transcripts import iterates


def mars(x, gs, eta, beta1=0.95, beta2=0.99, eps=1e-8, gamma=0.025, lam=0.0, lion=False):
    """Yuan et al. 2024, algorithms 2 and 3 for one array, as its authors' code has them (mars-adamw, -lion)."""

    def step(x, s, g, eta, t):
        m, v, before = (0.0, 0.0, 0.0) if s is None else s
        c = g + gamma * beta1 / (1 - beta1) * (g - before)
        c = c / max(np.sqrt(np.sum(c**2)), 1.0)
        m, v = beta1 * m + (1 - beta1) * c, beta2 * v + (1 - beta2) * c**2
        u = np.sign(m) if lion else m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        return x - eta * (u + lam * x), (m, v, g)

    return iterates(step, x, gs, eta)


@pytest.mark.reference("AGI-Arena/MARS at 20c60c1", "mars", "scale_by_mars")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.mars(0.003), {}),
        (
            gx.mars(0.02, 0.8, 0.9, 1e-3, 0.1, gamma=0.1),
            {"beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "gamma": 0.1, "lam": 0.1},
        ),
        (gx.chain(gx.scale_by_mars(), gx.signum(0.01, 0.95)), {"lion": True, "rate": 0.01}),
    ],
    ids=as_written,
)
def test_mars_follows_the_authors(tx, letters):
    rate = letters.pop("rate", 0.003 if not letters else 0.02)
    follows(tx, mars, rate, **letters)


def test_a_gradient_that_stays_is_left_alone():
    tx, g = gx.scale_by_mars(max_norm=jnp.inf), jnp.asarray([0.5, -0.25])
    _, state = tx.update(g, tx.init(g))
    np.testing.assert_array_equal(tx.update(g, state)[0], g)

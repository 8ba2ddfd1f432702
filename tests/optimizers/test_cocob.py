from __future__ import annotations

import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written, follows
from tests.transcripts import iterates


def cocob(w, gs, rate=1.0, alpha=100.0, eps=1e-8, lam=0.0):
    """Orabona, Tommasi 2017, algorithm 2, as its authors' code has it; rate is optax's."""
    first = np.asarray(w, np.float64)

    def step(w, s, g, rate, t):
        theta, size, most, reward = (0.0, 0.0, eps, 0.0) if s is None else s
        g = rate * (g + lam * w)
        most, size, theta = np.maximum(most, np.abs(g)), size + np.abs(g), theta - g
        reward = np.maximum(reward - g * (w - first), 0.0)
        bet = theta / (most * np.maximum(size + most, alpha * most))
        return first + bet * (most + reward), (theta, size, most, reward)

    return iterates(step, w, gs, rate)


@pytest.mark.reference("bremen79/parameterfree at 05ecc43", "cocob")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.cocob(), {}),
        (gx.cocob(alpha=3.0), {"alpha": 3.0}),
        (gx.cocob(0.5, 10.0, 0.1, 0.1), {"rate": 0.5, "alpha": 10.0, "eps": 0.1, "lam": 0.1}),
    ],
    ids=as_written,
)
def test_cocob_follows_the_authors(tx, letters):
    follows(tx, cocob, steers=True, **letters)


@pytest.mark.reference("optax", "cocob")
def test_equals_optax():
    agrees("cocob", 0.5, 10.0, 0.1, 0.1)

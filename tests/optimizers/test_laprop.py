from __future__ import annotations

import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written, follows
from tests.transcripts import iterates


def laprop(theta, gs, eta, mu=0.9, nu=0.999, eps=1e-15, lam=0.0, apart=0.0):
    """Ziyin et al. 2020, algorithm 1, as its authors' code has it, rate inside the mean.

    apart is the authors' decay, lam one times the rate.
    """

    def step(theta, s, g, eta, t):
        m, n, rates, ones = (0.0, 0.0, 0.0, 0.0) if s is None else s
        n, ones = nu * n + (1 - nu) * g**2, nu * ones + 1 - nu
        rates = mu * rates + (1 - mu) * eta
        m = mu * m + (1 - mu) * eta * g / (np.sqrt(n / ones) + eps)
        landed = theta - m / (rates / eta)
        return landed - eta * lam * theta - apart * theta, (m, n, rates, ones)

    return iterates(step, theta, gs, eta)


@pytest.mark.reference("Z-T-WANG/LaProp-Optimizer at 9373f13", "laprop")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.laprop(0.02), {}),
        (gx.laprop(0.02, 0.7, 0.8, 1e-2, weight_decay=0.1), {"mu": 0.7, "nu": 0.8, "eps": 1e-2, "lam": 0.1}),
        (gx.chain(gx.laprop(0.02), gx.subtract_decayed_weights(0.01)), {"apart": 0.01}),
    ],
    ids=as_written,
)
def test_laprop_follows_the_authors(tx, letters):
    follows(tx, laprop, 0.02, **letters)

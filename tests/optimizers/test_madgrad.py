from __future__ import annotations

import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written, follows
from tests.transcripts import iterates


def madgrad(x, gs, eta, momentum=0.9, lam=0.0, eps=1e-6):
    """Defazio, Jelassi 2021, algorithm 1, as its authors' code has it."""
    x0 = np.asarray(x, np.float64)

    def step(x, s, g, eta, t):
        s, v = (0.0, 0.0) if s is None else s
        g, weight = g + lam * x, (eta + eps) * np.sqrt(t)
        s, v = s + weight * g, v + weight * g**2
        z = x0 - s / (np.cbrt(v) + eps)
        return momentum * x + (1 - momentum) * z, (s, v)

    return iterates(step, x, gs, eta)


@pytest.mark.reference("facebookresearch/madgrad at 06d075e", "madgrad")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.madgrad(0.02), {}),
        (gx.madgrad(0.02, 0.5, 0.1, 1e-2), {"momentum": 0.5, "lam": 0.1, "eps": 1e-2}),
        (gx.madgrad(0.02, 0.0, 0.0, 0.0), {"momentum": 0.0, "eps": 0.0}),
        (gx.madgrad([*np.linspace(0.1, 0.0, 50)]), {"rate": np.linspace(0.1, 0.0, 50)}),
    ],
    ids=as_written,
)
def test_madgrad_follows_the_authors(tx, letters):
    follows(tx, madgrad, letters.pop("rate", 0.02), steers=True, **letters)


@pytest.mark.reference("optax", "madgrad")
def test_equals_optax():
    agrees("madgrad", 0.02, 0.8, 0.1, 1e-4, rtol=1e-7)  # optax takes the root of t in float32

from __future__ import annotations

import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written, follows
from tests.transcripts import iterates


def acprop(x, gs, alpha, beta1=0.9, beta2=0.999, eps=1e-16, eps_root=1e-16, lam=0.0):
    """Zhuang et al. 2021, with the corrections of optax 0.2.8: g over what is known of its variance before it came."""

    def step(x, s, g, alpha, t):
        m, v = (0.0, 0.0) if s is None else s
        size = 1.0 if s is None else np.sqrt(v / (1 - beta2 ** (t - 1)))
        v = beta2 * v + (1 - beta2) * (g - m) ** 2 + eps_root
        m = beta1 * m + (1 - beta1) * g
        return x - alpha * (g / (size + eps) + lam * x), (m, v)

    return iterates(step, x, gs, alpha)


@pytest.mark.reference("Zhuang et al. 2021, algorithm 1, with optax's corrections", "acprop")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.acprop(0.002), {}),
        (
            gx.acprop(0.02, 0.7, 0.8, 1e-2, 1e-3, 0.1),
            {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2, "eps_root": 1e-3, "lam": 0.1, "rate": 0.02},
        ),
    ],
    ids=as_written,
)
def test_acprop_follows_its_paper(tx, letters):
    follows(tx, acprop, letters.pop("rate", 0.002), **letters)


@pytest.mark.reference("optax", "acprop")
def test_equals_optax():
    agrees("acprop", 0.002, 0.8, 0.9, 1e-8, 1e-10, 0.1)

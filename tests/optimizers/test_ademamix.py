from __future__ import annotations

import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written, follows
from tests.transcripts import iterates


def half_life(t, start, end, steps):
    """The authors' schedule of a rate: the half-life grows linearly."""
    if steps is None or t >= steps:
        return end
    first, last = (np.log(0.5) / np.log(b + 1e-8) - 1 for b in (start, end))
    return 0.5 ** (1 / (1 + (1 - t / steps) * first + t / steps * last))


def ademamix(theta, gs, eta, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=2.0, eps=1e-8, eps_root=0.0, lam=0.0,
             beta3_warmup=None, alpha_warmup=None):  # fmt: skip
    """Pagliardini et al. 2024, algorithm 1, as its authors' code has it."""

    def step(theta, s, g, eta, t):
        m1, m2, v = (0.0, 0.0, 0.0) if s is None else s
        b3 = half_life(t, beta1, beta3, beta3_warmup)
        a = alpha * (min(t / alpha_warmup, 1.0) if alpha_warmup else 1.0)
        m1, m2, v = beta1 * m1 + (1 - beta1) * g, b3 * m2 + (1 - b3) * g, beta2 * v + (1 - beta2) * g**2
        u = (m1 / (1 - beta1**t) + a * m2) / (np.sqrt(v / (1 - beta2**t) + eps_root) + eps)
        return theta - eta * (u + lam * theta), (m1, m2, v)

    return iterates(step, theta, gs, eta)


def simplified(theta, gs, eta, beta1=0.99, beta2=0.95, alpha=0.0, eps=1e-8, lam=0.0, warmup=None, least=0.9):
    """Morwani et al. 2025, as its authors' code has it."""

    def step(theta, s, g, eta, t):
        m, n, weight = (0.0, 0.0, 0.0) if s is None else s
        m = half_life(t, least, beta1, warmup) * m + g
        n, weight = beta2 * n + (1 - beta2) * g**2, beta2 * weight + 1 - beta2
        u = (alpha * g + m) / (np.sqrt(n) + eps * np.sqrt(weight)) * np.sqrt(weight)
        return theta - eta * (u + lam * theta), (m, n, weight)

    return iterates(step, theta, gs, eta)


@pytest.mark.reference("apple/ml-ademamix at e732715", "ademamix")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.ademamix(0.02), {}),
        (
            gx.ademamix(0.02, 0.7, 0.8, 0.95, 5.0, 1e-2, 1e-3, None, 0.1, b3_warmup=20, alpha_warmup=30),
            {"beta1": 0.7, "beta2": 0.8, "beta3": 0.95, "alpha": 5.0, "eps": 1e-2, "eps_root": 1e-3, "lam": 0.1}
            | {"beta3_warmup": 20, "alpha_warmup": 30},
        ),
        (gx.ademamix(0.02, b1=0.0, b3_warmup=60), {"beta1": 0.0, "beta3_warmup": 60}),
        (gx.ademamix(0.02, b3=gx.tunable(0.9999), b3_warmup=60), {"beta3_warmup": 60}),
    ],
    ids=as_written,
)
def test_ademamix_follows_the_authors(tx, letters):
    follows(tx, ademamix, 0.02, **letters)


@pytest.mark.reference("DepenM/Simplified-AdEMAMix at 17b1eae", "simplified_ademamix")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.simplified_ademamix(0.002), {}),
        (
            gx.simplified_ademamix(0.002, 0.95, 0.8, 3.0, 1e-3, 0.0, 0.1, b1_warmup=20, min_b1=0.5),
            {"beta1": 0.95, "beta2": 0.8, "alpha": 3.0, "eps": 1e-3, "lam": 0.1, "warmup": 20, "least": 0.5},
        ),
    ],
    ids=as_written,
)
def test_simplified_ademamix_follows_the_authors(tx, letters):
    follows(tx, simplified, 0.002, **letters)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ademamix", (0.02, 0.8, 0.9, 0.99, 5.0, 1e-6, 1e-5)),
        ("simplified_ademamix", (0.002, 0.9, 0.9, 2.0, 1e-6, 1e-5, 0.1)),
    ],
)
def test_equals_optax(name, arguments):
    agrees(name, *arguments)

"""Rules that two frameworks execute, each against its formula in float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from gradxform.compat.common.moments import EpsilonBesideRss, EpsilonHatAdam, EpsilonHatRadam, WarmedNadam
from tests.compat.transcribed import GRADS, means, updates

B1, B2, EPS = 0.8, 0.7, 0.05
MU, NU = means(B1, GRADS), means(B2, GRADS**2)


def same(rule: object, expected: list[np.ndarray]) -> None:
    np.testing.assert_allclose(updates(rule)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_adam_with_epsilon_beside_the_uncorrected_root(nesterov: bool) -> None:
    expected = []
    for t, (g, m, v) in enumerate(zip(GRADS, MU, NU, strict=True), 1):
        m = B1 * m + (1 - B1) * g if nesterov else m
        expected.append(np.sqrt(1 - B2**t) / (1 - B1**t) * m / (np.sqrt(v) + EPS))
    same(EpsilonHatAdam(B1, B2, EPS, nesterov), expected)


def test_radam_with_epsilon_beside_the_uncorrected_root() -> None:
    """Rectified from the sixth step on, where the average in v is long enough; before, the mean alone."""
    b1, b2, gs = 0.5, 0.99, np.tile(GRADS, (2, 1))
    longest, lengths, expected = 2 / (1 - b2) - 1, [], []
    for t, (m, v) in enumerate(zip(means(b1, gs), means(b2, gs**2), strict=True), 1):
        length, u = longest - 2 * t * b2**t / (1 - b2**t), m / (1 - b1**t)
        if length > 5:
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            u = u * np.sqrt(r) * np.sqrt(1 - b2**t) / (np.sqrt(v) + EPS)
        lengths.append(length)
        expected.append(u)
    assert lengths[4] < 5 < lengths[5]
    np.testing.assert_allclose(updates(EpsilonHatRadam(b1, b2, EPS), gs)[0], expected, rtol=1e-11)


def test_adagrad_with_epsilon_beside_the_root_and_a_rate_that_falls() -> None:
    totals = 0.5 + np.cumsum(GRADS**2, axis=0)
    expected = [g / (np.sqrt(a) + EPS) / (1 + 0.25 * t) for t, (g, a) in enumerate(zip(GRADS, totals, strict=True))]
    same(EpsilonBesideRss(0.5, EPS, 0.25), expected)


def test_nadam_with_a_momentum_that_warms_up() -> None:
    """PyTorch's documentation: μₜ = b1·(1 - 0.96^(t·ψ) / 2) in the numerator, over what the product of μ lacks."""
    psi, product, expected = 0.5, 1.0, []
    for t, (g, m, v) in enumerate(zip(GRADS, MU, NU, strict=True), 1):
        now, after = (B1 * (1 - 0.5 * 0.96 ** (s * psi)) for s in (t, t + 1))
        product *= now
        m_hat = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        expected.append(m_hat / (np.sqrt(v / (1 - B2**t)) + EPS))
    found, s = updates(WarmedNadam(B1, B2, EPS, psi))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(s.mu_product, product, rtol=1e-12)
    assert int(s.count) == len(GRADS)

"""Rules that two frameworks execute, each against its formula in float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from gradxform.compat.common.moments import EpsilonBesideRss, EpsilonHatAdam
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


def test_adagrad_with_epsilon_beside_the_root_and_a_rate_that_falls() -> None:
    totals = 0.5 + np.cumsum(GRADS**2, axis=0)
    expected = [g / (np.sqrt(a) + EPS) / (1 + 0.25 * t) for t, (g, a) in enumerate(zip(GRADS, totals, strict=True))]
    same(EpsilonBesideRss(0.5, EPS, 0.25), expected)

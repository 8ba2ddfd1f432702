"""Rules and selectors that paddle alone needs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.paddle.rules import (
    ClipBetween,
    ClipByNormInFloat32,
    Elsewhere,
    FirstOf,
    InItsDtype,
    PoweredAdam,
    PoweredAdamax,
    PoweredNadam,
    PoweredRadam,
)
from gradxform.optimizers.adam import ScaleByAdam
from tests.compat.transcribed import GRADS, means, rectified, updates
from tests.trajectories import double

B1, B2, EPS = 0.8, 0.7, 0.05
LEAVES = {"fc/w": jnp.ones((2, 3)), "fc/b": jnp.ones(3), "g": jnp.ones(2)}


def chosen(selector: Any) -> set[str]:
    return {path for path, leaf in LEAVES.items() if selector.matches(path, leaf)}


def test_a_clip_between_two_numbers() -> None:
    np.testing.assert_array_equal(updates(ClipBetween(-0.5, 1.5))[0], np.clip(GRADS, -0.5, 1.5))


def test_a_clip_by_norm_takes_no_float64_parameters() -> None:
    tx, w = gx.lift(ClipByNormInFloat32(1.0)), jnp.zeros(2)
    found, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(w), w)
    np.testing.assert_allclose(found, [0.6, 0.8], rtol=1e-6)
    with double(), pytest.raises(RuntimeError, match=r"ClipGradByNorm takes .*float64"):
        tx.init({"w": jnp.ones(3, jnp.float64)})


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_by_powers(amsgrad: bool) -> None:
    """The powers in the memory are those of the step that comes."""
    nus = means(B2, GRADS**2)
    tops = np.maximum.accumulate(nus) if amsgrad else nus
    expected = [
        m / (1 - B1**t) / (np.sqrt(v / (1 - B2**t)) + EPS)
        for t, (m, v) in enumerate(zip(means(B1, GRADS), tops, strict=True), 1)
    ]
    found, s = updates(PoweredAdam(B1, B2, EPS, amsgrad))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose([s.b1_power, s.b2_power], [B1**5, B2**5], rtol=1e-14)


def test_adamax_by_powers() -> None:
    u, expected = np.zeros(3), []
    for t, (g, m) in enumerate(zip(GRADS, means(B1, GRADS), strict=True), 1):
        u = np.maximum(np.abs(g), B2 * u + EPS)
        expected.append(m / (1 - B1**t) / u)
    np.testing.assert_allclose(updates(PoweredAdamax(B1, B2, EPS))[0], expected, rtol=1e-12)


def test_numbers_are_float32_except_for_float64_parameters() -> None:
    """Seen in the mean after a gradient of 1: `1 - b1`, b1 rounded or not."""
    rule, tx = ScaleByAdam(b1=0.9), gx.lift(InItsDtype(ScaleByAdam(b1=0.9)))
    assert repr(InItsDtype(rule)) == repr(rule)
    with double():
        params = {"wide": jnp.zeros(1, jnp.float64), "narrow": jnp.zeros(1, jnp.float32)}
        _, state = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
        mu = {name: float(m[0]) for name, m in gx.view(state, "mu").items()}
    assert mu == {"wide": 1 - 0.9, "narrow": 1 - float(np.float32(0.9))}


def test_elsewhere_and_first_of() -> None:
    w, fc = gx.named("w"), gx.under("fc")
    assert chosen(Elsewhere((w,))) == {"fc/b", "g"}
    assert chosen(Elsewhere((w, fc))) == {"g"}
    assert chosen(FirstOf((w,), fc)) == {"fc/b"}
    assert chosen(FirstOf((fc,), w)) == set()
    assert repr(FirstOf((fc,), w)) == repr(w)


def test_nadam_by_powers() -> None:
    """μₜ = b1·(1 - 0.96^(t·ψ) / 2) in the numerator, over what the product of μ lacks."""
    psi, product, expected = 0.5, 1.0, []
    for t, (g, m, v) in enumerate(zip(GRADS, means(B1, GRADS), means(B2, GRADS**2), strict=True), 1):
        now, after = (B1 * (1 - 0.5 * 0.96 ** (s * psi)) for s in (t, t + 1))
        product *= now
        m_hat = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        expected.append(m_hat / (np.sqrt(v / (1 - B2**t)) + EPS))
    found, s = updates(PoweredNadam(B1, B2, EPS, psi))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    n = len(GRADS)
    np.testing.assert_allclose([s.mu_product, s.decay_power, s.b2_power], [product, 0.96**n, B2**n], rtol=1e-12)


def test_radam_by_powers() -> None:
    b1, b2, gs = 0.5, 0.99, np.tile(GRADS, (2, 1))
    found, s = updates(PoweredRadam(b1, b2, EPS), gs)
    np.testing.assert_allclose(found, rectified(b1, b2, EPS, gs), rtol=1e-11)
    np.testing.assert_allclose([s.b1_power, s.b2_power], [b1 ** len(gs), b2 ** len(gs)], rtol=1e-12)

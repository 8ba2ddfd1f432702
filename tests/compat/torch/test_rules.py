"""Rules that torch alone executes, against their formulas."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat.torch.rules import Asgd, EpsilonHatRadam, LateCorrectedAmsgrad, TorchNadam
from tests.compat.transcribed import GRADS, means, rectified, updates
from tests.trajectories import double


def f32(x: float) -> float:
    return float(np.float32(x))


def test_the_maximum_is_taken_before_the_correction() -> None:
    b1, b2, eps = 0.8, 0.7, 0.05
    tops = np.maximum.accumulate(means(b2, GRADS**2))
    expected = [
        m / (1 - b1**t) / (np.sqrt(x / (1 - b2**t)) + eps)
        for t, (m, x) in enumerate(zip(means(b1, GRADS), tops, strict=True), 1)
    ]
    assert (tops != means(b2, GRADS**2)).any()
    np.testing.assert_allclose(updates(LateCorrectedAmsgrad(b1, b2, eps))[0], expected, rtol=1e-12)


def test_radam_with_epsilon_beside_the_uncorrected_root() -> None:
    b1, b2, eps, gs = 0.5, 0.99, 0.05, np.tile(GRADS, (2, 1))
    np.testing.assert_allclose(updates(EpsilonHatRadam(b1, b2, eps), gs)[0], rectified(b1, b2, eps, gs), rtol=1e-11)


def test_the_product_of_momenta_is_float32_for_every_parameter() -> None:
    b1, psi, product = 0.8, 0.5, np.float32(1)
    _, s = updates(TorchNadam(b1, 0.7, 0.05, psi))
    for t in range(1, len(GRADS) + 1):
        product = product * np.float32(b1 * (1 - 0.5 * 0.96 ** (t * psi)))
    assert s.mu_product.dtype == jnp.float32
    assert s.mu.dtype == np.float64
    np.testing.assert_allclose(s.mu_product, product, rtol=3e-7)


def test_steps_of_rprop_start_from_the_rate_at_the_first_gradient() -> None:
    """Whatever was the rate at `init`; then 1.2 times as long while the sign stays, half where it turns."""
    tx, params = compat.rprop(lambda n: jnp.where(n == 1, 0.5, 9.0)), jnp.zeros(2)
    state, found = tx.init(params), []
    for g in (None, [1.0, 1.0], [2.0, -1.0], [0.5, -1.0]):
        u, state = tx.update(None if g is None else jnp.array(g), state, params)
        found.append(u)
    assert found[0] is None
    np.testing.assert_allclose(found[1:], [[-0.5, -0.5], [-0.6, 0.0], [-0.72, 0.25]], rtol=1e-6)


def test_averaged_descent() -> None:
    """torch's documentation: w moves by the rate η of the last step; from step t0 on ax is a mean of iterates.

    η and μ are float32 numbers, as there.
    """
    lr, lambd, alpha, t0 = 0.5, 0.25, 0.75, 2
    tx, w = gx.lift(Asgd(lr, lambd, alpha, t0)), np.array([1.0, -1.0, 0.5])
    ax, eta, mu = np.zeros(3), lr, 1.0
    with double():
        state = tx.init(jnp.asarray(w))
        np.testing.assert_array_equal(gx.eval_params(tx, state, jnp.asarray(w)), w)
        for t, g in enumerate(GRADS, 1):
            u, state = tx.update(jnp.asarray(g), state, jnp.asarray(w))
            np.testing.assert_allclose(u, -eta * (g + lambd * w), rtol=1e-12)
            w = w - eta * (g + lambd * w)
            ax = w if mu == 1 else ax + mu * (w - ax)
            eta, mu = map(f32, (lr / (1 + lambd * lr * t) ** alpha, 1 / max(1, t - t0)))
            np.testing.assert_allclose(state.leaves["asgd"].ax, ax, rtol=1e-12)
        assert mu < 1
        np.testing.assert_allclose(gx.eval_params(tx, state, jnp.asarray(w)), ax, rtol=1e-12)

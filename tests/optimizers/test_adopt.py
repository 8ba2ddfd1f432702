from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import as_written, double, follows, gradients, near, parameters, walk
from tests.transcripts import iterates


def adopt(theta, gs, alpha, beta1=0.9, beta2=0.9999, eps=1e-6, beta3=0.9):
    """Taniguchi et al. 2024, as its authors' code has it."""

    def step(theta, s, g, alpha, t):
        if s is None:
            return theta, (0.0, g**2)
        m, v = s
        d = g / np.maximum(np.sqrt(v), max(eps, beta3 ** (t - 2)))
        m = d if t == 2 else beta1 * m + (1 - beta1) * d
        return theta - alpha * m, (m, beta2 * v + (1 - beta2) * g**2)

    return iterates(step, theta, gs, alpha)


def published(theta, gs, alpha, beta1=0.9, beta2=0.9999, eps=1e-6, clips=True):
    """Taniguchi et al. 2024, algorithm 2, and without its clipping."""

    def step(theta, s, g, alpha, t):
        if s is None:
            return theta, (0.0, g**2)
        m, v = s
        d = g / np.maximum(np.sqrt(v), eps)
        d = np.clip(d, -((t - 1) ** 0.25), (t - 1) ** 0.25) if clips else d
        m = beta1 * m + (1 - beta1) * d
        return theta - alpha * m, (m, beta2 * v + (1 - beta2) * g**2)

    return iterates(step, theta, gs, alpha)


@pytest.mark.reference("iShohei220/adopt at 44900fa", "adopt")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adopt(0.02), {}),
        (gx.adopt(0.02, 0.7, 0.8, 1e-2, b3=0.5), {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2, "beta3": 0.5}),
    ],
    ids=as_written,
)
def test_adopt_follows_the_authors(tx, letters):
    follows(tx, adopt, 0.02, **letters)


@pytest.mark.reference("Taniguchi et al. 2024, algorithm 2, with and without clipping", "adopt")
@pytest.mark.parametrize("clips", [True, False])
def test_both_formulas_of_the_paper(clips):
    follows(gx.adopt(0.02, 0.7, 0.8, 1e-2, use_clipping=clips), published, 0.02, 0.7, 0.8, 1e-2, clips)


@pytest.mark.reference("optax", "adopt")
@pytest.mark.parametrize("clipping", [{}, {"clip_value_fn": lambda t: 0.5 * t}, {"use_clipping": False}])
@pytest.mark.parametrize("nesterov", [True, False])
def test_equals_optax(clipping, nesterov):
    ours = gx.adopt(0.02, 0.7, 0.8, 1e-2, nesterov=nesterov, **{"use_clipping": True, **clipping})
    theirs = optax.contrib.adopt(0.02, 0.7, 0.8, 1e-2, nesterov=nesterov, **clipping)
    with double():
        found = [walk(tx, parameters(2), gradients(3), np.float64) for tx in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        near(a, b, 1e-12)


def test_a_complex_direction_is_clipped_by_its_size():
    tx, p = gx.scale_by_adopt(0.0, use_clipping=True), jnp.zeros(1, jnp.complex64)
    state = tx.init(p)
    for g in (1.0, 30.0 + 40.0j):
        u, state = tx.update(jnp.full(1, g, jnp.complex64), state, p)
    np.testing.assert_allclose(u, [0.6 + 0.8j], rtol=1e-6)

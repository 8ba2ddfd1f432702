from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written, follows_curved
from tests.transcripts import iterates


def sophia_g(theta, gs, hs, lr, b1=0.965, b2=0.99, rho=0.04, lam=0.1, k=10, eps=None, limit=1.0, corrected=False):
    """Liuhong99/Sophia's sophia.py at a7e1572, its batch size in the estimate; h before the first of k steps.

    eps: what optax and the paper take the larger of, where the code adds 1e-15.
    """

    def step(theta, s, gh, lr, t):
        m, h = (0.0, 0.0) if s is None else s
        g, estimate = gh
        if t % k == 1 % k:
            h = b2 * h + (1 - b2) * estimate
        m = b1 * m + (1 - b1) * g
        size = np.maximum(rho * h, 0) + 1e-15 if eps is None else np.maximum(rho * h, eps)
        ratio = np.abs(m / (1 - b1**t if corrected else 1.0)) / size
        return theta * (1 - lr * lam) - lr * np.sign(m) * np.minimum(ratio, limit), (m, h)

    return iterates(step, theta, np.stack([gs, hs], 1), lr)


def ada_hessian(theta, gs, hs, lr, b1=0.9, b2=0.999, eps=1e-4, lam=0.0, k=1.0):
    """amirgholami/adahessian's image_classification/optim_adahessian.py at 85ebc00, axes as JAX has them."""

    def step(theta, s, gh, lr, t):
        m, v = (0.0, 0.0) if s is None else s
        g, h = gh[0], np.abs(gh[1])
        if h.ndim == 4:
            h = h.mean((0, 1), keepdims=True)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * h**2
        size = np.sqrt(v) ** k / np.sqrt(1 - b2**t) ** k + eps
        return theta - lr * (m / (1 - b1**t) / size + lam * theta), (m, v)

    return iterates(step, theta, np.stack([gs, hs], 1), lr)


@pytest.mark.reference("Liuhong99/Sophia at a7e1572", "sophia")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.sophia(0.02), {}),
        (
            gx.sophia(0.02, 0.8, 0.9, 1e-3, 0.01, None, 0.5, 0.3, 3, bias_correction=True),
            {"b1": 0.8, "b2": 0.9, "eps": 1e-3, "lam": 0.01, "rho": 0.5, "limit": 0.3, "k": 3, "corrected": True},
        ),
    ],
    ids=as_written,
)
def test_sophia_follows_the_authors(tx, letters):
    follows_curved(tx, sophia_g, 0.02, **letters)


@pytest.mark.reference("amirgholami/adahessian at 85ebc00", "adahessian")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adahessian(), {}),
        (
            gx.adahessian(0.15, 0.8, 0.9, 1e-2, 0.1, hessian_power=0.5),
            {"b1": 0.8, "b2": 0.9, "eps": 1e-2, "lam": 0.1, "k": 0.5},
        ),
    ],
    ids=as_written,
)
def test_adahessian_follows_the_authors(tx, letters):
    follows_curved(tx, ada_hessian, 0.15, **letters)


def test_what_is_not_given_leaves_the_hessian_as_it_is():
    p = jnp.ones(3)
    for tx in (gx.scale_by_sophia(update_interval=1), gx.scale_by_adahessian()):
        _, state = tx.update(p, tx.init(p), p, hessian=2 * p)
        _, after = tx.update(p, state, p, hessian=None)
        np.testing.assert_array_equal(gx.view(state, "nu"), gx.view(after, "nu"))
        with pytest.raises(ValueError, match="needs 'hessian'"):
            tx.update(p, state, p)


def test_a_hessian_that_is_not_positive_gives_the_sign():
    tx, p = gx.scale_by_sophia(0.0, clip_threshold=0.7), jnp.asarray([1.0, -2.0, 0.0])
    u, _ = tx.update(p, tx.init(p), p, hessian=-p * p)
    np.testing.assert_allclose(u, [0.7, -0.7, 0.0])

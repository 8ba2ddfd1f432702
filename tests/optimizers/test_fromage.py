from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written, follows
from tests.transcripts import iterates


def fromage(w, gs, eta):
    """Bernstein et al. 2020, algorithm 1, as its authors' code has it."""

    def step(w, _, g, eta, t):
        sizes = np.sqrt(np.sum(w**2)), np.sqrt(np.sum(g**2))
        turned = w - eta * g * (sizes[0] / sizes[1] if min(sizes) > 0 else 1.0)
        return turned / np.sqrt(1 + eta**2), None

    return iterates(step, w, gs, eta)


@pytest.mark.reference("jxbz/fromage at 1bbd929", "fromage")
@pytest.mark.parametrize(
    ("tx", "rate"),
    [(gx.fromage(0.02), 0.02), (gx.fromage([*np.linspace(0.1, 0.01, 50)]), np.linspace(0.1, 0.01, 50))],
    ids=as_written,
)
def test_fromage_follows_the_authors(tx, rate):
    follows(tx, fromage, rate, steers=True)


@pytest.mark.reference("optax", "fromage")
@pytest.mark.parametrize("arguments", [(0.02, 1e-6), (lambda count: 0.1 / (1 + count), 0.5)])
def test_equals_optax(arguments):
    agrees("fromage", *arguments)


def test_what_starts_at_zero_moves():
    p = {"bias": jnp.zeros(3)}
    u, _ = gx.fromage(0.1).update({"bias": jnp.ones(3)}, gx.fromage(0.1).init(p), p)
    np.testing.assert_allclose(u["bias"], -0.1 / np.sqrt(1.01), rtol=1e-6)

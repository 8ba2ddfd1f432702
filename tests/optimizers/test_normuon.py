"""NorMuon against a float64 transcript of the authors' code."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.optimizers.test_muon import newton_schulz
from tests.trajectories import as_written, double, gradients, near, parameters, walk
from tests.transcripts import adam, iterates

D = np.random.default_rng(0).standard_normal


def normuon(x, gs, eta, beta=0.95, beta2=0.95, eps=1e-10, nesterov=True, lam=0.0):
    """`normuon_update`, where `x @ W` has [in, out], so that its rows are columns here."""
    if np.ndim(x) != 2:
        return adam(x, gs, eta, 0.9, 0.95, 1e-10)

    def step(x, s, g, eta, t):
        m, v = (0.0, 0.0) if s is None else s
        m = beta * m + (1 - beta) * g
        u = newton_schulz((1 - beta) * g + beta * m if nesterov else m)
        norm = np.linalg.norm(u)
        v = beta2 * v + (1 - beta2) * np.mean(u * u, axis=0, keepdims=True)
        u = u / (np.sqrt(v) + eps)
        u = u * norm / (np.linalg.norm(u) + eps)
        return x * (1 - eta * lam) - eta * max(1, g.shape[1] / g.shape[0]) ** 0.5 * u, (m, v)

    return iterates(step, x, gs, eta)


@pytest.mark.reference("zichongli5/NorMuon at d45c9a4", "normuon")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.normuon(0.02), {}),
        (
            gx.normuon(0.02, beta=0.8, b2=0.7, eps=1e-3, weight_decay=0.1, nesterov=False),
            {"beta": 0.8, "beta2": 0.7, "eps": 1e-3, "lam": 0.1, "nesterov": False},
        ),
    ],
    ids=as_written,
)
def test_normuon_follows_the_authors(tx: Any, letters: Any) -> None:
    params, grads = parameters(), gradients()
    for name, shape in {"wide": (3, 5), "square": (4, 4)}.items():
        params[name], grads[name] = D(shape), D((50, *shape))
    paths = {k: normuon(params[k], grads[k], 0.02, **letters) for k in params}
    near(walk(tx, params, grads, jnp.float32)[0], paths, 1e-5)
    with double():
        near(walk(tx, params, grads, jnp.float64)[0], paths, 1e-12)


def test_another_method_for_the_rest() -> None:
    tx = gx.normuon(0.02, default=gx.sgd(0.1))
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-6)

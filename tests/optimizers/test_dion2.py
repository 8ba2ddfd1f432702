"""Dion2 against a float64 transcript of the authors' code, microsoft/dion at 0a059a4."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.optimizers.newton_schulz import SPEEDRUN
from tests.optimizers.test_muon import newton_schulz
from tests.trajectories import as_written, double, gradients, near, parameters, walk
from tests.transcripts import adam, iterates

D = np.random.default_rng(0).standard_normal


def dion2(x, gs, lr, fraction=0.25, ef_decay=0.95, lam=0.01, rms=False):
    """`dion2_update_megabatch_async` on one device; `x @ W` has [in, out], so that their rows are columns here."""
    if np.ndim(x) != 2:
        return adam(x, gs, lr, 0.9, 0.95, lam=lam)

    def step(x, m, g, lr, t):
        m = (0.0 if m is None else m) + g.T
        rows, columns = m.shape
        turned = rows > columns
        part = m.T if turned else m
        chosen = np.argsort(-np.abs(part).sum(1))[: int(np.ceil(fraction * len(part)))]
        u = np.zeros_like(part)
        u[chosen] = newton_schulz(part[chosen], 1e-8, SPEEDRUN, 1.02)
        part = part.copy()
        part[chosen] *= ef_decay
        u, m = (u.T, part.T) if turned else (u, part)
        scale = 0.2 * max(rows, columns) ** 0.5 if rms else (rows / columns) ** 0.5
        return x * (1 - lr * lam) - lr * scale * u.T, m

    return iterates(step, x, gs, lr)


@pytest.mark.reference("microsoft/dion at 0a059a4", "dion2")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.dion2(0.02), {}),
        (
            gx.dion2(0.02, 0.5, 0.7, weight_decay=0.1, shape_factor="moonlight"),
            {"fraction": 0.5, "ef_decay": 0.7, "lam": 0.1, "rms": True},
        ),
    ],
    ids=as_written,
)
@pytest.mark.parametrize("shape", [(5, 3), (3, 6), (4, 4)])
def test_dion2_follows_the_authors(tx: Any, letters: Any, shape: tuple[int, int]) -> None:
    params, grads = parameters(), gradients()
    params["kernel"], grads["kernel"] = D(shape), D((50, *shape))
    paths = {k: dion2(params[k], grads[k], 0.02, **letters) for k in params}
    with double():  # eps stands beside the norm here, beside 1.02 times the norm there
        near(walk(tx, params, grads, jnp.float64)[0], paths, 1e-9)
    near(walk(tx, params, grads, jnp.float32)[0], paths, 1e-5)


def test_what_is_left_out_waits() -> None:
    g = {"w": jnp.diag(jnp.array([3.0, 2.0, 1.0, 0.5]))}
    tx = gx.scale_by_dion2(0.5, 0.5)
    updates, state = tx.update(g, tx.init(g))
    np.testing.assert_array_equal(jnp.any(updates["w"], axis=0), [True, True, False, False])
    np.testing.assert_array_equal(jnp.diag(gx.view(state, "mu")["w"]), [1.5, 1.0, 1.0, 0.5])


def test_another_method_for_the_rest() -> None:
    tx = gx.dion2(0.02, default=gx.sgd(0.1))
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-6)

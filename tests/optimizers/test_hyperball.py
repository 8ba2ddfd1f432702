"""MuonH and AdamH beside `scale_with_muonh` and `scale_by_adamh` of marin-community/marin at 05422e2 and 0084342."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.linalg import norm

import gradxform as gx
from tests.optimizers.test_muon import newton_schulz
from tests.trajectories import double, gradients, near, parameters, walk
from tests.transcripts import adam, iterates


def scale_invariant(x: Any, u: Any, eta: float) -> Any:
    v = x - eta * u * norm(x) / max(norm(u), 1e-10)
    return v / norm(v) * norm(x)


def muonh(x: Any, gs: Any, eta: float, nesterov: bool) -> Any:
    def step(x: Any, m: Any, g: Any, eta: float, t: int) -> Any:
        m = 0.95 * (0.0 if m is None else m) + g
        return scale_invariant(x, newton_schulz(0.95 * m + g if nesterov else m, 0.0), eta), m

    return iterates(step, x, gs, eta)


def adamh(x: Any, gs: Any, eta: float) -> Any:
    def step(x: Any, s: Any, g: Any, eta: float, t: int) -> Any:
        m, v = (0.0, 0.0) if s is None else s
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        u = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
        return scale_invariant(x, u, eta), (m, v)

    return iterates(step, x, gs, eta)


@pytest.mark.reference("marin, muonh.py at 05422e2 and adamh.py at 0084342", "muonh", "adamh")
@pytest.mark.parametrize("now", [False, True])
def test_they_follow_the_authors(now: bool) -> None:
    """Fifty steps, and Adam for the others. In float64 the radius of the start is that of now."""
    params, grads = parameters(), gradients()
    x, gs, radius = params["kernel"], grads["kernel"], "now" if now else "start"
    rest = {k: adam(params[k], grads[k], 0.02, beta1=0.9, beta2=0.95, eps=1e-8) for k in ("bias", "scale")}
    with double():
        muon, _ = walk(gx.muonh(0.02, eps=0.0, radius=radius, nesterov=not now), params, grads, jnp.float64)
        adams, _ = walk(gx.adamh(0.02, radius=radius), params, grads, jnp.float64)
    near(muon, {"kernel": muonh(x, gs, 0.02, not now), **rest}, 1e-12)
    near(adams, {"kernel": adamh(x, gs, 0.02), **rest}, 1e-12)

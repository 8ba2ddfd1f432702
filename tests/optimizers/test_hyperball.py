"""MuonH and AdamH beside `scale_with_muonh` and `scale_by_adamh` of marin-community/marin at 05422e2 and 0084342."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
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
        return scale_invariant(x, newton_schulz(0.95 * m + g if nesterov else m, 1e-8), eta), m

    return iterates(step, x, gs, eta)


def adamh(x: Any, gs: Any, eta: float) -> Any:
    def step(x: Any, s: Any, g: Any, eta: float, t: int) -> Any:
        m, v = (0.0, 0.0) if s is None else s
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        u = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
        return scale_invariant(x, u, eta), (m, v)

    return iterates(step, x, gs, eta)


def test_they_follow_the_authors() -> None:
    """Fifty steps, and Adam for the others. What Newton-Schulz does to eps is the size of eps."""
    params, grads = parameters(), gradients()
    matrix = {"where": gx.ndim_at_least(2)}
    cases = [
        (gx.muonh(0.02, eps=0.0), muonh(params["kernel"], grads["kernel"], 0.02, True), 1e-7),
        (gx.muonh(0.02, eps=0.0, radius="now", nesterov=False, **matrix),
         muonh(params["kernel"], grads["kernel"], 0.02, False), 1e-7),
        (gx.adamh(0.02), adamh(params["kernel"], grads["kernel"], 0.02), 1e-12),
        (gx.adamh(0.02, radius="now", default=gx.sgd(0.02)),
         adamh(params["kernel"], grads["kernel"], 0.02), 1e-12),
    ]  # fmt: skip
    for tx, path, rtol in cases:
        with double():
            found, _ = walk(tx, params, grads, jnp.float64)
        near({"w": found["kernel"]}, {"w": path}, rtol)
    rest = adam(params["bias"], grads["bias"], 0.02, beta1=0.9, beta2=0.95, eps=1e-8)
    with double():
        near({"b": walk(gx.adamh(0.02), params, grads, jnp.float64)[0]["bias"]}, {"b": rest}, 1e-12)

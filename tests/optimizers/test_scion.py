"""Scion against a float64 transcript of the authors' code."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.optimizers.test_muon import newton_schulz
from tests.trajectories import as_written, double, gradients, near, parameters, walk
from tests.transcripts import iterates

D = np.random.default_rng(0).standard_normal


def spectral(m: Any) -> Any:
    return (m.shape[1] / m.shape[0]) ** 0.5 * newton_schulz(m)


def sign(m: Any) -> Any:
    return np.sign(m) / m.shape[0]


def bias_rms(m: Any) -> Any:
    return m / (np.sqrt(np.mean(m**2)) + 1e-8)


def scion(x, gs, lr, lmo, momentum=0.1, scale=50.0, unconstrained=False):
    """`Scion.step`, in [in, out]."""

    def step(x, buf, g, lr, t):
        buf = (1 - momentum) * (0.0 if buf is None else buf) + momentum * g
        return x * (1.0 if unconstrained else 1 - lr) - lr * scale * lmo(buf), buf

    return iterates(step, x, gs, lr)


@pytest.mark.reference("LIONS-EPFL/scion at f58a393", "scion")
@pytest.mark.parametrize(
    ("tx", "letters", "radii"),
    [
        (gx.scion(2**-8), {}, (50.0, 3000.0)),
        (
            gx.scion(2**-8, 0.7, 3.0, 10.0, unconstrained=True),
            {"momentum": 0.3, "unconstrained": True},
            (3.0, 10.0),
        ),
    ],
    ids=as_written,
)
def test_scion_follows_the_authors(tx: Any, letters: Any, radii: Any) -> None:
    params, grads = parameters(), gradients()
    params["lm_head"], grads["lm_head"] = D((3, 7)), D((50, 3, 7))
    lmos = {"kernel": spectral, "lm_head": sign, "bias": bias_rms, "scale": bias_rms}
    paths = {k: scion(params[k], grads[k], 2**-8, lmo, scale=radii[lmo is sign], **letters) for k, lmo in lmos.items()}
    near(walk(tx, params, grads, jnp.float32)[0], paths, 1e-5)
    with double():
        near(walk(tx, params, grads, jnp.float64)[0], paths, 1e-12)

"""Zoom: the step that it takes, and what it asks for."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double


@pytest.mark.parametrize("missing", ["value", "grad", "value_fn", "x"])
def test_a_missing_extra_is_named(missing):
    w = jnp.ones(2)
    tx = gx.chain(gx.sgd(1.0), gx.scale_by_zoom_linesearch(5))
    extra = {"value": 1.0, "grad": w, "value_fn": lambda w, x: jnp.sum(x * w), "x": 1.0}
    del extra[missing]
    with pytest.raises(ValueError, match=f"'{missing}'"):
        tx.update(w, tx.init(w), w, **extra)


@pytest.mark.parametrize("rate", [0.01, 1.0, 30.0])
def test_the_step_fulfils_the_strong_wolfe_conditions(rate):
    """Decrease by 1e-4 and curvature by 0.9 of the slope at 0, from steps far too short to far too long."""
    h = np.array([1.0, 10.0])
    w = np.array([3.0, -2.0])
    tx = gx.chain(gx.sgd(rate), gx.scale_by_zoom_linesearch(30, slope_rtol=1e-4, curv_rtol=0.9))
    with double():
        g = jnp.asarray(h * w)
        value = 0.5 * np.sum(h * w * w)
        extra = {"value": value, "grad": g, "value_fn": lambda x: 0.5 * jnp.sum(h * x * x)}
        u = np.asarray(tx.update(g, tx.init(jnp.asarray(w)), jnp.asarray(w), **extra)[0])
    end = w + u
    assert 0.5 * np.sum(h * end * end) <= value + 1e-4 * np.dot(h * w, u)
    assert abs(np.dot(h * end, u)) <= 0.9 * abs(np.dot(h * w, u))

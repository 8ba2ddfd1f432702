"""Backtracking, against the algorithm written out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double


@pytest.mark.parametrize("rate", [0.1, 3.0, 40.0])
def test_steps_shorten_until_the_objective_has_fallen_enough(rate):
    """f = w², u = -2·rate·w: `f(w + ηu) <= f + 1e-4·η⟨∇f, u⟩`, and the next search begins at 1.5 η."""
    tx = gx.chain(gx.sgd(rate), gx.scale_by_backtracking_linesearch(40))
    with double():
        w = jnp.asarray([1.5, -0.5])
        state, x, eta = tx.init(w), np.asarray(w), 1.0
        for _ in range(3):
            updates, state = tx.update(
                2 * w, state, w, value=jnp.sum(w**2), grad=2 * w, value_fn=lambda w: jnp.sum(w**2)
            )
            u, f, eta = -2 * rate * x, np.sum(x**2), min(1.5 * eta, 1.0)
            while np.sum((x + eta * u) ** 2) > f + 1e-4 * eta * np.dot(2 * x, u):
                eta *= 0.8
            np.testing.assert_allclose(updates, eta * u, rtol=1e-12)
            w, x = w + updates, x + eta * u


def test_an_objective_that_is_never_finite_takes_no_step():
    w = jnp.ones(2)
    tx = gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch(3))
    extra = {"value": 1.0, "grad": w, "value_fn": lambda w: jnp.nan * jnp.sum(w)}
    np.testing.assert_array_equal(tx.update(w, tx.init(w), w, **extra)[0], 0.0)


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"max_backtracking_steps": 0}, ValueError, "max_backtracking_steps must be at least 1, got 0"),
    ({"decrease_factor": 1.5}, ValueError, r"decrease_factor must be in \[0, 1\], got 1.5"),
    ({"slope_rtol": [0.1, 0.2]}, TypeError, r"slope_rtol must be a number, got \[0.1, 0.2\]"),
])  # fmt: skip
def test_settings_are_single_numbers_in_range(arguments, error, words):
    with pytest.raises(error, match=words):
        gx.scale_by_backtracking_linesearch(**{"max_backtracking_steps": 5, **arguments})

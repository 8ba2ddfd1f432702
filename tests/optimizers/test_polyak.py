"""Polyak's step, against optax and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import double, down_a_bowl, near


@pytest.mark.reference("optax", "polyak_sgd")
@pytest.mark.parametrize("variant", ["sps", "sps+"])
def test_polyak_sgd_is_optaxs(variant):
    with double():
        ours, theirs = (down_a_bowl(lib.polyak_sgd(0.8, 0.5, 0.2, 1e-3, variant)) for lib in (gx, optax))
    near({"w": ours}, {"w": theirs}, 1e-12)


@pytest.mark.parametrize(("variant", "value", "factor"), [
    ("sps", 3.0, 2.5 / 25.5), ("sps", 100.0, 2.0), ("sps", 0.25, -0.25 / 25.5), ("sps+", 0.25, 0.0),
])  # fmt: skip
def test_the_step_is_the_gap_over_the_squared_norm(variant, value, factor):
    g = {"a": jnp.asarray([3.0]), "b": jnp.asarray([4.0])}
    tx = gx.scale_by_polyak(0.5, 2.0, 0.5, variant)
    u, _ = tx.update(g, tx.init(g), value=value)
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, factor * g, rtol=1e-6), u, g)


def test_no_gradient_gives_no_step():
    g = jnp.zeros(3)
    tx = gx.scale_by_polyak()
    np.testing.assert_array_equal(tx.update(g, tx.init(g), value=1.0)[0], 0.0)

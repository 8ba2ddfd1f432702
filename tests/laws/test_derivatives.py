"""Updates have finite derivatives by gradient and parameter, at 0 too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, tree
from tests.compiler import FAST

POINTS = {
    "ordinary": (1.0, 1.0),
    "no gradient": (0.0, 1.0),
    "no parameter": (1.0, 0.0),
    "nothing": (0.0, 0.0),
}


def has_none(entry: Entry) -> bool:
    """Whether JAX has no reverse derivative of what runs inside: a loop, or the next number in a direction."""
    words = ("search", "lbfgs", "polyak_sgd", "scale_by_polyak", "sam", "restarted", "stored", "box", "nonnegative",
             "ball", "sphere", "simplex", "halfspace", "hyperplane")  # fmt: skip
    return any(word in entry.name for word in words)


@entries(lambda e: e.axis is None and not has_none(e))
def test_derivatives_are_finite(entry: Entry):
    state = entry.tx.init(tree(0))

    def total(g: Any, p: Any) -> Any:
        updates, _ = entry.update(g, state, p)
        return sum(jnp.sum(jnp.real(u)) for u in jax.tree.leaves(updates))

    slopes = jax.jit(jax.grad(total, (0, 1)), compiler_options=FAST)
    for point, (of_g, of_p) in POINTS.items():
        g, p = (jax.tree.map(lambda x, k=k: k * x, tree(i)) for i, k in ((1, of_g), (0, of_p)))
        for x in jax.tree.leaves(slopes(g, p)):
            assert np.isfinite(x).all(), point


@pytest.mark.parametrize("eps", [1e-8, 0.0, gx.tunable(0.0)], ids=["1e-8", "0", "tunable"])
def test_adam_at_no_gradient_has_the_slope_of_its_first_step(eps: Any):
    """`g / (|g| + eps)` has the slope `1 / eps` at 0; where eps is 0 too the update is 0, and so is its slope."""
    tx, p = gx.scale_by_adam(eps=eps), {"w": jnp.zeros(1)}
    slope = jax.grad(lambda g: tx.update({"w": g}, tx.init(p), p)[0]["w"].sum())(jnp.zeros(1))
    np.testing.assert_allclose(slope, [1e8 if eps == 1e-8 else 0.0], rtol=1e-6)

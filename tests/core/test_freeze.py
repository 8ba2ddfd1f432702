"""Freezing as a stage; as users write it in tests/transforms/test_freeze.py."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.core.freeze import Freeze

P = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([12.0])}
G = jax.tree.map(lambda p: 0.5 * p, P)


def test_freezing_everything() -> None:
    assert repr(Freeze()) == "freeze()"
    assert Freeze().holds("a", P["a"])
    tx = gx.chain(gx.freeze(), gx.adam(0.1))
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0.0), tx.update(G, tx.init(P))[0])


def test_a_loss_scale_may_stand_behind_what_is_frozen() -> None:
    """Zero is the gradient of the loss and of any multiple of it."""
    inner = gx.sgd(0.5)
    scaled = gx.chain(gx.freeze("b"), gx.static_loss_scale(inner, 8.0))
    plain = gx.chain(gx.freeze("b"), inner)
    found = scaled.update(jax.tree.map(lambda g: 8.0 * g, G), scaled.init(P), P)[0]
    jax.tree.map(np.testing.assert_array_equal, found, plain.update(G, plain.init(P), P)[0])

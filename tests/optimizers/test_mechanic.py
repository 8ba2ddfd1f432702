"""Mechanic, against optax's, which its authors wrote, and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import double, near

TARGET = {"a": np.array([3.0, -2.0]), "b": np.array(1.0)}


def descended(library, tx, steps=40):
    w = jax.tree.map(lambda x: jnp.asarray(0.5 + 0 * x), TARGET)
    state, found = tx.init(w), []
    for _ in range(steps):
        u, state = jax.jit(tx.update)(jax.tree.map(lambda w, x: jnp.tanh(w - x), w, TARGET), state, w)
        w = library.apply_updates(w, u)
        found.append([*w["a"], w["b"]])
    return np.asarray(found)


@pytest.mark.reference("optax", "mechanize")
@pytest.mark.parametrize("args", [(), (0.1, 1e-4, 1e-2, 3)], ids=["defaults", "others"])
@pytest.mark.parametrize("base", [lambda o: o.sgd(1.0), lambda o: o.adamw(0.1)], ids=["sgd", "adamw"])
def test_equals_optax(args, base):
    with double():
        ours = descended(gx, gx.mechanize(base(gx), *args))
        theirs = descended(optax, optax.contrib.mechanize(base(optax), *args))
    near({"w": ours}, {"w": theirs}, 1e-9)
    assert np.abs(ours[-1] - 0.5).max() > 1e-3


def test_it_bets_on_the_gradients_that_it_is_given():
    """Clipped before, not as the caller handed them over."""
    with double():
        ours, theirs = (
            descended(x, x.chain(x.clip_by_global_norm(0.1), m(x.sgd(1.0), s_init=1e-2)))
            for x, m in ((gx, gx.mechanize), (optax, optax.contrib.mechanize))
        )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)


def test_strategies_go_inside_and_around():
    plain = descended(gx, gx.mechanize(gx.adamw(0.1), s_init=1e-2), 10)
    for tx in (gx.mechanize(gx.packed(gx.adamw(0.1)), s_init=1e-2), gx.guard(gx.mechanize(gx.adamw(0.1), s_init=1e-2))):
        np.testing.assert_allclose(descended(gx, tx, 10), plain, rtol=1e-4)
